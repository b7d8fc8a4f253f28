"""Asks for one call and tells of its beginning and its end, which whoever asks always sees."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import final

import attrs
import trio

from ..runtime import AskFailed, AskStream, Ref
from .calls import CallContext, Complete, Stream
from .errors import CallFailed
from .events import CallEvent, Observer, Stage, ignore
from .messages import Delta, Request, Response

__all__ = ["ResponseStream", "ask_for", "stream_for"]


async def ask_for(
    to: Ref, request: Request, context: CallContext, *, observer: Observer, timeout: float = inf
) -> Response:
    """Ask a stage for a response.

    Exactly one event tells of the end: "answered", "shared", "failed" or "cancelled" (L9).

    Args:
        to: any stage that takes `Complete`.
        request: what to ask.
        context: whom it is for.
        observer: is told of the beginning and of the end.
        timeout: seconds for all of it.

    Raises:
        CallFailed: there is no answer; the subclass says why.
        AskFailed: the runtime has a verdict instead, such as that time was up.
    """
    teller = _Teller(request, context, observer)
    teller.tell("asked")
    try:
        answer = await to.ask(Complete(request, context), timeout=_within(request, timeout))
    except (CallFailed, AskFailed) as error:
        teller.tell("failed", error=error)
        raise
    except trio.Cancelled:
        teller.tell("cancelled")
        raise
    teller.tell("answered" if answer.http_requests else "shared", answer)
    return answer


@asynccontextmanager
async def stream_for(
    to: Ref,
    request: Request,
    context: CallContext,
    *,
    observer: Observer,
    timeout: float = inf,
    buffer: int = 64,
) -> "AsyncGenerator[ResponseStream]":
    """Ask a stage for a response piece by piece; see `Troupe.stream`.

    The end is told as by `ask_for`; a block that is left before the last item has cancelled.

    Args:
        to: any stage that takes `Stream`.
        request: what to ask.
        context: whom it is for.
        observer: is told of the beginning and of the end.
        timeout: seconds for all of it.
        buffer: pieces that may wait.
    """
    teller = _Teller(request, context, observer)
    teller.tell("asked")
    pieces: ResponseStream | None = None
    failed: CallFailed | AskFailed | None = None
    try:
        message = Stream(request, context)
        due = _within(request, timeout)
        async with to.stream(message, buffer=buffer, timeout=due) as items:
            pieces = ResponseStream(items)
            yield pieces
    except (CallFailed, AskFailed) as error:
        failed = error
        raise
    finally:
        if pieces is not None and pieces.response is not None:
            teller.tell("answered", pieces.response)
        else:
            teller.tell("cancelled" if failed is None else "failed", error=failed)


def _within(request: Request, timeout: float) -> float:
    """The seconds that a request has: its own deadline is one as well (L1)."""
    return timeout if request.deadline is None else min(timeout, request.deadline)


@final
class ResponseStream:
    """The pieces of an answer as they come, and at last the `Response`; iterate over it, once.

    Attributes:
        response: the whole, once it has come.
    """

    def __init__(self, items: AskStream[Delta | Response]) -> None:
        self._items = items
        self.response: Response | None = None

    def __aiter__(self) -> "ResponseStream":
        return self

    async def __anext__(self) -> Delta | Response:
        """The next piece.

        Raises:
            CallFailed: there is no answer, or it broke off; the subclass says why.
            AskFailed: the runtime has a verdict instead, such as that time was up.
        """
        item = await anext(self._items)
        if isinstance(item, Response):
            self.response = item
        return item


@attrs.frozen
class _Teller:
    """Tells of one call."""

    request: Request
    context: CallContext
    observer: Observer

    def tell(
        self,
        stage: Stage,
        answer: Response | None = None,
        error: CallFailed | AskFailed | None = None,
    ) -> None:
        if self.observer is ignore:
            return
        attempts = error.attempts if isinstance(error, CallFailed) else 0
        self.observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=self.context,
                model=self.request.model if answer is None else answer.model,
                attempt=attempts if answer is None else answer.http_requests,
                usage=None if answer is None else answer.usage,
                cost_usd=None if answer is None else answer.cost_usd,
                error=None if error is None else str(error),
            )
        )
