"""The events of a call, which an observer receives, and the observer that logs them.

An observer is a function that takes a `CallEvent`. The live display, the trace and the log are
observers.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Literal, final, get_args

import attrs

from callsheet.runtime import get_logger

from .calls import CallContext
from .responses import Usage

CallStage = Literal[
    "asked",  # the caller asked for a response
    "queued",  # the call waits at the limiter
    "admitted",  # the limiter let the call pass
    "sent",  # an HTTP request is being sent
    "retrying",  # an attempt failed, and another one follows
    "rerouted",  # the call is sent live, and not in a batch
    "answered",  # the response is complete
    "shared",  # the call of an identical request supplied the response
    "failed",  # the call failed and is not retried
    "cancelled",  # the caller cancelled the call
]


@attrs.frozen(kw_only=True)
class CallEvent:
    """One event of one call.

    Args:
        stage: the kind of the event.
        at: the time in seconds on Trio's clock.
        context: the ids of the call.
        model: the requested model; on "answered" and "shared", the model that responded.
        attempt: the number of the HTTP request, from 1; 0 before the first.
        usage: the tokens used, on "answered" and "shared"; on "failed" those of responses that were
            paid for before, if there are any.
        cost_usd: their cost in USD, on "answered" and "failed"; None when the price is not known.
        listed_cost_usd: the cost in USD by the table of prices, on "answered", where `cost_usd` is
            what the provider reports; None otherwise.
        usage_doubt: why `usage` is not what the provider reports, on "answered"; "" if it is.
        error: the error message, on "retrying" and "failed"; on "rerouted", the reason.
        delay: seconds until the next attempt, on "retrying".
        route: the route of the attempt, on "sent": "live" or "batch".
        is_unreachable: whether the failed attempt never reached the provider, on "retrying".
        is_billed: whether the failed attempt may have been charged, on "retrying".
        key_name: the name of the key that responded, on "answered"; "" if it has none.
    """

    stage: CallStage
    at: float
    context: CallContext
    model: str
    attempt: int = 0
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    listed_cost_usd: Decimal | None = None
    usage_doubt: str = ""
    error: str | None = None
    delay: float | None = None
    route: str = "live"
    is_unreachable: bool = False
    is_billed: bool = False
    key_name: str = ""


Observer = Callable[[CallEvent], None]
"""A function that is called with each event of each call. It must return quickly."""

_ALL: frozenset[CallStage] = frozenset(get_args(CallStage))
_NONE: frozenset[CallStage] = frozenset()


@final
@attrs.frozen
class StageObserver:
    """An observer of some stages. No event is made for the others, which saves CPU time.

    Args:
        observe: called with each event of these stages.
        stages: the kinds of events that it gets.
    """

    observe: Observer
    stages: frozenset[CallStage]

    def __call__(self, event: CallEvent) -> None:
        """Pass on an event of one of the stages."""
        if event.stage in self.stages:
            self.observe(event)


def ignore(event: CallEvent) -> None:
    """Ignore an event. This is the default observer.

    Args:
        event: an event of any kind.
    """


def stages_of(observer: Observer) -> frozenset[CallStage]:
    """Return the stages whose events an observer wants.

    Args:
        observer: any observer; `ignore` wants none.
    """
    if isinstance(observer, StageObserver):
        return observer.stages
    return _NONE if observer is ignore else _ALL


_log = get_logger("callsheet.calls")


def log_call(event: CallEvent) -> None:
    """Log the last event of a call, with the ids of its call, post and step (L9).

    Prompts, responses and API keys are not logged (L8).

    Args:
        event: an event of any kind; only "answered", "shared", "failed" and "cancelled" are logged.
    """
    if event.stage not in ("answered", "shared", "failed", "cancelled"):
        return
    usage, listed = event.usage, event.listed_cost_usd
    _log.info(
        f"call_{event.stage}",
        call=event.context.call,
        post=event.context.post,
        step=event.context.step,
        model=event.model,
        attempts=event.attempt,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cost_usd=None if event.cost_usd is None else float(event.cost_usd),
        error=event.error,
        **({} if listed is None else {"listed_cost_usd": float(listed)}),
        **({"usage_doubt": event.usage_doubt} if event.usage_doubt else {}),
        **({"key_name": event.key_name} if event.key_name else {}),
    )
