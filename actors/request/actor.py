"""Makes the calls: HTTP, retries, deadlines, typed errors, usage and cost."""

from collections.abc import Sequence

import attrs
import httpx
import trio

from ...runtime import Actor, Message, StreamSink, handles, streams
from ..calls import Complete, Stream
from ..errors import CallFailed
from ..events import Observer, ignore
from ..http import (
    Configure,
    HttpCarrier,
    LeanTransport,
    PoolStatistics,
    carrier_over,
    transport_for,
)
from ..messages import Delta, Response
from ..vendors import Endpoint, PriceBook, Timeouts, default_prices
from .attempts import Attempts
from .breaker import NEVER_OPENS, BreakerPolicy, BreakerStatistics, EndpointBreaker
from .context import RequestContext, TargetContext
from .exchange import Exchange
from .fallback import Fallback, Target
from .hedging import HedgePolicy, Hedger, HedgeStatistics
from .retry import RetryBudget, RetryPolicy, RetryThrottle, ThrottlePolicy, ThrottleStatistics

__all__ = [
    "GetRequestStatistics",
    "RequestActor",
    "RequestStatistics",
]


@attrs.frozen(kw_only=True)
class RequestStatistics:
    """What a `RequestActor` is doing.

    Args:
        breakers: the circuit breaker of each endpoint, by host, in the order they are tried in.
        hedges: second copies, by model and host; empty if none are ever sent.
        throttle: what all calls together may spend on being sent again; None for no limit.
        connections: of each endpoint that goes over the transport of ours, by host.
    """

    breakers: tuple[tuple[str, BreakerStatistics], ...]
    hedges: tuple[HedgeStatistics[str], ...]
    throttle: ThrottleStatistics | None
    connections: tuple[tuple[str, PoolStatistics], ...]


@attrs.frozen
class GetRequestStatistics(Message[RequestStatistics]):
    """Ask a `RequestActor` what it is doing."""


class RequestActor(Actor):
    """Asks the provider, as often as the one retry budget allows (L2), and answers the asker.

    It runs up to its spawned ``concurrency`` of calls at a time. The runtime cancels a call whose
    asker has gone or whose deadline has passed, which closes its connection (L1, R4): and because
    answers are asked for piece by piece even if somebody wants only the whole, a provider that
    sees its stream closed stops working, and charging.

    While an endpoint is out its calls wait here, and the stage with them (R10).

    Args:
        endpoint: where the provider is.
        fallbacks: where a call goes, in this order, that the endpoint cannot serve: its breaker is
            open, the retries are used up, or a wait would last beyond the deadline.
        retry: how often and how late to try again.
        throttle: what all calls together may spend on that; None for no limit but each call's own.
        breaker: when calls are kept away from an endpoint; None for never.
        hedging: when a late call is sent a second time; None for never.
        timeouts: how long one attempt may be silent.
        prices: what models cost.
        connections: how many may be open at a time, to each target; the `concurrency` it is
            spawned with.
        streaming: ask for answers piece by piece, where endpoint and format can do that.
        transport: takes the place of the network, in tests.
        client: makes an httpx client over the transport, for event hooks or authentication of
            one's own; by default requests go straight over the transport.
        observer: is told of every attempt.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        fallbacks: Sequence[Target] = (),
        retry: RetryPolicy | None = None,
        throttle: ThrottlePolicy | None = None,
        breaker: BreakerPolicy | None = None,
        hedging: HedgePolicy | None = None,
        timeouts: Timeouts | None = None,
        prices: PriceBook | None = None,
        connections: int = 100,
        streaming: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        client: Configure | None = None,
        observer: Observer = ignore,
    ) -> None:
        self._targets = Fallback((Target(endpoint), *fallbacks))
        self._retry = retry or RetryPolicy()
        self._throttle = None if throttle is None else RetryThrottle(throttle, trio.current_time())
        self._breaker = breaker or NEVER_OPENS
        self._hedger = None if hedging is None else Hedger[str](hedging)
        self._timeouts = timeouts or Timeouts()
        self._prices = prices or default_prices()
        self._connections = connections
        self._streaming = streaming
        self._transport = transport
        self._configure = client
        self._observer = observer
        self._ways: list[HttpCarrier] = []
        self._gates: dict[Endpoint, EndpointBreaker] = {}
        self._pools: list[tuple[str, LeanTransport]] = []

    async def started(self) -> None:
        """Open the ways to the targets; nothing is sent."""
        exchanges: dict[Endpoint, Exchange] = {}
        for endpoint in dict.fromkeys(target.endpoint for target in self._targets.targets):
            carrier = self._transport or transport_for(endpoint, self._connections)
            if isinstance(carrier, LeanTransport):
                self._pools.append((endpoint.host, carrier))
            way = carrier_over(carrier, self._timeouts.by_httpx_name, self._configure)
            self._ways.append(way)
            exchanges[endpoint] = Exchange(endpoint, way)
            self._gates[endpoint] = EndpointBreaker(endpoint.host, self._breaker, self.random)
        lines = {
            target: TargetContext(target, exchanges[target.endpoint], self._gates[target.endpoint])
            for target in self._targets.targets
        }
        self._shared = RequestContext(
            lines=lines,
            fallback=self._targets,
            retry=self._retry,
            hedger=self._hedger,
            prices=self._prices,
            observer=self._observer,
            random=self.random,
            streams=self._streaming,
            new_budget=lambda: RetryBudget(self._retry, trio.current_time(), self._throttle),
        )

    async def stopped(self) -> None:
        """Close the connections."""
        for way in self._ways:
            await way.aclose()

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message: Complete) -> Response:
        """Make one call.

        Raises:
            CallFailed: there is no answer; the subclass says why.
        """
        return await Attempts(self._shared, message, deadline=self._due).run()

    @streams(Stream, raises=(CallFailed,))
    async def stream(self, message: Stream, sink: StreamSink[Delta | Response]) -> None:
        """Make one call, and hand on each piece as it comes; the whole is the last item.

        Once a piece was handed on, the call is not tried again.

        Raises:
            CallFailed: there is no answer, or it broke off; the subclass says why.
        """
        attempts = Attempts(self._shared, message, deadline=self._due, deliver=sink.send)
        await sink.send(await attempts.run())

    @handles(GetRequestStatistics, urgent=True)
    async def count(self, message: GetRequestStatistics) -> RequestStatistics:  # noqa: ARG002  # it only asks
        """Say what is going on."""
        now = trio.current_time()
        return RequestStatistics(
            breakers=tuple((gate.name, gate.statistics()) for gate in self._gates.values()),
            hedges=() if self._hedger is None else self._hedger.statistics(),
            throttle=None if self._throttle is None else self._throttle.statistics(now),
            connections=tuple((host, pool.statistics()) for host, pool in self._pools),
        )

    def _due(self) -> float:
        return self.deadline
