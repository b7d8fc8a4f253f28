"""The endpoints in a settings file: a table for each. One is used, or several as a pool."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import attrs

from ..actors import VENDORS, Endpoint, Limits, Target, Vendor, vendor_at
from ..endpoints import choose_endpoint
from .document import ConfigError, Document
from .tables import as_table, explained, join, nearest, read_table, shown

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


@attrs.frozen(kw_only=True)
class EndpointTables:
    """The tables of the endpoints of a file, each of which is read when it is used.

    Args:
        source: the path of the file, for errors; "" without one.
        folder: what relative paths in the file are relative to.
        tables: the tables by their names.
        usual_limits: the members of the table ``[limits]``.
        given_limits: members of that table that variables have, which hold for each endpoint.
        environ: the environment, which has the keys.
    """

    source: str = ""
    folder: Path = attrs.field(factory=Path)
    tables: Mapping[str, Mapping[str, object]] = attrs.field(
        factory=dict[str, Mapping[str, object]]
    )
    usual_limits: Mapping[str, object] = attrs.field(factory=dict[str, object])
    given_limits: Mapping[str, object] = attrs.field(factory=dict[str, object])
    environ: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)  # it has keys (L8)

    @classmethod
    def of(
        cls,
        document: Document,
        given_limits: Mapping[str, object],
        environ: Mapping[str, str],
    ) -> "EndpointTables":
        """Return the tables of a file.

        Args:
            document: the settings file.
            given_limits: members of the table ``[limits]`` that variables have.
            environ: the environment, which has the keys.

        Raises:
            ConfigError: something that must be a table is none.
        """
        members = document.members
        if isinstance(members.get("endpoint"), Mapping):
            text = "must be the name of an endpoint; the table of one is [endpoints.NAME]"
            raise ConfigError(text, field="endpoint")
        return cls(
            source=document.source,
            folder=document.folder,
            tables={
                name: as_table(table, join("endpoints", name))
                for name, table in as_table(members.get("endpoints", {}), "endpoints").items()
            },
            usual_limits=as_table(members.get("limits", {}), "limits"),
            given_limits=given_limits,
            environ=environ,
        )

    def choose(
        self, choice: object, *, field: str = "endpoint", fallback: str | None = None
    ) -> ChosenEndpoint:
        """Make the endpoint that the file describes, with its fallbacks.

        Args:
            choice: the name of the endpoint, or the names of the members of a pool; None for the
                only one, or the one that is called "main".
            field: the path of the setting that has the choice, for errors.
            fallback: the name of the endpoint behind it; None for that of its own table.

        Raises:
            ConfigError: a table cannot be used, or it is not clear which endpoint is meant.
        """
        if not self.tables:
            if choice is not None:
                raise ConfigError("there is no table [endpoints.NAME]", field=field)
            return ChosenEndpoint()
        names = self.names(choice, field)
        fallbacks = self._fallbacks(names, fallback, field)
        if len(names) == 1:
            limits = self._limits(names[0])
            return ChosenEndpoint(
                endpoint=self._endpoint(names[0]),
                field=join("endpoints", names[0]),
                fallbacks=fallbacks,
                limits=limits,
            )
        members = [self._endpoint(name, is_member=True) for name in names]
        own = {
            member.key_name: limits
            for name, member in zip(names, members, strict=True)
            if (limits := self._limits(name)) is not None
        }
        try:
            pool = Endpoint.pool(members)
        except (ValueError, TypeError) as error:
            raise ConfigError(str(error), field=field) from None
        return ChosenEndpoint(endpoint=pool, field=field, fallbacks=fallbacks, member_limits=own)

    def names(self, choice: object, field: str = "endpoint") -> tuple[str, ...]:
        """Return the names of the endpoints that a setting chooses: one, or those of a pool.

        Args:
            choice: the value of the setting; None for the only endpoint, or the one that is called
                "main".
            field: the path of the setting, for errors.

        Raises:
            ConfigError: it names an endpoint that there is not, or none where it has to.
        """
        known = ", ".join(self.tables)
        if choice is None:
            if len(self.tables) == 1 or _MAIN in self.tables:
                return (_MAIN if _MAIN in self.tables else next(iter(self.tables)),)
            raise ConfigError(f"is missing; name one of {known}, or several as a pool", field=field)
        names = [choice]
        if isinstance(choice, list | tuple) and choice:
            names = [*cast("Sequence[object]", choice)]
        return tuple(self._name(name, field) for name in names)

    def _name(self, name: object, field: str) -> str:
        """Return a name if it is that of an endpoint."""
        if isinstance(name, str) and name in self.tables:
            return name
        near = nearest(name, self.tables) if isinstance(name, str) else None
        hint = f"; did you mean {near}?" if near else ""
        known = ", ".join(self.tables) or "the tables [endpoints.NAME], of which there are none"
        raise ConfigError(f"must name one of {known}, got {shown(name)}{hint}", field=field)

    def _entry(self, name: str) -> EndpointTable:
        field, folder = join("endpoints", name), self.folder
        return read_table(EndpointTable, self.tables[name], field, folder, is_named=True)

    def _limits(self, name: str) -> Limits | None:
        field = join(join("endpoints", name), "limits")
        own = as_table(self._entry(name).limits, field)
        if not own:
            return None
        limits = {**self.usual_limits, **own, **self.given_limits}
        return read_table(Limits, limits, field, self.folder)

    def _fallbacks(self, names: Sequence[str], given: str | None, field: str) -> tuple[Target, ...]:
        """Return the targets behind an endpoint, or behind the members of a pool."""
        found: list[Target] = []
        passed = set(names)
        fallback, field = given, join(field, "fallback")
        if fallback is None:
            fallback, field = self._fallback_of(names)
        while fallback is not None:
            name = self._name(fallback, field)
            if name in passed:
                raise ConfigError(f"{name!r} comes twice in this chain", field=field)
            passed.add(name)
            entry = self._entry(name)
            endpoint = self._endpoint(name)
            try:
                found.append(Target(endpoint, entry.model))
            except ValueError:
                field = join(join("endpoints", name), "model")
                raise ConfigError("must be the name of a model", field=field) from None
            fallback, field = entry.fallback, join(join("endpoints", name), "fallback")
        return tuple(found)

    def _fallback_of(self, names: Sequence[str]) -> tuple[str | None, str]:
        """Return the fallback that the tables of a pool name, and the path of the setting."""
        firsts = [(name, to) for name in names if (to := self._entry(name).fallback) is not None]
        if not firsts:
            return None, ""
        (other, first), *others = firsts
        for name, to in others:
            if to != first:
                problem = f"must be {first!r:.60}, as for {other}, because a pool has one fallback"
                raise ConfigError(problem, field=join(join("endpoints", name), "fallback"))
        return first, join(join("endpoints", other), "fallback")

    def _endpoint(self, name: str, *, is_member: bool = False) -> Endpoint:
        entry, field = self._entry(name), join("endpoints", name)
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
                chosen = attrs.evolve(chosen, api_key=key, key_variable=entry.api_key_env or "")
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
