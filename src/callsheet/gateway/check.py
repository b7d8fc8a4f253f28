"""Check what can be checked of a gateway without sending anything."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import attrs
import trio

from ..actors import (
    Endpoint,
    StorageError,
    TroupeSettings,
    UnsuitableServer,
    how_to_install,
    read_sums,
)
from ..serving import CannotServe, Listen, Tls, check_address
from ..wording import amount
from .keys import SHARED_KEYS, ApiKey, key_store
from .settings import GatewaySettings, ModelRoute

if TYPE_CHECKING:
    from ..actors import SharedStores

CheckState = Literal["ok", "note", "error"]
"""Whether a part can be used, can be used with a remark, or keeps the gateway from starting."""

_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # compared, not listened at
_PATTERN = frozenset("*?[")  # signs of `fnmatch`
_SHORT_KEY = 16  # characters; a shorter admin key can be guessed


@attrs.frozen
class CheckedPart:
    """A part of a gateway that was checked.

    Args:
        part: what it is, such as "endpoint".
        name: which one it is, such as "main".
        state: whether it can be used.
        text: what was found, with the remedy of an error.
    """

    part: str
    name: str
    state: CheckState
    text: str


async def check_gateway(
    settings: GatewaySettings, *, clock: Callable[[], float] = time.time
) -> tuple[CheckedPart, ...]:
    """Return what can be found out about a gateway without sending anything.

    Args:
        settings: the settings of the gateway.
        clock: Unix time in seconds.
    """
    found = [await _address(settings, listen) for listen in settings.listen]
    if settings.tls is not None:
        found.append(_certificate(Tls(settings.tls.certificate, settings.tls.key)))
    found += [_endpoint(name, troupe) for name, troupe in settings.troupes.items()]
    found += _circles(settings)
    found += _shared(settings)
    found += [_model(settings, route) for route in settings.routes]
    keys, of_keys = await _keys(settings, clock)
    if settings.shared is not None:
        found.append(await _server(settings.shared, has_budgets=_has_budgets(settings, keys)))
    found += of_keys
    found.append(await trio.to_thread.run_sync(_ledger, settings, clock))
    if "cache" in settings.allow and all(one.cache is None for one in settings.troupes.values()):
        text = 'has "cache", but there is no section [cache], so no response is stored'
        found.append(CheckedPart("allow", "", "note", text))
    found.append(_admin(settings))
    found.append(_metrics())
    return tuple(found)


async def _address(settings: GatewaySettings, listen: Listen) -> CheckedPart:
    """Listen at an address for a moment. A taken one may be that of the gateway that runs."""
    state: CheckState = "ok"
    text = "this machine only" if listen.is_loopback else "other machines can connect"
    if settings.tls is None and not listen.is_loopback:
        state, text = "note", f"{text}, without TLS: keys and prompts are not encrypted on the way"
    try:
        await check_address(listen)
    except CannotServe as error:
        return CheckedPart("listen", str(listen), "note", str(error))
    return CheckedPart("listen", str(listen), state, text)


def _certificate(tls: Tls) -> CheckedPart:
    try:
        tls.load()
    except CannotServe as error:
        return CheckedPart("tls", str(tls.certificate), "error", str(error))
    return CheckedPart("tls", str(tls.certificate), "ok", f"with the key {tls.key}")


def _endpoint(name: str, troupe: TroupeSettings) -> CheckedPart:
    text = ", ".join(map(_at, troupe.endpoint.each))
    limits = troupe.limits
    rates = ((limits.rpm, "requests"), (limits.tpm, "tokens"))
    known = [f"{amount(rate)} {what}/min" for rate, what in rates if rate is not None]
    text += f"; {', '.join((*known, f'{limits.in_flight} in flight'))}"
    if troupe.fallbacks:
        text += f"; then {', '.join(_at(target.endpoint) for target in troupe.fallbacks)}"
    return CheckedPart("endpoint", name, "ok", text)


def _circles(settings: GatewaySettings) -> Iterator[CheckedPart]:
    """Yield the endpoints that are the gateway itself, which would send itself its calls."""
    for name, troupe in settings.troupes.items():
        for endpoint in (*troupe.endpoint.each, *(target.endpoint for target in troupe.fallbacks)):
            if any(_is_at(endpoint, listen) for listen in settings.listen):
                text = (
                    f"{endpoint.shown_url} is this gateway itself: unset OPENAI_BASE_URL where it "
                    "starts, or give the endpoint the base_url of a provider"
                )
                yield CheckedPart("endpoint", name, "error", text)


def _is_at(endpoint: Endpoint, listen: Listen) -> bool:
    """Return whether requests to an endpoint arrive at an address that the gateway listens at."""
    if listen.path or endpoint.uds is not None:
        return endpoint.uds is not None and str(endpoint.uds) == listen.path
    url = urlsplit(endpoint.base_url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    is_all = listen.host in _EVERY_ADDRESS
    is_here = Listen(host).is_loopback and (listen.is_loopback or is_all)
    return port == listen.port and (is_here or host == listen.host)


def _shared(settings: GatewaySettings) -> Iterator[CheckedPart]:
    """Yield the endpoints whose provider counts more calls than their limits do (L12)."""
    owners: dict[tuple[object, ...], str] = {}
    for name, troupe in settings.troupes.items():
        for endpoint in troupe.endpoint.each:
            same = owners.setdefault(_account(endpoint), name)
            if same != name:
                text = f"has the host and the key of {same}: give each its part of the limits"
                yield CheckedPart("endpoint", name, "note", text)
    for name, troupe in settings.troupes.items():
        for target in troupe.fallbacks:
            own = owners.get(_account(target.endpoint))
            if own is not None:
                text = f"calls that it cannot serve go to {own} without a turn at the limits there"
                yield CheckedPart("endpoint", name, "note", text)


def _account(endpoint: Endpoint) -> tuple[object, ...]:
    """Return what a provider counts calls by."""
    return endpoint.host, endpoint.api_key, endpoint.deployment


def _at(endpoint: Endpoint) -> str:
    key = "" if endpoint.api_key is not None else ", no key"
    return f"{endpoint.vendor.title} at {endpoint.shown_url}{key}"


def _model(settings: GatewaySettings, route: ModelRoute) -> CheckedPart:
    troupe = settings.troupes[route.troupe]
    text = f"to {route.troupe}" + (f" as {route.model}" if route.model else "")
    if route.is_pattern and not route.model:
        return CheckedPart("model", route.name, "ok", text)
    prices = troupe.prices.at_vendor(troupe.endpoint.vendor.price_list)
    if prices.price(route.model or route.name) is None:
        text += (
            "; its price is not known, so its costs are not either, and budgets refuse its calls "
            "unless they allow that (prices = FILE)"
        )
        return CheckedPart("model", route.name, "note", text)
    return CheckedPart("model", route.name, "ok", text)


def _has_budgets(settings: GatewaySettings, keys: Iterable[ApiKey]) -> bool:
    """Return whether there are budgets which replicas share."""
    ledgers = (troupe.ledger for troupe in settings.troupes.values())
    of_gateway = any(ledger is not None and ledger.budgets for ledger in ledgers)
    return of_gateway or any(key.budgets for key in keys)


async def _server(shared: "SharedStores", *, has_budgets: bool) -> CheckedPart:
    """Ask the server that replicas share whether it can be used."""
    part, name = "shared", shared.name.removeprefix("the shared server ")
    try:
        await shared.check()
        if has_budgets:  # which must not be forgotten
            store = shared.ledger()
            async with store.open():
                await store.check()
    except UnsuitableServer as error:
        return CheckedPart(part, name, "error", str(error))
    except StorageError as error:  # it may come back, and the gateway waits for it
        return CheckedPart(part, name, "note", f"{error}; no call is sent before that")
    return CheckedPart(part, name, "ok", "limits, budgets and responses are shared there")


async def _keys(
    settings: GatewaySettings, clock: Callable[[], float]
) -> tuple[Sequence[ApiKey], list[CheckedPart]]:
    """Return the valid keys as far as they can be read, and what is found about them."""
    if settings.keys is None:
        text = "none are needed, because only this machine can connect"
        return (), [CheckedPart("keys", "", "ok", text)]
    store = key_store(settings.keys, settings.shared, waits=True, clock=clock)
    option = "--shared URL" if settings.keys == SHARED_KEYS else f"--store {settings.keys}"
    try:
        async with store.open():
            keys = store.known.valid()
    except StorageError as error:
        return (), [CheckedPart("keys", store.name, "error", str(error))]
    if not store.known.is_current:
        text = "the server does not answer; no call is accepted before the keys are read"
        return (), [CheckedPart("keys", store.name, "note", text)]
    count = f"{len(keys):,} valid key{'' if len(keys) == 1 else 's'}"
    if keys:
        checked = CheckedPart("keys", store.name, "ok", count)
    else:
        text = f"{count}, so no call is accepted: callsheet keys create NAME {option}"
        checked = CheckedPart("keys", store.name, "note", text)
    found = (part for key in keys for part in _key(settings, key))
    return keys, [checked, *dict.fromkeys(found)]  # keys of one name have the same terms


def _key(settings: GatewaySettings, key: ApiKey) -> Iterator[CheckedPart]:
    """Yield what is wrong with a key; most have nothing."""
    if key.budgets and any(troupe.ledger is None for troupe in settings.troupes.values()):
        text = f"the key {key.name} has a budget, which needs the ledger; remove ledger = false"
        yield CheckedPart("key", key.name, "error", text)
    named = [name for name in key.models if not _PATTERN & set(name)]
    may_match = len(named) < len(key.models) and any(route.is_pattern for route in settings.routes)
    served = [name for name in settings.models if key.may_use(name)]
    if not served and not may_match and all(settings.route(name) is None for name in named):
        text = f"it may use {', '.join(key.models)}, and no such model is served"
        yield CheckedPart("key", key.name, "note", text)


def _ledger(settings: GatewaySettings, clock: Callable[[], float]) -> CheckedPart:
    ledgers = [troupe.ledger for troupe in settings.troupes.values()]
    path = next((ledger.path for ledger in ledgers if ledger is not None), None)
    if None in ledgers:
        return CheckedPart("ledger", "", "note", "none: costs are not recorded")
    if path is None:
        return CheckedPart("ledger", "", "note", "in memory: costs are lost at the end")
    try:
        if path.exists():
            read_sums(path, "model", now=clock())
        elif not _can_create(path):
            text = f"the ledger {path} cannot be created there; give another path ([ledger] path)"
            return CheckedPart("ledger", str(path), "error", text)
    except StorageError as error:
        return CheckedPart("ledger", str(path), "error", str(error))
    budgets = {budget.name for ledger in ledgers if ledger is not None for budget in ledger.budgets}
    text = f"budgets: {', '.join(sorted(budgets))}" if budgets else "no budget of all calls"
    return CheckedPart("ledger", str(path), "ok", text)


def _can_create(path: Path) -> bool:
    folder = next((one for one in path.absolute().parents if one.exists()), None)
    return folder is not None and folder.is_dir() and os.access(folder, os.W_OK)


def _admin(settings: GatewaySettings) -> CheckedPart:
    if settings.admin_key is None:
        text = "none: the page and the metrics are for this machine, and for keys with --admin"
        return CheckedPart("admin key", "", "ok", text)
    if len(settings.admin_key) < _SHORT_KEY:
        text = f"the admin key has fewer than {_SHORT_KEY} characters, so it can be guessed"
        return CheckedPart("admin key", "", "error", text)
    return CheckedPart("admin key", "", "ok", "is set")


def _metrics() -> CheckedPart:
    try:
        import prometheus_client as _  # noqa: F401, PLC0415  # an optional package
    except ImportError:
        text = f"/metrics is not served; {how_to_install('metrics')}"
        return CheckedPart("metrics", "", "note", text)
    return CheckedPart("metrics", "", "ok", "at /metrics")
