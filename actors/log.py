"""The log as an observer: one structlog event a call, when the call has ended (L9)."""

import structlog

from .events import CallEvent

__all__ = ["log_call"]

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
        call=event.origin.call,
        post=event.origin.post,
        step=event.origin.step,
        model=event.model,
        attempts=event.attempt,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cost_usd=None if event.cost_usd is None else float(event.cost_usd),
        error=event.error,
    )
