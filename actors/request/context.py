"""What the calls of one actor share: the way to each target, and the rules."""

from collections.abc import Callable, Mapping
from random import Random

import attrs

from ..events import Observer
from ..vendors import PriceBook
from .breaker import EndpointBreaker
from .exchange import Exchange
from .fallback import Fallback, Target
from .hedging import Hedger
from .retry import RetryBudget, RetryPolicy

__all__ = [
    "RequestContext",
    "TargetContext",
]


@attrs.define(eq=False)
class TargetContext:
    """The way to one target, which all calls share.

    Args:
        target: where it leads.
        exchange: makes the HTTP requests.
        gate: where calls wait while the endpoint is out.
        is_whole: the server has said that it does not stream.
    """

    target: Target
    exchange: Exchange
    gate: EndpointBreaker
    is_whole: bool = False


@attrs.frozen(kw_only=True)
class RequestContext:
    """What all calls of one actor share.

    Args:
        lines: the way to each target.
        fallback: in which order they are tried.
        retry: how often and how late.
        hedger: when a second copy is sent; None for never.
        prices: what models cost.
        observer: is told of every attempt.
        random: the source of all jitter, and of idempotency keys (R13).
        streams: whether answers are asked for piece by piece, where that can be done.
        new_budget: what one call may spend.
    """

    lines: Mapping[Target, TargetContext]
    fallback: Fallback[Target]
    retry: RetryPolicy
    hedger: Hedger[str] | None
    prices: PriceBook
    observer: Observer
    random: Random
    streams: bool
    new_budget: Callable[[], RetryBudget]
