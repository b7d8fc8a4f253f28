"""A gateway that runs: its reload, its drain, and the actor of its server."""

from functools import partial
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from starlette.types import ASGIApp

from ..runtime import Actor, Ref, Runtime
from ..serving import Serving, Tls, serve
from .calls import CallRules, CallService
from .endpoints import Retire, ServedEndpoints
from .reload import SettingsChange, change_of
from .settings import GatewaySettings

if TYPE_CHECKING:
    from ..metrics import Metrics

_ANY_LENGTH: Final = 1 << 62


@final
class Gateway:
    """A gateway that runs; made by `open_gateway`.

    Args:
        runtime: the runtime of its actors.
        settings: what the file says.
        endpoints: the endpoints with their troupes.
        service: what all calls share.
        retiring: stops endpoints that are served no more.
        metrics: counts the calls of all endpoints; None where the extra is not installed.

    Attributes:
        settings: what the file says now.
        servings: the servers, one for each address.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: GatewaySettings,
        *,
        endpoints: ServedEndpoints,
        service: CallService,
        retiring: Ref[Retire],
        metrics: "Metrics | None" = None,
    ) -> None:
        self.runtime = runtime
        self.settings = settings
        self.endpoints = endpoints
        self.service = service
        self.servings: list[Serving] = []
        self._retiring = retiring
        self._metrics = metrics
        self._reloading = trio.Lock()

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs at which it listens, with the ports that are used."""
        return tuple(serving.url for serving in self.servings)

    async def reload(self, settings: GatewaySettings) -> SettingsChange:
        """Take other settings while running. Calls go on.

        Args:
            settings: the new settings.

        Returns:
            What has changed, and what counts only at the next start.

        Raises:
            Exception: the settings cannot be used: a troupe cannot be cast, its ledger not be
                opened for example. The former ones hold.
        """
        async with self._reloading:
            for serving in self.servings:
                serving.reload_certificate()
            change = change_of(self.settings, settings)
            for former in await self.endpoints.change(settings):
                await self._retiring.tell(Retire(former, settings.drain_s))
            self.settings = settings
            bounds = self.service.rules  # those of clients count from the start to the end
            self.service.rules = attrs.evolve(
                rules_of(settings),
                max_body_bytes=bounds.max_body_bytes,
                body_timeout_s=bounds.body_timeout_s,
            )
            if self._metrics is not None:
                self._metrics.name_models(settings.named_models)
        return change

    async def drain(self) -> None:
        """Accept no more calls, and wait at most `drain_s` seconds until those that run end."""
        self.service.draining.set()
        async with trio.open_nursery() as nursery:
            for serving in self.servings:
                nursery.start_soon(serving.drain, self.settings.drain_s)


def rules_of(settings: GatewaySettings) -> CallRules:
    """Return the settings that hold for each call.

    Args:
        settings: the settings of the gateway.
    """
    return CallRules(
        patience_s=settings.patience_s,
        max_body_bytes=settings.clients.max_body_bytes,
        body_timeout_s=settings.clients.body_timeout_s,
        allow=frozenset(settings.allow),
    )


@final
class ServerActor(Actor):
    """Listens at the addresses of a gateway, as long as it runs. It handles no messages.

    Args:
        app: the ASGI app.
        gateway: the gateway, which learns of the servers.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def started(self) -> None:
        """Listen.

        Raises:
            CannotServe: nothing can listen at an address, or the certificate cannot be used.
        """
        settings, servings = self._gateway.settings, self._gateway.servings
        servings.clear()
        tls = None if settings.tls is None else Tls(settings.tls.certificate, settings.tls.key)
        # All routes bound what they read, and those of calls refuse it in the words of an SDK.
        limits = attrs.evolve(settings.clients, max_body_bytes=_ANY_LENGTH)
        for address in settings.listen:
            run = partial(
                serve,
                limits=limits,
                tls=tls,
                trusted_proxies=settings.trusted_proxies,
            )
            servings.append(await self.nursery.start(run, self._app, address))
