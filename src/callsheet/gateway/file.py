"""Read the settings of a gateway from the file that other commands read as well."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, cast, final

import attrs
from attrs.validators import optional

from ..actors import (
    VENDORS,
    Endpoint,
    LedgerPolicy,
    PriceBook,
    TroupeSettings,
    default_prices,
    not_empty,
)
from ..config import (
    ADMIN_KEY_VARIABLE,
    SHARED,
    ChosenEndpoint,
    Config,
    ConfigError,
    EndpointTables,
    as_table,
    explained,
    is_table,
    join,
    located,
    read_config,
    read_table,
    shown,
)
from ..endpoints import choose_endpoint
from ..serving import ServingLimits, TrustedProxies
from .keys import SHARED_KEYS, KeyPlace
from .settings import DEFAULT_PORT, Allowed, GatewaySettings, ModelRoute, RequestLogging, TlsFiles

if TYPE_CHECKING:
    from ..actors import SharedStores

_MAIN = "main"  # the troupe of an endpoint that no table names
_MAX_IN_FLIGHT = 1000  # calls; a file that is read again may raise its limit up to this
_MAX_WAITING_CALLS = 100_000  # of a troupe; the calls of one key must not keep others out
ANY_MODEL = "*"
"""The pattern of a gateway whose file has no table ``[models]``."""


@final
@attrs.frozen(kw_only=True)
class GatewayTable:
    """The table ``[gateway]``; see `GatewaySettings`.

    Args:
        listen: an address, or an array of addresses.
        clients: the bounds on clients.
        tls: the files of the certificate.
        admin_key_env: the variable that has the admin key; None for CALLSHEET_ADMIN_KEY.
        patience_s: seconds that a call whose response is not streamed may wait for its turn.
        drain_s: seconds that calls may take to finish at the end.
        trusted_proxies: the networks of reverse proxies.
        public_metrics: whether ``/metrics`` needs no admin key.
        shows_text: whether the page shows the prompts and the responses of calls.
        log: whether a line is logged for each request.
    """

    listen: object = f"127.0.0.1:{DEFAULT_PORT}"
    clients: ServingLimits = attrs.field(factory=ServingLimits)
    tls: TlsFiles | None = None
    admin_key_env: str | None = None
    patience_s: float = 50.0
    drain_s: float = 600.0
    trusted_proxies: tuple[str, ...] = ()
    public_metrics: bool = False
    shows_text: bool = False
    log: RequestLogging = "requests"


@final
@attrs.frozen(kw_only=True)
class KeysTable:
    """The table ``[keys]``.

    Args:
        store: the file of the key store, or "shared"; None accepts calls without keys.
        allow: what calls may use without asking for it.
    """

    store: Path | None = None
    allow: tuple[Allowed, ...] = ("prompt_cache",)


@final
@attrs.frozen(kw_only=True)
class ModelTable:
    """A model in the table ``[models]``, as a table.

    Args:
        endpoint: the name of an endpoint, or an array of names as a pool.
        model: the model to use there; None for the one that the client names.
        fallback: the name of the endpoint behind it; None for that of its own table.
    """

    endpoint: object
    model: str | None = attrs.field(default=None, validator=optional(not_empty))
    fallback: str | None = None


GATEWAY_TABLES: Mapping[str, type[object]] = {"gateway": GatewayTable, "keys": KeysTable}
"""The sections of a file that only a gateway reads, besides ``[models]``."""


def read_gateway(
    path: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    endpoint: Endpoint | None = None,
    listen: Sequence[str] = (),
    keys: KeyPlace | None = None,
    shared: str | None = None,
    ledger: Path | None = None,
    prices: PriceBook | None = None,
) -> GatewaySettings:
    """Read the settings of a gateway from a file and from CALLSHEET_ variables.

    Args:
        path: the file; None for the one that the variable CALLSHEET_CONFIG names, if it is set.
        environ: the environment, which has the keys of providers; None for that of the process.
        endpoint: serves all models instead of the endpoints of the file; None for those.
        listen: the addresses to listen at instead of those of the file; none for those.
        keys: the key store instead of that of the file; None for that.
        shared: the URL of the server that replicas share instead of that of the file; None for
            that.
        ledger: the file of the ledger where the settings file names none; None for memory.
        prices: the prices of models; None for those of this release.

    Raises:
        ConfigError: a setting cannot be used; the text names the file or the variable, and the
            field.
        ValueError: the URL that is given names no server.
    """
    environ = os.environ if environ is None else environ
    config = read_config(path, environ, with_endpoint=False, further=GATEWAY_TABLES)
    if shared is not None:
        stores = config.shared.stores(environ, shared)
        config = attrs.evolve(config, values={**config.values, SHARED: stores})
    try:
        uses, routes = _routes(config, environ, endpoint)
        config = _with_usual(config, ledger, prices or default_prices())
        troupes = {name: _troupe(config, name, use, len(uses)) for name, use in uses.items()}
        given: dict[str, object] = {"troupes": troupes, "routes": routes}
        given |= {"listen": tuple(listen)} if listen else {}
        given |= {"keys": keys} if keys is not None else {}
        return _made(config, given, environ)
    except ConfigError as error:
        raise located(error, config.source, config.variables) from None


@final
@attrs.frozen
class KeySettings:
    """Where the settings of a gateway have its keys.

    Args:
        place: the key store; None for none.
        shared: what the replicas share; None for nothing.
    """

    place: KeyPlace | None = None
    shared: "SharedStores | None" = None


def read_key_settings(
    path: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    shared: str | None = None,
) -> KeySettings:
    """Return the key store that a settings file or a CALLSHEET_ variable names.

    Args:
        path: the file; None for the one that the variable CALLSHEET_CONFIG names, if it is set.
        environ: the environment; None for that of the process.
        shared: the URL of the server instead of that of the file; None for that.

    Raises:
        ConfigError: a setting cannot be used; see `read_gateway`.
        ValueError: the URL that is given names no server.
    """
    environ = os.environ if environ is None else environ
    config = read_config(path, environ, with_endpoint=False, further=GATEWAY_TABLES)
    stores = config.stores if shared is None else config.shared.stores(environ, shared)
    return KeySettings(_key_place(config, environ), stores)


def _key_place(config: Config, environ: Mapping[str, str]) -> KeyPlace | None:
    """Return where the keys are. A file whose name is "shared" is written "./shared"."""
    keys = config.further.get("keys")
    if not isinstance(keys, KeysTable):
        return None
    variable = config.variables.get("keys.store")
    text = as_table(config.members["keys"], "keys").get("store")
    if variable is not None:  # its path is absolute by now
        text = environ[variable].strip()
    return SHARED_KEYS if text == SHARED_KEYS else keys.store


# ------------------------------------------------------------------------------------- models


@final
@attrs.frozen
class _Use:
    """What a troupe is made of, and the path of the setting that uses it first."""

    chosen: ChosenEndpoint
    names: tuple[str, ...] = ()
    field: str = ""


def _routes(
    config: Config, environ: Mapping[str, str], endpoint: Endpoint | None
) -> tuple[dict[str, _Use], list[ModelRoute]]:
    """Return what each troupe is made of, and where the calls for each model go."""
    models = as_table(config.members.get("models", {}), "models")
    tables = {
        name: _model(value, join("models", name), config.folder) for name, value in models.items()
    }
    if not tables:
        tables = {ANY_MODEL: ModelTable(endpoint=None)}
    if endpoint is None and not config.endpoints.tables and not models:
        endpoint = _endpoint_of(environ)
    if endpoint is not None:
        uses = {_MAIN: _Use(ChosenEndpoint(endpoint=endpoint))}
        return uses, [
            ModelRoute(name=name, troupe=_MAIN, model=one.model) for name, one in tables.items()
        ]
    endpoints = _with_vendors(config.endpoints, tables.values())
    uses, routes = dict[str, _Use](), list[ModelRoute]()
    for name, one in tables.items():
        field = join("models", name) if models else "endpoint"
        choice = one.endpoint if models else config.members.get("endpoint")
        names = endpoints.names(choice, field)
        chosen = endpoints.choose(names, field=field, fallback=one.fallback)
        troupe = "+".join(names)
        known = uses.setdefault(troupe, _Use(chosen, names, field))
        _check_shared(uses, troupe, _Use(chosen, names, field), known)
        routes.append(ModelRoute(name=name, troupe=troupe, model=one.model))
    return uses, routes


def _model(value: object, field: str, folder: Path) -> ModelTable:
    """Return a model of the table: the name of an endpoint, several as a pool, or a table."""
    if is_table(value):
        return read_table(ModelTable, value, field, folder, is_named=True)
    if isinstance(value, str | list):
        return ModelTable(endpoint=cast("object", value))
    problem = 'must be the name of an endpoint, or a table such as { endpoint = "main" }'
    raise ConfigError(problem, field=field)


def _with_vendors(endpoints: EndpointTables, models: Iterable[ModelTable]) -> EndpointTables:
    """Return the tables with one for each vendor that a model names instead of a table."""
    named = [name for one in models for name in (*_each(one.endpoint), one.fallback)]
    missing = {
        name: {"provider": name}
        for name in VENDORS
        if name in named and name not in endpoints.tables
    }
    return attrs.evolve(endpoints, tables={**endpoints.tables, **missing})


def _check_shared(uses: Mapping[str, _Use], troupe: str, use: _Use, known: _Use) -> None:
    """Refuse a second troupe of an endpoint: each of the two would use up its whole limits (L12).

    Raises:
        ConfigError: two models use the endpoint with another fallback, or alone and in a pool.
    """
    if _targets(use) != _targets(known):
        problem = (
            f"must have the fallback of {known.field}, because both use the endpoint {troupe}, "
            "which has one; give it there: fallback in [endpoints.NAME]"
        )
        raise ConfigError(problem, field=join(use.field, "fallback"))
    for other, used in uses.items():
        if other != troupe and (both := {*use.names} & {*used.names}):
            problem = (
                f"must not use {min(both)} as well as {used.field}, which uses {other}: an "
                "endpoint is alone or in one pool, because its limits count once"
            )
            raise ConfigError(problem, field=use.field)


def _targets(use: _Use) -> list[tuple[str, str | None]]:
    return [(target.endpoint.label, target.model) for target in use.chosen.fallbacks]


def _endpoint_of(environ: Mapping[str, str]) -> Endpoint:
    """Return the endpoint that the environment names."""
    try:
        choice = choose_endpoint(environ=environ)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if choice.endpoint is None:
        raise ConfigError(
            'no endpoint is configured; add [endpoints.main] with provider = "..." to the file, '
            "set OPENAI_API_KEY or OPENAI_BASE_URL, or try it with --provider builtin"
        )
    return choice.endpoint


# ------------------------------------------------------------------------------------ troupes


def _with_usual(config: Config, ledger: Path | None, prices: PriceBook) -> Config:
    """Return the settings with a ledger and prices, where the file does not say otherwise."""
    values = dict(config.values)
    found = values.get("ledger", LedgerPolicy())
    if isinstance(found, LedgerPolicy):
        values["ledger"] = attrs.evolve(found, path=found.path or ledger)
    file = config.files.get("prices")
    values["prices"] = prices if file is None else PriceBook.load(file, prices)
    return attrs.evolve(config, values=values)


def _troupe(config: Config, name: str, use: _Use, count: int) -> TroupeSettings:
    """Return the settings of a troupe; a file that one of them at a time may use gets its name."""
    endpoint = use.chosen.endpoint
    if endpoint is None or "/" in name:
        problem = "must have no '/' in its name, because actors have it" if endpoint else "is none"
        raise ConfigError(problem, field=join("endpoints", name))
    config = attrs.evolve(config, chosen=use.chosen)
    usual = TroupeSettings(
        endpoint=endpoint,
        max_in_flight=_MAX_IN_FLIGHT,
        max_waiting_calls=_MAX_WAITING_CALLS,
    )
    # `callsheet top` reads the gateway as a whole, at its URL.
    settings = attrs.evolve(config.apply(usual), inspect=None)
    batches = settings.batches
    if count > 1 and batches is not None and batches.journal is not None:
        batches = attrs.evolve(batches, journal=_of_troupe(batches.journal, name))
    return attrs.evolve(settings, batches=batches)


def _of_troupe(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


# ------------------------------------------------------------------------------------ gateway


def _made(
    config: Config, given: Mapping[str, object], environ: Mapping[str, str]
) -> GatewaySettings:
    """Return the settings of the tables, with those that are given instead."""
    gateway = config.further.get("gateway", GatewayTable())
    keys = config.further.get("keys", KeysTable())
    assert isinstance(gateway, GatewayTable)  # noqa: S101  # as they were asked for
    assert isinstance(keys, KeysTable)  # noqa: S101
    values: dict[str, object] = {
        name: getattr(gateway, name)
        for name in attrs.fields_dict(GatewayTable)
        if name not in ("listen", "admin_key_env", "trusted_proxies")
    }
    values |= {
        "listen": _addresses(gateway.listen),
        "trusted_proxies": _proxies(gateway.trusted_proxies),
        "admin_key": _admin_key(gateway.admin_key_env, environ),
        "keys": _key_place(config, environ),
        "shared": config.stores,
        "allow": keys.allow,
        **given,
    }
    try:
        return cast("Callable[..., GatewaySettings]", GatewaySettings)(**values)
    except (ValueError, TypeError) as error:
        raise explained(error, "gateway", values) from None


def _addresses(value: object) -> tuple[str, ...]:
    field = "gateway.listen"
    found = _each(value)
    for one in found:
        if not isinstance(one, str):
            raise ConfigError(
                f"must be an address, or an array of them, got {shown(one)}", field=field
            )
    if not found:
        raise ConfigError("must have at least one address", field=field)
    return cast("tuple[str, ...]", found)


def _each(value: object) -> tuple[object, ...]:
    """Return the members of an array, or the one value that it may be instead."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else (value,)


def _proxies(texts: tuple[str, ...]) -> TrustedProxies:
    try:
        return TrustedProxies.parse(texts)
    except ValueError as error:
        raise ConfigError(str(error), field="gateway.trusted_proxies") from None


def _admin_key(variable: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the admin key; the variable that the file names must have it."""
    value = environ.get(variable or ADMIN_KEY_VARIABLE, "").strip()
    if value:
        return value
    if variable is not None:
        raise ConfigError(f"the variable {variable} is not set", field="gateway.admin_key_env")
    return None
