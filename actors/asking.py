"""Asks for one call and tells of its beginning and its end, which whoever asks always sees."""

from math import inf

import trio

from ..runtime import AskFailed, Ref
from .errors import CallFailed
from .events import CallEvent, Observer, Stage
from .messages import Complete, Origin, Request, Response

__all__ = ["ask_for"]


async def ask_for(
    to: Ref, request: Request, origin: Origin, *, observer: Observer, timeout: float = inf
) -> Response:
    """Ask a stage for a completion.

    Exactly one event tells of the end: "answered", "shared", "failed" or "cancelled" (L9).

    Args:
        to: any stage that takes `Complete`.
        request: what to ask.
        origin: whom it is for.
        observer: is told of the beginning and of the end.
        timeout: seconds for all of it.

    Raises:
        CallFailed: there is no answer; the subclass says why.
        AskFailed: the runtime has a verdict instead, such as that time was up.
    """

    def tell(
        stage: Stage,
        answer: Response | None = None,
        error: CallFailed | AskFailed | None = None,
    ) -> None:
        attempts = error.attempts if isinstance(error, CallFailed) else 0
        observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                origin=origin,
                model=request.model if answer is None else answer.model,
                attempt=attempts if answer is None else answer.http_requests,
                usage=None if answer is None else answer.usage,
                cost_usd=None if answer is None else answer.cost_usd,
                error=None if error is None else str(error),
            )
        )

    tell("asked")
    try:
        answer = await to.ask(Complete(request, origin), timeout=timeout)
    except (CallFailed, AskFailed) as error:
        tell("failed", error=error)
        raise
    except trio.Cancelled:
        tell("cancelled")
        raise
    tell("answered" if answer.http_requests else "shared", answer)
    return answer
