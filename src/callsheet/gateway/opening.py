"""Open a gateway: its troupes, its keys and its server, in one runtime.

gateway/
main.requester ... main.composer     a troupe for each endpoint of the file
retiring                             stops troupes that a reload has replaced
turns                                leases the limits of keys, if there are replicas
keys                                 sees new and revoked keys
server                               HTTP: the last to start, so the first to stop (R11)
"""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx
from starlette.types import ASGIApp

from ..actors import LeasedLimits, SharedLimiting
from ..runtime import Runtime, open_runtime
from .app import GatewayApp, gateway_app
from .calls import Callers, CallService
from .endpoints import RetiringActor, ServedEndpoints
from .gateway import Gateway, ServerActor, rules_of
from .keys import Tenants, TurnLeases, ValidKeys, key_store
from .model_pages import ProviderModels
from .operations import operation_routes
from .page import CallRecorder, PageAccess, PageSessions, page_routes
from .request_log import RequestLog, WriteLine
from .settings import GatewaySettings
from .tenants import KeysActor, SharedTurnsActor
from .views import GatewayViews

if TYPE_CHECKING:
    from ..metrics import Metrics

_OF_KEYS: Final = "keys of the gateway"  # their own limits, in the store of shared limits
_MAX_RETIRING: Final = 64  # endpoints at a time
_FURTHER_LABELS: Final = 50
_STOP_S: Final = 10.0  # for the actors, when the connections have ended


async def cast_gateway(
    runtime: Runtime, settings: GatewaySettings, client: httpx.AsyncClient
) -> tuple[Gateway, GatewayApp]:
    """Spawn the actors of a gateway in an open runtime, without a server.

    Args:
        runtime: the runtime that the actors run in.
        settings: what the file says.
        client: passes counts of tokens on, and asks for lists of models.

    Returns:
        The gateway, and the ASGI app that answers its clients.

    Raises:
        StorageError: the key store cannot be used.
        ValueError, InspectionUnavailable: see `cast_troupe`.
    """
    store, turns, recorder = None, None, CallRecorder(keeps_text=settings.shows_text)
    if settings.keys is not None:
        store = key_store(settings.keys, settings.shared, waits=True)
        if settings.shared is not None:
            turns = TurnLeases(LeasedLimits(secrets.token_hex(8)))
    keys, tenants = None if store is None else store.known, Tenants(turns)
    metrics = _metrics_for(settings)
    endpoints = ServedEndpoints(runtime, settings, observer=recorder.observer, metrics=metrics)
    await endpoints.open()
    retire = partial(RetiringActor, endpoints)
    gateway = Gateway(
        runtime,
        settings,
        endpoints=endpoints,
        service=CallService(
            callers=Callers(keys, tenants), models=endpoints, rules=rules_of(settings)
        ),
        retiring=await runtime.spawn("retiring", retire, concurrency=_MAX_RETIRING),
        metrics=metrics,
    )
    if turns is not None and settings.shared is not None:
        limits = settings.shared.limits(_OF_KEYS)
        shared = SharedLimiting(limits, settings.shared.outage == "divide", turns.leased)
        await runtime.spawn("turns", partial(SharedTurnsActor, shared, turns))
    if store is not None:
        await runtime.spawn("keys", partial(KeysActor, store, tenants, endpoints))
    access = _access(settings.admin_key, keys)
    views = GatewayViews(gateway, recorder, metrics, access, tenants)
    routes = [*operation_routes(views), *page_routes(views, access)]
    models = ProviderModels(endpoints, client)
    return gateway, gateway_app(gateway.service, client, models, routes)


@asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, *, log: WriteLine | None = None
) -> AsyncGenerator[Gateway]:
    """Open a gateway, which serves until the block is left; then it drains.

        async with open_gateway(read_gateway("callsheet.toml")) as gateway:
            print(*gateway.urls)
            await trio.sleep_forever()

    If the block raises or is cancelled, all calls are cancelled at once.

    Args:
        settings: what the file says.
        log: writes a line for each request, if the settings want that; None for no lines.

    Raises:
        CannotServe: nothing can listen at an address, or the certificate cannot be used.
        StorageError, ValueError, InspectionUnavailable: see `cast_gateway`.
    """
    async with open_runtime("gateway", drain_s=_STOP_S) as runtime, httpx.AsyncClient() as client:
        gateway, answers = await cast_gateway(runtime, settings, client)
        app: ASGIApp = answers
        if log is not None and settings.log == "requests":
            app = RequestLog(app, log)
        await runtime.spawn("server", partial(ServerActor, app, gateway))
        yield gateway
        await gateway.drain()


def _access(admin_key: str | None, keys: ValidKeys | None) -> PageAccess:
    """Return who may see the page: those with the admin key, or with a key of an admin."""
    if admin_key is None and keys is None:
        return PageAccess(None)
    find = None if keys is None else keys.find_admin
    return PageAccess(PageSessions(admin_key, find_admin=find), opens_here=admin_key is None)


def _metrics_for(settings: GatewaySettings) -> "Metrics | None":
    """Return what counts calls, where the extra ``metrics`` is installed."""
    try:
        from ..metrics import Metrics  # noqa: PLC0415  # an optional extra
    except ImportError:
        return None
    names = settings.named_models
    # Clients choose the names that patterns match: few of them have a label of their own.
    return Metrics(models=names, max_models=len(names) + _FURTHER_LABELS)
