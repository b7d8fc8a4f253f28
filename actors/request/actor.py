"""The last stage: sends calls to providers, with retries, fallbacks, deadlines and costs."""

from collections.abc import Mapping, Sequence

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
from ..pool_health import PoolHealth
from ..responses import Response, StreamPiece
from ..vendors import Endpoint, PriceBook, Timeouts, default_prices
from .attempt import AttemptLayer, SingleAttempt
from .breaker import NEVER_OPENS, BreakerPolicy, BreakerStatistics, EndpointBreaker
from .call import CallRunner, TargetLayer
from .context import RequestContext, TargetContext
from .exchange import Exchange
from .fallback import Fallback, Target
from .hedging import HedgedAttempt, HedgePolicy, Hedger, HedgeStatistics
from .pool import MemberOfPool, PoolTarget
from .retry import RetryPolicy, RetryThrottle, ThrottlePolicy, ThrottleStatistics
from .target import RetryingTarget
from .unreadable import UnreadableStreaks


@attrs.frozen(kw_only=True)
class RequestStatistics:
    """The state of a `RequestActor`.

    Args:
        breakers: the host and the circuit breaker of each endpoint, in the order of the targets; in
            a pool, the host is followed by the name of the key.
        hedges: second copies, by model and host; empty without hedging.
        throttle: the bound on the extra requests of all calls together; None for no bound.
        connections: the host and the connections of each endpoint that `LeanTransport` serves.
    """

    breakers: tuple[tuple[str, BreakerStatistics], ...]
    hedges: tuple[HedgeStatistics[str], ...]
    throttle: ThrottleStatistics | None
    connections: tuple[tuple[str, PoolStatistics], ...]


@attrs.frozen
class GetRequestStatistics(Message[RequestStatistics]):
    """Ask a `RequestActor` for its `RequestStatistics`."""


class RequestActor(Actor):
    """Sends calls to a provider, each within one retry budget (L2), and replies to the caller.

    It runs as many calls at a time as its spawned ``concurrency``. The runtime cancels a call whose
    caller has gone or whose deadline has passed, which closes its connection (L1, R4). Responses
    are streamed even for callers that want only the whole: a provider that sees its stream closed
    stops working, and charging.

    A call is three layers, each with a small interface to the one below: `CallRunner` (fallback
    over targets), `RetryingTarget` (retries at one target) and `SingleAttempt` (one HTTP request),
    the last one inside a `HedgedAttempt` where second copies are allowed.

    While an endpoint is out, its calls wait here, and the stage with them (R10).

    Args:
        endpoint: the preferred provider.
        fallbacks: the targets that a call moves on to, in this order, when the one before cannot
            serve it: its breaker is open, the retries are used up, or a wait would last beyond the
            deadline.
        retry: how often and how late a call is retried.
        throttle: bounds the extra requests of all calls together; None for no bound beyond that of
            each call.
        breaker: when calls are kept away from an endpoint; None for never.
        hedging: when a late call is sent a second time; None for never.
        timeouts: how long one send may take, and how long without progress, in seconds.
        prices: what models cost; by default the built-in price list.
        connections: how many may be open at a time to each endpoint; usually the ``concurrency``.
        streaming: whether responses are streamed where endpoint and format allow it.
        transport: replaces the network, in tests.
        client: makes an httpx client over the transport, for event hooks or for authentication; by
            default requests go over the transport directly.
        observer: receives an event for every attempt.
        health: which members are left out, if the endpoint is a pool; shared with the limiter.
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
        health: PoolHealth | None = None,
    ) -> None:
        self._targets = Fallback((Target(endpoint), *_in_order(fallbacks)))
        self._health = health or PoolHealth(member.key_name for member in endpoint.members)
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
        self._carriers: list[HttpCarrier] = []
        self._breakers: dict[Endpoint, EndpointBreaker] = {}
        self._streaks: dict[Endpoint, UnreadableStreaks] = {}
        self._pools: list[tuple[str, LeanTransport]] = []

    async def started(self) -> None:
        """Set up transports and layers. Nothing is sent."""
        exchanges = {
            endpoint: self._open(endpoint)
            for endpoint in dict.fromkeys(
                endpoint for target in self._targets.targets for endpoint in target.endpoint.each
            )
        }
        shared = RequestContext(
            fallback=self._targets,
            retry=self._retry,
            prices=self._prices,
            random=self.random,
            throttle=self._throttle,
            observer=self._observer,
            streams=self._streaming,
        )
        self._runner = CallRunner(
            shared,
            {target: self._layers(target, exchanges, shared) for target in self._targets.targets},
        )

    def _open(self, endpoint: Endpoint) -> Exchange:
        """Set up the transport and the circuit breaker of an endpoint."""
        transport = self._transport or transport_for(endpoint, self._connections)
        if isinstance(transport, LeanTransport):
            self._pools.append((endpoint.label, transport))
        first_byte_s, send_s = self._timeouts.first_byte_s, self._timeouts.send_s
        timeouts = {
            **self._timeouts.by_httpx_name,
            "read": first_byte_s if first_byte_s < send_s else None,  # the limit comes first
            # A send that has no connection yet costs nothing, so it fails before its limit.
            "connect": min(self._timeouts.connect_s, send_s / 2),
            "between": None,  # `SendWatch` keeps the time between two pieces of a response
        }
        carrier = carrier_over(transport, timeouts, self._configure)
        self._carriers.append(carrier)
        self._breakers[endpoint] = EndpointBreaker(endpoint.label, self._breaker, self.random)
        self._streaks[endpoint] = UnreadableStreaks(endpoint.label)
        return Exchange(endpoint, carrier)

    def _layers(
        self, target: Target, exchanges: Mapping[Endpoint, Exchange], shared: RequestContext
    ) -> TargetLayer:
        """Return the layers of one target: those of its endpoint, or a pool over its members."""
        endpoint = target.endpoint
        if not endpoint.members:
            return self._retrying(target, endpoint, exchanges[endpoint], shared)
        members = {
            member.key_name: MemberOfPool(
                member.label,
                self._retrying(target, member, exchanges[member], shared),
                self._breakers[member],
            )
            for member in endpoint.members
        }
        return PoolTarget(target, members, self._health, shared)

    def _retrying(
        self, target: Target, endpoint: Endpoint, exchange: Exchange, shared: RequestContext
    ) -> RetryingTarget:
        """Return retries over hedging, if any, over single attempts, for one endpoint."""
        breaker = self._breakers[endpoint]
        attempt: AttemptLayer = SingleAttempt(
            exchange, breaker, self._timeouts, self._streaks[endpoint]
        )
        if self._hedger is not None:
            reserve = self._targets.behind(target)
            attempt = HedgedAttempt(
                attempt, self._hedger, breaker, host=exchange.label, reserve=reserve
            )
        member = endpoint if target.endpoint.members else None
        context = TargetContext(target, exchange, breaker, member=member)
        return RetryingTarget(context, shared, attempt)

    async def stopped(self) -> None:
        """Close the connections."""
        for carrier in self._carriers:
            await carrier.aclose()

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message: Complete) -> Response:
        """Make one call.

        Raises:
            CallFailed: there is no response; the subclass states why.
        """
        return await self._runner.run(message, deadline=self._due)

    @streams(Stream, raises=(CallFailed,))
    async def stream(self, message: Stream, sink: StreamSink[StreamPiece | Response]) -> None:
        """Make one call, and send each piece as it arrives; the whole response is the last item.

        After the first piece the call is not retried.

        Raises:
            CallFailed: there is no response, or it broke off; the subclass states why.
        """
        response = await self._runner.run(
            message,
            deadline=self._due,
            deliver=sink.send,
            deliver_now=sink.send_nowait,
            wants_events=message.events,
        )
        await sink.send(response)

    @handles(GetRequestStatistics, urgent=True)
    async def count(self, message: GetRequestStatistics) -> RequestStatistics:  # noqa: ARG002  # without fields
        """Return the state of the actor."""
        now = trio.current_time()
        return RequestStatistics(
            breakers=tuple(
                (breaker.name, breaker.statistics()) for breaker in self._breakers.values()
            ),
            hedges=() if self._hedger is None else self._hedger.statistics(),
            throttle=None if self._throttle is None else self._throttle.statistics(now),
            connections=tuple((host, pool.statistics()) for host, pool in self._pools),
        )

    def _due(self) -> float:
        return self.deadline  # of the message in the task that asks


def _in_order(targets: Sequence[Target]) -> list[Target]:
    """Return targets with each pool replaced by its members, one after another."""
    return [
        Target(endpoint, target.model) for target in targets for endpoint in target.endpoint.each
    ]
