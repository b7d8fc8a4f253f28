"""The troupes of the gateway, one for each endpoint: cast, found by model, replaced, retired."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from typing import final

import attrs
import trio

from ..actors import (
    Budget,
    Lane,
    Limits,
    Observer,
    Troupe,
    TroupeMeter,
    TroupeSettings,
    cast_troupe,
)
from ..runtime import Actor, ChildNotFound, Message, Runtime, handles
from .reload import change_of
from .settings import GatewaySettings


@final
@attrs.define(eq=False, kw_only=True)
class ServedEndpoint:
    """An endpoint with its troupe.

    Args:
        name: the name of the endpoint, or of its pool.
        troupe: the actors that make its calls.
        settings: what the file says of it.
        prefix: the prefix of the names of its actors.

    Attributes:
        open_calls: the number of calls that have not ended.
    """

    name: str
    troupe: Troupe
    settings: TroupeSettings
    prefix: str
    open_calls: int = attrs.field(default=0, init=False)
    _is_idle: trio.Event = attrs.field(factory=trio.Event, init=False)

    @contextmanager
    def used(self) -> Generator[None]:
        """Count a call as open within the block."""
        self.open_calls += 1
        try:
            yield
        finally:
            self.open_calls -= 1
            if not self.open_calls:
                self._is_idle.set()

    async def idle(self) -> None:
        """Wait until no call is open."""
        while self.open_calls:
            self._is_idle = trio.Event()
            await self._is_idle.wait()


@final
@attrs.frozen
class CallTarget:
    """Where the calls for a model go.

    Args:
        served: the endpoint with its troupe.
        model: the provider's name of the model.
    """

    served: ServedEndpoint
    model: str


@final
class ServedEndpoints:
    """The endpoints of a gateway, by name.

    Args:
        runtime: the runtime of their actors.
        settings: the settings of the gateway.
        observer: returns what is called with the events of the calls of an endpoint, by its name.
        metrics: counts the calls of all endpoints; None for nothing that does.
    """

    def __init__(
        self,
        runtime: Runtime,
        settings: GatewaySettings,
        *,
        observer: Callable[[str], Observer],
        metrics: TroupeMeter | None = None,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._observer = observer
        self._metrics = metrics
        self._served: dict[str, ServedEndpoint] = {}
        self._generations: dict[str, int] = {}
        self._lanes: Mapping[str, Lane] = {}
        self._budgets: tuple[Budget, ...] = ()

    @property
    def served(self) -> tuple[ServedEndpoint, ...]:
        """All endpoints, in the order of the file."""
        return tuple(self._served.values())

    def find(self, name: str) -> CallTarget | None:
        """Return where the calls for a model go; None if no endpoint serves it.

        Args:
            name: the name of the model that the client uses.
        """
        route = self._settings.route(name)
        if route is None:
            return None
        return CallTarget(self._served[route.troupe], route.model or name)

    def names(self) -> list[str]:
        """Return the models to list for clients: those that the file names."""
        return list(self._settings.models)

    @property
    def behind_patterns(self) -> tuple[ServedEndpoint, ...]:
        """The endpoints that serve models which the file does not name."""
        routes = self._settings.routes
        names = dict.fromkeys(one.troupe for one in routes if one.is_pattern and not one.model)
        return tuple(self._served[name] for name in names)

    async def open(self) -> None:
        """Cast the troupes.

        Raises:
            ValueError, InspectionUnavailable: see `cast_troupe`.
        """
        for name, settings in self._settings.troupes.items():
            self._served[name] = await self._cast(name, settings)

    async def change_tenants(self, lanes: Mapping[str, Lane], budgets: tuple[Budget, ...]) -> None:
        """Apply the weights and the budgets of keys to every endpoint.

        Args:
            lanes: the lane of each key, by name.
            budgets: the budgets of all keys.
        """
        if lanes != self._lanes:
            self._lanes = lanes
            for one in self._served.values():
                await one.troupe.change_limits(self._limits(one.settings))
        if budgets != self._budgets:
            self._budgets = budgets
            for one in self._served.values():
                await self._change_budgets(one)

    async def change(self, settings: GatewaySettings) -> list[ServedEndpoint]:
        """Serve what other settings say; return the endpoints that are served no more.

        A troupe goes on if only its limits differ. Any other difference takes a new troupe, and
        calls in the former one go on there.

        Args:
            settings: the new settings of the gateway.

        Raises:
            Exception: a troupe cannot be cast, its ledger not be opened for example. The former
                settings hold then.
        """
        change, cast = change_of(self._settings, settings), dict[str, ServedEndpoint]()
        try:
            for name in (*change.started, *change.recast):
                cast[name] = await self._cast(name, settings.troupes[name])
        except Exception:
            for one in cast.values():
                await self.retire(one)
            raise
        former, self._settings = self._served, settings
        self._served = {name: cast.get(name) or former[name] for name in settings.troupes}
        for name in change.limited:
            served = self._served[name]
            served.settings = settings.troupes[name]
            await served.troupe.change_limits(self._limits(served.settings))
        return [former[name] for name in (*change.ended, *change.recast)]

    async def retire(self, former: ServedEndpoint, *, within_s: float = inf) -> None:
        """Stop the actors of an endpoint when its calls have ended.

        Args:
            former: what `change` has returned.
            within_s: seconds after which they are stopped all the same.
        """
        with trio.move_on_after(within_s):
            await former.idle()
        await self._stop(former.prefix)

    async def _stop(self, prefix: str) -> None:
        """Stop the actors of a troupe, the first stage first, and remove them."""
        for node in reversed(self._runtime.snapshot().root.children):
            name = node.path.rpartition("/")[2]
            if f"{name.rpartition('.')[0]}." != prefix:
                continue
            with suppress(ChildNotFound):  # it has ended meanwhile, or is removed when it stops
                await self._runtime.root.stop_child(name)
                self._runtime.root.remove_child(name)

    async def _cast(self, name: str, settings: TroupeSettings) -> ServedEndpoint:
        generation = self._generations[name] = self._generations.get(name, 0) + 1
        prefix = f"{name}." if generation == 1 else f"{name}#{generation}."
        limits = self._limits(settings)
        cast = attrs.evolve(
            settings,
            limits=limits,
            observer=(settings.observer, self._observer(name)),
            metrics=self._metrics,
        )
        try:
            troupe = await cast_troupe(self._runtime, cast, prefix=prefix)
        except Exception:
            await self._stop(prefix)  # the stages that were spawned before the one that failed
            raise
        served = ServedEndpoint(name=name, troupe=troupe, settings=settings, prefix=prefix)
        if self._budgets:
            await self._change_budgets(served)
        return served

    async def _change_budgets(self, served: ServedEndpoint) -> None:
        ledger = served.settings.ledger
        if ledger is not None:
            await served.troupe.change_budgets((*ledger.budgets, *self._budgets))

    def _limits(self, settings: TroupeSettings) -> Limits:
        """Return the limits of an endpoint, with the lanes of the keys."""
        lanes = {**self._lanes, **settings.limits.lanes}
        return attrs.evolve(settings.limits, lanes=lanes)


@attrs.frozen
class Retire(Message[None]):
    """Ask a `RetiringActor` to stop an endpoint that is served no more.

    Args:
        former: what `ServedEndpoints.change` has returned.
        within_s: seconds after which it is stopped although calls are open.
    """

    former: ServedEndpoint
    within_s: float


@final
class RetiringActor(Actor):
    """Stops endpoints when their calls have ended. Spawn it with a `concurrency`: that takes long.

    Args:
        endpoints: the endpoints of the gateway.
    """

    def __init__(self, endpoints: ServedEndpoints) -> None:
        self._endpoints = endpoints

    @handles(Retire)
    async def retire(self, message: Retire) -> None:
        """Stop one endpoint."""
        await self._endpoints.retire(message.former, within_s=message.within_s)
