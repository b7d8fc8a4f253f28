"""The settings of a troupe."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import httpx
from attrs.validators import optional

from .batching import Batching, BatchStrategy, Packing
from .events import Observer, all_of, ignore
from .meter import TroupeMeter
from .rate_limit import Limits
from .request import BreakerPolicy, RetryPolicy, Target
from .routing import Route, Routing
from .stages import STAGE_NAMES, Insertion, StageChain, StageName
from .validation import (
    Validator,
    as_path,
    deep_iterable,
    deep_mapping,
    ge,
    has,
    in_,
    instance_of,
    listed,
)
from .vendors import Endpoint, PriceBook, Timeouts, default_prices

if TYPE_CHECKING:  # what the default settings do not use is loaded by the program that makes it
    from .batch_api import BatchApiPolicy
    from .cache import CachePolicy
    from .compose import Recipe
    from .http import Configure
    from .ledger import LedgerPolicy
    from .prompt_cache import PromptCaching
    from .request import HedgePolicy, ThrottlePolicy
    from .shared import SharedStores


def _path(value: str | PathLike[str] | None) -> Path | None:
    return as_path(value, "inspect")


def _an_endpoint(_: object, __: object, value: Endpoint) -> None:
    if not isinstance(cast("object", value), Endpoint):
        kind = type(value).__name__
        raise TypeError(f"endpoint must be an Endpoint, such as Endpoint(url, key), not a {kind}")


def _none_or(room: str, name: str) -> Validator[Any]:
    """Return a validator of an optional value, whose class is loaded with the first value."""

    def check(owner: object, field: "attrs.Attribute[object]", value: object) -> None:
        if value is not None:
            kind = getattr(import_module(f".{room}", __package__), name)
            instance_of(kind)(owner, field, value)

    return check


def _is_meter(_: object, __: object, value: TroupeMeter) -> None:
    if isinstance(value, type) or not callable(getattr(value, "attach", None)):
        raise TypeError(f"metrics must be an object such as Metrics(), not {value!r:.60}")


def _stores(value: "SharedStores | str | None") -> "SharedStores | None":
    if not isinstance(value, str):
        return value
    from .shared import stores_at  # noqa: PLC0415  # most programs share nothing

    return stores_at(value)


def _strategies(value: Iterable[BatchStrategy]) -> tuple[BatchStrategy, ...]:
    return listed(value, "strategies")


def _routes(value: Iterable[Route]) -> tuple[Route, ...]:
    return listed(value, "routes")


def _fallbacks(value: Iterable[Target]) -> tuple[Target, ...]:
    return listed(value, "fallbacks")


def _insertions(value: Iterable[Insertion]) -> tuple[Insertion, ...]:
    if isinstance(cast("object", value), Insertion | str):
        raise TypeError("stages must be a list, such as [insert(Redactor, after='batcher')]")
    found = listed(value, "stages")
    for one in found:
        if not isinstance(cast("object", one), Insertion):
            raise TypeError(
                f"stages must be made by `insert`, such as insert(Redactor, before='batcher'), "
                f"not {one!r:.60}"
            )
    return found


@attrs.frozen(kw_only=True)
class TroupeSettings:
    """The settings of a troupe. Only `endpoint` is required.

    Args:
        endpoint: the provider: its base URL, key and vendor; or several, as an `Endpoint.pool`.
        limits: how many calls may be in flight, and the rates of requests, tokens and USD that the
            provider allows. The rate limiter keeps calls within them.
        member_limits: the limits of members of a pool, by `key_name`. A member without an entry has
            `limits` for itself, but for `in_flight`, which bounds all members together.
        batching: when a batch of combined requests is sent.
        packing: how requests declared `packable` are combined into one prompt; None sends each
            alone.
        strategies: further strategies for combining requests into one call. They are tried before
            lists and packing.
        cache: where responses to requests declared `cacheable` are stored, and for how long; None
            for no cache.
        ledger: the budgets, and the file in which costs are recorded; None for no ledger.
        batches: how requests that can wait use the provider's Batch API; None never uses it.
        routing: how much time a request must have to take a cheaper and slower route.
        prompt_caching: what is done so that the provider reads what prompts share from its cache.
            "order" sends the first of the calls that share a long beginning ahead, and the others
            when its response begins; nothing is added to a request, but a short one that others
            wait for is requested as a stream. "auto" also adds marks and keys to requests without
            any, where the prices say that it pays. "off" does nothing. Pools have none of it.
        routes: further routes. The router compares their quotes with those of the other routes.
        stages: stages of your own in the way of a call, made by `insert`. Those at the same place
            follow each other in this order.
        fallbacks: targets for calls that the endpoint cannot serve, tried in this order.
        retry: how often a call may be retried, and the delay before a retry (L2).
        throttle: how many retries and hedged requests all calls together may send; None for no
            limit beyond that of each call.
        breaker: when the circuit breaker of a failing endpoint opens; None never opens it.
        hedging: when a second copy of a slow call is sent; None never sends one.
        timeouts: how many seconds one attempt may spend connecting, or without receiving a byte.
        recipe: the steps of a post and their prompts; None for the default recipe.
        prices: the price of each model, in USD per million tokens.
        max_concurrent_posts: posts composed at a time; further ones wait.
        max_waiting_calls: calls that may wait for the rate limiter. When so many wait, further
            callers are held back.
        max_in_flight: calls that may be in flight after any change of the limits; None for
            `limits.in_flight`.
        max_waiting_batches: requests that may wait for a batch. When so many wait, further callers
            are held back.
        shared: what this troupe shares with those of other processes: limits, budgets and cached
            responses. The URL of a Valkey or Redis server, such as "valkey://host:6379/0", which
            needs the extra `valkey`, or a `SharedStores`; None shares nothing.
        observer: called with a `CallEvent` at each stage of each call; one observer or several.
        inspect: the path of a socket through which `callsheet top` looks at the running troupe,
            which only this user may connect to; None for no socket.
        metrics: measures what the troupe does, such as a `callsheet.metrics.Metrics`; None for no
            metrics.
        streaming: whether a call requests a streamed response even if its caller wants only the
            complete one and it may be long, more than 256 tokens. A provider stops generating, and
            charging, when a stream is closed.
        transport: an httpx transport to use instead of the network, for tests.
        client: makes the httpx client over the transport, to add event hooks or authentication;
            None sends requests over the transport without a client.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names the field.
    """

    endpoint: Endpoint = attrs.field(validator=_an_endpoint)
    limits: Limits = attrs.field(factory=Limits, validator=instance_of(Limits))
    member_limits: Mapping[str, Limits] = attrs.field(
        factory=dict[str, Limits], validator=deep_mapping(instance_of(str), instance_of(Limits))
    )
    batching: Batching = attrs.field(factory=Batching, validator=instance_of(Batching))
    packing: Packing | None = attrs.field(factory=Packing, validator=optional(instance_of(Packing)))
    strategies: tuple[BatchStrategy, ...] = attrs.field(
        default=(),
        converter=_strategies,
        validator=deep_iterable(has("key", "pieces", wanted="a BatchStrategy")),
    )
    cache: "CachePolicy | None" = attrs.field(
        default=None, validator=_none_or("cache", "CachePolicy")
    )
    ledger: "LedgerPolicy | None" = attrs.field(
        default=None, validator=_none_or("ledger", "LedgerPolicy")
    )
    batches: "BatchApiPolicy | None" = attrs.field(
        default=None, validator=_none_or("batch_api", "BatchApiPolicy")
    )
    routing: Routing = attrs.field(factory=Routing, validator=instance_of(Routing))
    prompt_caching: "PromptCaching" = attrs.field(
        default="order", validator=in_(("off", "order", "auto"))
    )
    routes: tuple[Route, ...] = attrs.field(
        default=(),
        converter=_routes,
        validator=deep_iterable(has("quote", "adapt", wanted="a Route")),
    )
    stages: tuple[Insertion, ...] = attrs.field(
        default=(),
        converter=_insertions,
        validator=deep_iterable(instance_of(Insertion)),
    )
    fallbacks: tuple[Target, ...] = attrs.field(
        default=(),
        converter=_fallbacks,
        validator=deep_iterable(instance_of(Target)),
    )
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=instance_of(RetryPolicy))
    throttle: "ThrottlePolicy | None" = attrs.field(
        default=None, validator=_none_or("request", "ThrottlePolicy")
    )
    breaker: BreakerPolicy | None = attrs.field(
        factory=BreakerPolicy, validator=optional(instance_of(BreakerPolicy))
    )
    hedging: "HedgePolicy | None" = attrs.field(
        default=None, validator=_none_or("request", "HedgePolicy")
    )
    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=instance_of(Timeouts))
    recipe: "Recipe | None" = attrs.field(default=None, validator=_none_or("compose", "Recipe"))
    prices: PriceBook = attrs.field(factory=default_prices, validator=instance_of(PriceBook))
    max_concurrent_posts: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    max_waiting_calls: int = attrs.field(default=1000, validator=[instance_of(int), ge(1)])
    max_in_flight: int | None = attrs.field(
        default=None, validator=optional([instance_of(int), ge(1)])
    )
    max_waiting_batches: int = attrs.field(default=200_000, validator=[instance_of(int), ge(1)])
    shared: "SharedStores | None" = attrs.field(
        default=None,
        converter=_stores,
        validator=optional(has("outage", "limits", wanted="a URL or a SharedStores")),
    )
    observer: Observer = attrs.field(default=ignore, converter=all_of)
    inspect: Path | None = attrs.field(default=None, converter=_path)
    metrics: TroupeMeter | None = attrs.field(default=None, validator=optional(_is_meter))
    streaming: bool = attrs.field(default=True, validator=instance_of(bool))
    transport: httpx.AsyncBaseTransport | None = attrs.field(
        default=None,
        validator=optional(has("handle_async_request", wanted="an httpx transport")),
    )
    client: "Configure | None" = attrs.field(
        default=None, validator=optional(has("__call__", wanted="a function"))
    )

    def __attrs_post_init__(self) -> None:
        unknown = self.member_limits.keys() - {one.key_name for one in self.endpoint.members}
        if unknown:
            raise ValueError(f"member_limits: the pool has no key named {min(unknown)!r}")
        if self.stages:
            _ = self.chain

    @property
    def has_prompt_cache(self) -> bool:
        """Whether there is a stage of the prompt cache.

        The members of a pool have caches of their own, and the limiter chooses the member later.
        """
        if self.prompt_caching == "off" or self.endpoint.members:
            return False
        from .prompt_cache import has_prompt_cache  # noqa: PLC0415  # most programs never ask

        return has_prompt_cache(self.endpoint.vendor.name)

    @property
    def chain(self) -> StageChain:
        """The stages that these settings ask for, with those of the program.

        Raises:
            ValueError: one of `stages` cannot stand where it is to stand.
        """
        optional: dict[StageName, bool] = {
            "cache": self.cache is not None,
            "ledger": self.ledger is not None,
            "batches": self.batches is not None,
            "prompt_cache": self.has_prompt_cache,
        }
        return StageChain(
            present=frozenset(one for one in STAGE_NAMES if optional.get(one, True)),
            inserted=self.stages,
            parts_at_router=self.batches is not None or any(one.to for one in self.routes),
        )
