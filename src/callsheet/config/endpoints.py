"""The endpoints in a settings file: a table for each. One is used, or several as a pool."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import attrs

from ..actors import VENDORS, Endpoint, Limits, Target, Vendor, vendor_at
from ..endpoints import choose_endpoint
from .document import ConfigError, Document
from .tables import as_table, explained, join, nearest, read_table

_OPTION = re.compile(r"^--[a-z-]+( [\w-]+)?: ")  # errors of `choose_endpoint` name an option
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAIN = "main"  # the name of the endpoint that is used if several are there


@attrs.frozen(kw_only=True)
class EndpointTable:
    """A table such as ``[endpoints.main]``.

    Args:
        provider: the name of a vendor; None for the vendor of the address.
        base_url: the URL of the API, version included; None for the vendor's own, or for the one
            in the vendor's variable.
        api_key_env: the variable that has the key; None for the vendor's own variables.
        api: the API for chats, where the vendor has two.
        deployment: replaces the model that a request names.
        headers: further headers of every request.
        headers_env: headers whose values are secret, with the variables that have them.
        query: further parameters of every URL.
        proxy: URL of a proxy.
        uds: path of a Unix socket to connect to.
        http2: use HTTP/2 if the server supports it.
        key_name: the name of the key in logs and statistics; None for the name of the table.
        weight: its part of the calls of a pool.
        limits: limits that override those of the table ``[limits]`` for this endpoint.
        fallback: the name of the endpoint that serves what this one cannot.
        model: as a fallback, the model to use there.
    """

    provider: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    api: Literal["chat", "responses"] | None = None
    deployment: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    headers_env: Mapping[str, str] = attrs.field(factory=dict[str, str])
    query: Mapping[str, str] = attrs.field(factory=dict[str, str])
    proxy: str | None = None
    uds: Path | None = None
    http2: bool = False
    key_name: str | None = None
    weight: float = 1.0
    limits: object = attrs.field(factory=dict[str, object])  # a table, which is read later
    fallback: str | None = None
    model: str | None = None


@attrs.frozen(kw_only=True)
class ChosenEndpoint:
    """What the endpoints of a file come to.

    Args:
        endpoint: the endpoint or the pool; None if the file has no endpoints.
        field: the path of its table in the file.
        fallbacks: the endpoints behind it, in their order.
        limits: the limits of the endpoint; None for those of the table ``[limits]``.
        member_limits: the limits of the members of a pool that have their own.
    """

    endpoint: Endpoint | None = None
    field: str = ""
    fallbacks: tuple[Target, ...] = ()
    limits: Limits | None = None
    member_limits: Mapping[str, Limits] = attrs.field(factory=dict[str, Limits])


def choose_from(
    document: Document,
    usual_limits: Mapping[str, object],
    given_limits: Mapping[str, object],
    choice: object,
    environ: Mapping[str, str],
) -> ChosenEndpoint:
    """Make the endpoint that a file describes, with its fallbacks.

    Args:
        document: the settings file.
        usual_limits: the members of its table ``[limits]``.
        given_limits: members of that table that variables have, which hold for each endpoint.
        choice: the name of the endpoint, or the names of the members of a pool; None for the only
            one, or the one that is called "main".
        environ: the environment, which has the keys.

    Raises:
        ConfigError: a table cannot be used, or it is not clear which endpoint is meant.
    """
    tables = {
        name: as_table(table, join("endpoints", name))
        for name, table in as_table(document.members.get("endpoints", {}), "endpoints").items()
    }
    if not tables:
        if choice is not None:
            raise ConfigError("there is no table [endpoints.NAME]", field="endpoint")
        return ChosenEndpoint()
    entries = _Entries(document, usual_limits, given_limits, environ, tables)
    names = _names(choice, tables)
    fallbacks = entries.fallbacks(names)
    if len(names) == 1:
        limits = entries.limits(names[0])
        return ChosenEndpoint(
            endpoint=entries.endpoint(names[0]),
            field=join("endpoints", names[0]),
            fallbacks=fallbacks,
            limits=limits,
        )
    members = [entries.endpoint(name, is_member=True) for name in names]
    own = {
        member.key_name: limits
        for name, member in zip(names, members, strict=True)
        if (limits := entries.limits(name)) is not None
    }
    try:
        pool = Endpoint.pool(members)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error), field="endpoint") from None
    return ChosenEndpoint(endpoint=pool, field="endpoint", fallbacks=fallbacks, member_limits=own)


def _names(choice: object, tables: Mapping[str, object]) -> list[str]:
    """Return the names of the endpoints to use: one, or the members of a pool."""
    known = ", ".join(tables)
    if choice is None:
        if len(tables) == 1 or _MAIN in tables:
            return [_MAIN if _MAIN in tables else next(iter(tables))]
        raise ConfigError(
            f"is missing; name one of {known}, or several as a pool", field="endpoint"
        )
    names = [choice]
    if isinstance(choice, list) and choice:
        names = cast("list[object]", choice)
    for name in names:
        if not isinstance(name, str) or name not in tables:
            raise ConfigError(f"must name one of {known}, got {name!r:.60}", field="endpoint")
    return cast("list[str]", names)


@attrs.frozen
class _Entries:
    """The tables of the endpoints, each of which is read when it is used."""

    document: Document
    usual_limits: Mapping[str, object]
    given_limits: Mapping[str, object]
    environ: Mapping[str, str]
    tables: Mapping[str, Mapping[str, object]]

    def entry(self, name: str) -> EndpointTable:
        field, folder = join("endpoints", name), self.document.folder
        return read_table(EndpointTable, self.tables[name], field, folder, is_named=True)

    def limits(self, name: str) -> Limits | None:
        field = join(join("endpoints", name), "limits")
        own = as_table(self.entry(name).limits, field)
        if not own:
            return None
        limits = {**self.usual_limits, **own, **self.given_limits}
        return read_table(Limits, limits, field, self.document.folder)

    def fallbacks(self, names: Sequence[str]) -> tuple[Target, ...]:
        """Return the targets behind an endpoint, or behind the members of a pool."""
        found: list[Target] = []
        passed = set(names)
        firsts = [(name, to) for name in names if (to := self.entry(name).fallback) is not None]
        for name, to in firsts[1:]:
            (other, first), field = firsts[0], join(join("endpoints", name), "fallback")
            if to != first:
                problem = f"must be {first!r:.60}, as for {other}, because a pool has one fallback"
                raise ConfigError(problem, field=field)
        before, fallback = firsts[0] if firsts else ("", None)
        while fallback is not None:
            field = join(join("endpoints", before), "fallback")
            if fallback not in self.tables:
                known = ", ".join(self.tables)
                raise ConfigError(f"must name one of {known}, got {fallback!r:.60}", field=field)
            if fallback in passed:
                raise ConfigError(f"{fallback!r} comes twice in this chain", field=field)
            passed.add(fallback)
            entry = self.entry(fallback)
            endpoint = self.endpoint(fallback)
            try:
                found.append(Target(endpoint, entry.model))
            except ValueError:
                field = join(join("endpoints", fallback), "model")
                raise ConfigError("must be the name of a model", field=field) from None
            before, fallback = fallback, entry.fallback
        return tuple(found)

    def endpoint(self, name: str, *, is_member: bool = False) -> Endpoint:
        entry, field = self.entry(name), join("endpoints", name)
        vendor = _vendor(entry, field)
        environ = dict(self.environ)
        key = self._secret(entry.api_key_env, join(field, "api_key_env"))
        if key is not None and vendor.key_variables:
            environ[vendor.key_variables[0]] = key
        secret = {
            header: self._secret(variable, join(join(field, "headers_env"), header)) or ""
            for header, variable in entry.headers_env.items()
        }
        try:
            chosen = choose_endpoint(entry.base_url, environ, provider=vendor.name).endpoint
            if chosen is None:  # the built-in provider, which is no vendor
                raise ValueError("the provider has no address")  # noqa: TRY301  # handled as those above
            if key is not None:
                chosen = attrs.evolve(chosen, api_key=key)
            return attrs.evolve(
                chosen,
                headers={**chosen.headers, **entry.headers, **secret},
                secret_names={*chosen.secret_names, *secret},
                query={**chosen.query, **entry.query},
                api=entry.api,
                deployment=entry.deployment,
                proxy=entry.proxy,
                uds=None if entry.uds is None else str(entry.uds),
                http2=entry.http2,
                key_name=entry.key_name or (name if is_member else ""),
                weight=entry.weight,
            )
        except (ValueError, TypeError) as error:
            problem = _OPTION.sub("", str(error)).replace("--base-url", "base_url")
            members = attrs.fields_dict(EndpointTable)
            raise explained(ValueError(problem), field, members) from None

    def _secret(self, variable: str | None, field: str) -> str | None:
        """Return the value of a variable that a file names."""
        if variable is None:
            return None
        if not _VARIABLE.fullmatch(variable):
            wanted = "must be the name of a variable, such as TEAM_KEY"
            raise ConfigError(f"{wanted}, got {variable!r:.60}", field=field)
        value = self.environ.get(variable, "").strip()
        if not value:
            raise ConfigError(f"the variable {variable} is not set", field=field)
        return value


def _vendor(entry: EndpointTable, field: str) -> Vendor:
    if entry.provider is None:
        if entry.base_url is None:
            raise ConfigError("needs a provider or a base_url", field=field)
        return vendor_at(entry.base_url.strip().rstrip("/"))
    if entry.provider not in VENDORS:
        near = nearest(entry.provider, VENDORS)
        hint = f" (did you mean {near}?)" if near else ""
        problem = f"must be one of {', '.join(VENDORS)}, got {entry.provider!r:.60}{hint}"
        if entry.provider.lower() == "builtin":
            problem = (
                "the built-in provider has no address that a file could name; a command takes "
                "--provider builtin, and a program has open_builtin_provider()"
            )
        raise ConfigError(problem, field=join(field, "provider"))
    return VENDORS[entry.provider]
