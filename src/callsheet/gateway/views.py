"""What those who run a gateway see of it: readiness, metrics, readings and costs."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, final

import attrs
import trio
from starlette.requests import Request as HttpRequest

from ..actors import CostStatistics, Reading, combined_reading, how_to_install
from ..runtime import AskFailed, State
from .gateway import Gateway
from .keys import OwnLimit, Tenant, Tenants
from .page import CallRecorder, PageAccess, TenantReading

if TYPE_CHECKING:
    from ..metrics import Exposition, Metrics

_LOOK_S = 1.0  # all who can connect may ask whether a gateway is ready
_PATIENCE_S = 1.0
_NOT_WRITTEN = "it cannot be written, so calls that count against budgets are refused; see the log"


@final
class GatewayViews:
    """A running gateway, as its page, its metrics and ``callsheet top`` see it.

    Args:
        gateway: the gateway that runs.
        recorder: what observes the calls of all troupes.
        metrics: counts the calls of all troupes; None where the extra is not installed.
        access: who may see figures.
        tenants: the callers behind the keys.

    Attributes:
        recorder: what observes the calls of all troupes.
        started_at: when the gateway started, in seconds on Trio's clock.
        draining: set when the gateway takes no more calls.
    """

    def __init__(
        self,
        gateway: Gateway,
        recorder: CallRecorder,
        metrics: "Metrics | None",
        access: PageAccess,
        tenants: Tenants,
    ) -> None:
        self.recorder = recorder
        self.started_at = trio.current_time()
        self.draining = gateway.service.draining
        self._gateway = gateway
        self._metrics = metrics
        self._access = access
        self._tenants = tenants
        self._ledger_trouble, self._look_again_at = "", -inf

    @property
    def exposes_metrics(self) -> bool:
        """Whether the metrics need no admin key."""
        return self._gateway.settings.public_metrics

    async def not_ready(self) -> Mapping[str, str]:
        """Return each part that cannot take calls now, with the reason; empty if all can."""
        missing: dict[str, str] = {}
        if self.draining.is_set():
            missing["gateway"] = "it shuts down, and accepts no more calls"
        actors = self._gateway.runtime.snapshot().actors
        down = sum(actor.state is not State.RUNNING for actor in actors)
        if down:
            missing["actors"] = f"{down} of {len(actors)} do not run now"
        if not missing and (why := await self._why_no_budget()):
            missing["ledger"] = why
        return missing

    async def _why_no_budget(self) -> str:
        """Return why calls that count against budgets are refused now; "" if they are not.

        A ledger tries to write what it could not write whenever it is asked for its sums, so that
        a gateway which gets no calls becomes ready again.
        """
        if trio.current_time() >= self._look_again_at:
            self._look_again_at = trio.current_time() + _LOOK_S
            is_refusing = False
            with suppress(AskFailed), trio.move_on_after(_PATIENCE_S):  # the next look tells more
                for troupe in (one.troupe for one in self._gateway.endpoints.served):
                    found = None if troupe.ledger is None else await troupe.costs()
                    if found is not None and found.unwritten and found.budgets:
                        is_refusing = True
            self._ledger_trouble = _NOT_WRITTEN if is_refusing else ""
        return self._ledger_trouble

    def may_look(self, request: HttpRequest) -> bool:
        """Return whether a client may see figures: it is on this machine, or has the admin key.

        Args:
            request: what the client has sent.

        Raises:
            TooManyAttempts: wrong keys came from the same address; this one was not looked at.
        """
        now = trio.current_time()
        return self._access.of(request, now) == "yes" or self._access.has_key(request, now)

    def tenants(self) -> Sequence[TenantReading]:
        """Return the tenants with calls, those with the most calls that wait first."""
        busy = [one for one in self._tenants if one.in_flight or one.waiting]
        busy.sort(key=lambda one: (-one.waiting, -one.in_flight, one.name))
        return [_reading_of(one) for one in busy]

    async def exposition(self, accept: str) -> "Exposition":
        """Return the metrics of this moment.

        Args:
            accept: the header `Accept` of the scrape.

        Raises:
            ImportError: what writes them is not installed; the message says how to install it.
        """
        if self._metrics is None:
            raise ImportError(f"metrics need prometheus-client; {how_to_install('metrics')}")
        return await self._metrics.exposition(accept)

    async def reading(self) -> Reading:
        """Return one reading of all troupes."""
        ledgers = {
            None if (ledger := one.settings.ledger) is None else ledger.path
            for one in self._gateway.endpoints.served
        }
        is_one_ledger = len(ledgers) == 1 and None not in ledgers
        reading = combined_reading(await self.readings(), is_one_ledger=is_one_ledger)
        errors = (*reading.errors, *self.recorder.errors(trio.current_time()))
        by_age = sorted(errors, key=lambda error: error.seconds)
        return attrs.evolve(reading, errors=by_age)

    async def readings(self) -> Mapping[str, Reading]:
        """Return {name of the endpoint: the reading of its troupe}, in the order of the file."""
        served = self._gateway.endpoints.served
        found: dict[str, Reading] = {}

        async def read(at: int) -> None:
            found[served[at].name] = await served[at].troupe.reading()

        async with trio.open_nursery() as nursery:
            for at in range(len(served)):
                nursery.start_soon(read, at)
        return {one.name: found[one.name] for one in served}

    async def costs(self) -> CostStatistics | None:
        """Return the sums of the ledger, which all troupes share; None without a ledger."""
        for one in self._gateway.endpoints.served:
            if one.troupe.ledger is not None:
                return await one.troupe.costs()
        return None


def _reading_of(tenant: Tenant) -> TenantReading:
    limits = tenant.limits()
    return TenantReading(
        name=tenant.name,
        lane=tenant.key.lane,
        in_flight=tenant.in_flight,
        waiting=tenant.waiting,
        next_s=tenant.next_s,
        requests=_use(limits.requests),
        tokens=_use(limits.tokens),
    )


def _use(limit: OwnLimit | None) -> float | None:
    return None if limit is None else 1.0 - min(1.0, limit.remaining / limit.limit)
