"""Everything that can be set of a troupe."""

import attrs
import httpx
from attrs.validators import deep_iterable, ge, instance_of, optional

from .batch_api import BatchApiPolicy
from .batching import Batching, BatchStrategy, Packing
from .cache import CachePolicy
from .compose import Recipe, default_recipe
from .events import Observer, ignore
from .http import Configure
from .ledger import LedgerPolicy
from .rate_limit import Limits
from .request import BreakerPolicy, HedgePolicy, RetryPolicy, Target, ThrottlePolicy
from .routing import Route, Routing
from .vendors import Endpoint, PriceBook, Timeouts, default_prices

__all__ = ["TroupeSettings"]


@attrs.frozen(kw_only=True)
class TroupeSettings:
    """Everything that can be set.

    Args:
        endpoint: the provider.
        limits: what it allows, or what to use of that.
        batching: when a batch goes.
        packing: how requests that are declared packable are asked together; None for never.
        strategies: further ways of making one call of several requests, tried before those.
        cache: where answers to requests that are declared cacheable are kept; None for nowhere.
        ledger: what calls may cost, and where it is written down; None for no books.
        batches: how the provider's Batch API is used for requests that can wait; None for not.
        routing: when requests that can wait take a cheaper way.
        routes: further ways to an answer, which compete with those by price.
        fallbacks: where a call goes that the endpoint cannot serve; see `RequestActor`.
        retry: the retry budget of a call.
        throttle: what all calls together may spend on being sent again; None for no limit.
        breaker: when calls are kept away from an endpoint that fails; None for never.
        hedging: when a late call is sent a second time; None for never.
        timeouts: how long one attempt may be silent.
        recipe: what a post is made of.
        prices: what models cost.
        max_concurrent_posts: posts written side by side; more of them wait.
        max_waiting_calls: calls that wait at the limiter; more of them hold back who asks.
        max_in_flight: calls that may ever be under way, however the limits are changed; None for
            as many as `limits` says.
        max_waiting_batches: requests that wait for a batch of the provider's; more of them hold
            back who asks.
        observer: is told of everything that happens to a call.
        streaming: ask for answers piece by piece even if only the whole is wanted, because a
            provider stops working on a stream that is closed.
        transport: takes the place of the network, in tests.
        client: makes an httpx client over the transport, for event hooks, authentication and so
            on; None goes straight over the transport.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    endpoint: Endpoint
    limits: Limits = attrs.field(factory=Limits)
    batching: Batching = attrs.field(factory=Batching)
    packing: Packing | None = attrs.field(factory=Packing)
    strategies: tuple[BatchStrategy, ...] = attrs.field(
        default=(), converter=tuple[BatchStrategy, ...]
    )
    cache: CachePolicy | None = None
    ledger: LedgerPolicy | None = None
    batches: BatchApiPolicy | None = None
    routing: Routing = attrs.field(factory=Routing)
    routes: tuple[Route, ...] = attrs.field(default=(), converter=tuple[Route, ...])
    fallbacks: tuple[Target, ...] = attrs.field(
        default=(),
        converter=tuple[Target, ...],
        validator=deep_iterable(instance_of(Target)),
    )
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    throttle: ThrottlePolicy | None = None
    breaker: BreakerPolicy | None = attrs.field(factory=BreakerPolicy)
    hedging: HedgePolicy | None = None
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    recipe: Recipe = attrs.field(factory=default_recipe)
    prices: PriceBook = attrs.field(factory=default_prices)
    max_concurrent_posts: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    max_waiting_calls: int = attrs.field(default=1000, validator=[instance_of(int), ge(1)])
    max_in_flight: int | None = attrs.field(
        default=None, validator=optional([instance_of(int), ge(1)])
    )
    max_waiting_batches: int = attrs.field(default=200_000, validator=[instance_of(int), ge(1)])
    observer: Observer = ignore
    streaming: bool = True
    transport: httpx.AsyncBaseTransport | None = None
    client: Configure | None = None
