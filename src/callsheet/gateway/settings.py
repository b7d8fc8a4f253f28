"""The settings of a gateway: what its file says, checked. Pure."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, final

import attrs
from attrs.validators import and_, optional

from ..actors import (
    TroupeSettings,
    as_path,
    ge,
    has,
    in_,
    instance_of,
    listed,
    lt,
    not_empty,
)
from ..serving import Listen, ServingLimits, TrustedProxies, certificate_path, key_path
from .keys import ALLOWABLE, NO_SERVER, SHARED_KEYS, KeyPlace

if TYPE_CHECKING:
    from ..actors import SharedStores

DEFAULT_PORT = 4000

Allowed = Literal["cache", "join", "lists", "prompt_cache"]
"""What calls may use without asking for it."""

RequestLogging = Literal["requests", "errors"]
"""What the log has: a line for each request, or errors alone."""

_PATTERN = frozenset("*?[")


_is_duration = and_(instance_of((int, float)), ge(0), lt(inf))


def _listens(values: Iterable[str | Listen]) -> tuple[Listen, ...]:
    if isinstance(values, str):
        raise TypeError("listen must be a list of addresses, not a text")
    try:
        found = listed(values, "it")
        return tuple(one if isinstance(one, Listen) else Listen.parse(one) for one in found)
    except (ValueError, TypeError) as error:
        raise ValueError(f"listen: {error}") from None


@final
@attrs.frozen
class TlsFiles:
    """The files of a certificate.

    Args:
        certificate: the certificate and those that it rests on, in PEM.
        key: its private key, in PEM.
    """

    certificate: Path = attrs.field(converter=certificate_path)
    key: Path = attrs.field(converter=key_path)


@final
@attrs.frozen(kw_only=True)
class ModelRoute:
    """Where the calls for a model go.

    Args:
        name: the name that a client gives, or a pattern such as ``claude-*``.
        troupe: the name of the troupe that makes the calls; see `GatewaySettings.troupes`.
        model: the model to use there; None for the one that the client names.
    """

    name: str = attrs.field(validator=instance_of(str))
    troupe: str = attrs.field(validator=instance_of(str))
    model: str | None = attrs.field(default=None, validator=optional(instance_of(str)))

    @property
    def is_pattern(self) -> bool:
        """Whether the name stands for several models."""
        return not _PATTERN.isdisjoint(self.name)


def _are_usable(_: object, __: object, values: Mapping[str, TroupeSettings]) -> None:
    if not isinstance(cast("object", values), Mapping):
        raise TypeError(f"troupes must be a mapping, not {type(values).__name__}")
    if not values:
        raise ValueError("troupes must have at least one endpoint")
    for name, value in values.items():
        if not isinstance(cast("object", name), str) or not name or "/" in name:
            raise ValueError(f"troupes must have names without '/', got {name!r:.60}")
        if not isinstance(value, TroupeSettings):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"troupes must be TroupeSettings, not {type(value).__name__}")


def _key_place(value: KeyPlace | str | None) -> KeyPlace | None:
    return value if value is None or value == SHARED_KEYS else as_path(value, "keys")


def _allowed(values: Iterable[Allowed]) -> frozenset[Allowed]:
    found = listed(values, "allow")
    for at, one in enumerate(found):
        if one not in ALLOWABLE:  # before a set is made, which takes only what has a hash
            known = ", ".join(map(repr, ALLOWABLE))
            raise ValueError(f"allow[{at}] must be one of {known}, not {one!r:.60}")
    return frozenset(found)


def _by_name(routes: Iterable[ModelRoute]) -> Mapping[str, ModelRoute]:
    return {route.name: route for route in routes if not route.is_pattern}


def _exact_first(routes: Iterable[ModelRoute]) -> tuple[ModelRoute, ...]:
    found = listed(routes, "routes")
    for at, route in enumerate(found):
        if not isinstance(cast("object", route), ModelRoute):
            raise TypeError(f"routes[{at}] must be a ModelRoute, not {route!r:.60}")
    return tuple(sorted(found, key=lambda route: route.is_pattern))


@final
@attrs.frozen(kw_only=True)
class GatewaySettings:
    """The settings of a gateway. Only `troupes` and `routes` are required.

    Args:
        troupes: the settings of one troupe for each endpoint, or pool, that a model uses, by name.
            All models of an endpoint share its troupe, and so its limits.
        routes: where calls go, by the model that they name. Exact names come before patterns, and
            patterns are tried in this order.
        listen: the addresses to listen at, such as "127.0.0.1:4000" or "unix:/run/callsheet.sock".
            Without a key store each of them must be a loopback address, or a Unix socket.
        clients: the bounds on clients: connections, sizes and times.
        tls: the certificate of the server; None for plain HTTP.
        keys: the file of the key store; "shared" for the keys on the server of `shared`; None
            accepts calls without keys.
        shared: what replicas of the gateway share besides what `troupes` say: the keys.
        allow: what calls may use without asking for it, unless their key has a list of its own.
        admin_key: the key for the page and for ``callsheet top``; None opens both to programs on
            this machine alone.
        patience_s: seconds that a call whose response is not streamed may wait for its turn.
        drain_s: seconds that calls may take to finish when the gateway is to end.
        trusted_proxies: the reverse proxies whose word on the address of the client counts.
        public_metrics: whether ``/metrics`` needs no admin key, wherever the scrape comes from.
        shows_text: whether the page shows the prompts and the responses of calls.
        log: whether a line is logged for each request.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names the field.
    """

    troupes: Mapping[str, TroupeSettings] = attrs.field(validator=_are_usable)
    routes: tuple[ModelRoute, ...] = attrs.field(converter=_exact_first)
    listen: tuple[Listen, ...] = attrs.field(
        default=(Listen(port=DEFAULT_PORT),), converter=_listens, validator=not_empty
    )
    clients: ServingLimits = attrs.field(
        factory=ServingLimits, validator=instance_of(ServingLimits)
    )
    tls: TlsFiles | None = attrs.field(default=None, validator=optional(instance_of(TlsFiles)))
    keys: KeyPlace | None = attrs.field(default=None, converter=_key_place)
    shared: "SharedStores | None" = attrs.field(
        default=None, validator=optional(has("outage", "limits", wanted="a SharedStores"))
    )
    allow: frozenset[Allowed] = attrs.field(default=frozenset({"prompt_cache"}), converter=_allowed)
    admin_key: str | None = attrs.field(
        default=None, repr=False, validator=optional(instance_of(str))
    )
    patience_s: float = attrs.field(default=50.0, validator=_is_duration)
    drain_s: float = attrs.field(default=600.0, validator=_is_duration)
    trusted_proxies: TrustedProxies = attrs.field(
        factory=TrustedProxies, validator=instance_of(TrustedProxies)
    )
    public_metrics: bool = attrs.field(default=False, validator=instance_of(bool))
    shows_text: bool = attrs.field(default=False, validator=instance_of(bool))
    log: RequestLogging = attrs.field(default="requests", validator=in_(("requests", "errors")))
    _exact: Mapping[str, ModelRoute] = attrs.field(
        default=attrs.Factory(lambda self: _by_name(self.routes), takes_self=True),
        init=False,
        repr=False,
        eq=False,
    )
    _patterns: tuple[ModelRoute, ...] = attrs.field(
        default=attrs.Factory(
            lambda self: tuple(one for one in self.routes if one.is_pattern), takes_self=True
        ),
        init=False,
        repr=False,
        eq=False,
    )

    def __attrs_post_init__(self) -> None:
        for route in self.routes:
            if route.troupe not in self.troupes:
                raise ValueError(f"routes: {route.name!r:.60} goes to no troupe of these settings")
        if self.keys == SHARED_KEYS and self.shared is None:
            raise ValueError(f"keys: {NO_SERVER}")
        exposed = next((one for one in self.listen if not one.is_loopback), None)
        if exposed is not None and self.keys is None:
            raise ValueError(
                f"listen: other machines can connect to {exposed} and spend your money, because "
                "there is no key store; name one ([keys] store), or listen at a loopback address "
                f"such as 127.0.0.1:{DEFAULT_PORT}"
            )

    def route(self, model: str) -> ModelRoute | None:
        """Return where the calls for a model go; None for a model that is not served.

        Args:
            model: the name that the client gives.
        """
        found = self._exact.get(model)
        if found is not None:
            return found
        return next((one for one in self._patterns if fnmatchcase(model, one.name)), None)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the file names, without those that only a pattern stands for."""
        return tuple(self._exact)

    @property
    def named_models(self) -> tuple[str, ...]:
        """The models that the file names, for clients and at endpoints, each once."""
        at_endpoints = [route.model for route in self.routes if route.model]
        return tuple(dict.fromkeys((*self.models, *at_endpoints)))
