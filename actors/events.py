"""What happens to a call, as data: one frozen event at each stage, handed to an observer.

The live tree, the trace file and the log are observers and equals; none of the actors knows which
of them listens.

The log as an observer: one structlog event a call, when the call has ended (L9).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Literal

import attrs
import structlog

from .calls import CallContext
from .messages import Usage

__all__ = [
    "CallEvent",
    "Observer",
    "Stage",
    "ignore",
    "log_call",
]


Stage = Literal[
    "asked",  # the composer asked for it
    "queued",  # it waits at the limiter
    "admitted",  # the limiter let it pass
    "sent",  # an attempt goes out over HTTP
    "retrying",  # an attempt failed, another one follows
    "answered",  # the answer is there
    "shared",  # answered by an identical request's call
    "failed",  # it failed for good
    "cancelled",  # nobody waits for it any more
]


@attrs.frozen(kw_only=True)
class CallEvent:
    """One thing that happened to one call.

    Args:
        stage: what happened.
        at: when, in seconds on Trio's clock.
        context: the call's ids.
        model: the model asked for.
        attempt: which HTTP attempt it is about, from 1; 0 before the first.
        usage: tokens, on "answered" and "shared".
        cost_usd: USD, on "answered"; None when the price is not known.
        error: what went wrong, on "retrying" and "failed".
        delay: seconds until the next attempt, on "retrying".
        route: by which way it goes, on "sent": "live" or "batch".
        is_unreachable: whether the attempt that failed never got there, on "retrying".
        is_billed: whether the attempt that failed may have been charged for, on "retrying".
    """

    stage: Stage
    at: float
    context: CallContext
    model: str
    attempt: int = 0
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    delay: float | None = None
    route: str = "live"
    is_unreachable: bool = False
    is_billed: bool = False


Observer = Callable[[CallEvent], None]


def ignore(event: CallEvent) -> None:
    """The observer of a call that nobody watches."""


_log = structlog.stdlib.get_logger("callsheet.calls")


def log_call(event: CallEvent) -> None:
    """Log the end of a call, with the ids that let one follow its post through every actor.

    Prompts and answers are not logged, and neither is anything of the key (L8).
    """
    if event.stage not in ("answered", "shared", "failed", "cancelled"):
        return
    usage = event.usage
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
    )
