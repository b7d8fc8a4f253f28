"""Make one call to a stage, and report its start and its end to the observer."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Generic, cast, final

import attrs
import trio
from typing_extensions import TypeVar

from ..runtime import AskFailed, AskStream, Ref, ReplySlot
from .calls import CallContext, Complete, Stream
from .errors import CallFailed
from .events import CallEvent, CallStage, Destination, Observer, stages_of
from .messages import Request
from .repair import with_result
from .responses import Delta, Response, ResultT_co, StreamPiece, Usage

_ENDS: tuple[CallStage, ...] = ("answered", "shared", "failed", "cancelled")
_REPORTED: tuple[CallStage, ...] = ("asked", *_ENDS)


async def ask_for(
    to: Ref,
    request: Request[ResultT_co],
    context: CallContext,
    *,
    observer: Observer,
    destination: Destination | None = None,
    timeout: float = inf,
) -> Response[ResultT_co]:
    """Ask a stage for a response, and read its result if the request declares one.

    Exactly one event reports the end: "answered", "shared", "failed" or "cancelled" (L9). A second
    request for a valid result is another call with events of its own.

    Args:
        to: a stage that takes `Complete`.
        request: the request to send.
        context: the ids of the call.
        observer: called with the first and the last event of the call.
        destination: where the call is sent first, for these events.
        timeout: seconds for the whole call.

    Raises:
        CallFailed: the call failed; the subclass states why.
        ResultNotValid: the response does not match the declared class.
        AskFailed: the runtime ended the ask, for example because of the timeout.
    """
    within_s = seconds_for(request, timeout)
    due = trio.current_time() + within_s
    response = await _ask(
        to, request, context, within_s, observer=observer, destination=destination
    )
    if request.returns is None:
        return cast("Response[ResultT_co]", response)
    again = partial(_ask, to, observer=observer, destination=destination)
    return await with_result(response, request, context, again, due=due)


async def _ask(
    to: Ref,
    request: Request,
    context: CallContext,
    within_s: float,
    *,
    observer: Observer,
    destination: Destination | None,
) -> Response:
    """Make one call, and report its events."""
    events = _CallEvents(request, context, observer, destination)
    events.report("asked")
    try:
        response = await to.ask(Complete(request, context), timeout=within_s)
    except (CallFailed, AskFailed) as error:
        events.report("failed", error=error)
        raise
    except trio.Cancelled:
        events.report("cancelled")
        raise
    events.report("answered" if response.http_requests else "shared", response)
    return response


async def submit_for(
    to: Ref,
    request: Request,
    context: CallContext,
    *,
    observer: Observer,
    destination: Destination | None = None,
) -> ReplySlot[Response]:
    """Ask a stage for a response without a task that waits; see `Troupe.submit`.

    The end is reported as by `ask_for`, before the callbacks of the slot.

    Args:
        to: a stage that takes `Complete`.
        request: the request to send.
        context: the ids of the call.
        observer: called with the first and the last event of the call.
        destination: where the call is sent first, for these events.
    """
    events = _CallEvents(request, context, observer, destination)
    events.report("asked")
    slot = await to.submit(Complete(request, context), deadline=_due(request))
    return _reporting(slot, events)


def submit_for_nowait(
    to: Ref,
    request: Request,
    context: CallContext,
    *,
    observer: Observer,
    destination: Destination | None = None,
) -> ReplySlot[Response]:
    """Do as `submit_for` without waiting for room; see `Troupe.submit_nowait`.

    Args:
        to: a stage that takes `Complete`.
        request: the request to send.
        context: the ids of the call.
        observer: called with the first and the last event of the call.
        destination: where the call is sent first, for these events.

    Raises:
        MailboxFull: the stage has no room; no event was reported.
    """
    slot = to.submit_nowait(Complete(request, context), deadline=_due(request))
    if stages_of(observer).isdisjoint(_REPORTED):
        return slot
    events = _CallEvents(request, context, observer, destination)
    events.report("asked")
    return _reporting(slot, events)


def _due(request: Request) -> float:
    return inf if request.deadline is None else trio.current_time() + request.deadline


def _reporting(slot: ReplySlot[Response], events: "_CallEvents") -> ReplySlot[Response]:
    """Report the end of a call that was submitted, if its observer wants that."""
    if not stages_of(events.observer).isdisjoint(_ENDS):
        slot.on_settled(events.report_end)
    return slot


@asynccontextmanager
async def stream_for(
    to: Ref,
    request: Request[ResultT_co],
    context: CallContext,
    *,
    observer: Observer,
    destination: Destination | None = None,
    timeout: float = inf,
    buffer: int = 64,
    wants_events: bool = False,
) -> "AsyncGenerator[ResponseStream[ResultT_co, StreamPiece]]":
    """Ask a stage for a response piece by piece; see `Troupe.stream`.

    The end is reported as by `ask_for`. Leaving the block before the last item cancels the call.

    Args:
        to: a stage that takes `Stream`.
        request: the request to send.
        context: the ids of the call.
        observer: called with the first and the last event of the call.
        destination: where the call is sent first, for these events.
        timeout: seconds for the whole call.
        buffer: pieces that may wait to be read.
        wants_events: whether the pieces are the provider's own events, where there are any;
            otherwise all of them are `Delta` objects.
    """
    within_s = seconds_for(request, timeout)
    events = _CallEvents(request, context, observer, destination, is_streamed=True)
    events.report("asked")
    stream: ResponseStream[ResultT_co, StreamPiece] | None = None
    due = trio.current_time() + within_s

    async def finish(response: Response) -> Response[ResultT_co]:
        events.report_once("answered", response)
        if request.returns is None:
            return cast("Response[ResultT_co]", response)
        again = partial(_ask, to, observer=observer, destination=destination)
        return await with_result(response, request, context, again, due=due)

    try:
        message = Stream(request, context, events=wants_events)
        async with to.stream(message, buffer=buffer, timeout=within_s) as items:
            stream = ResponseStream[ResultT_co, StreamPiece](items, finish, events.fail)
            yield stream
    except (CallFailed, AskFailed) as error:
        if stream is None:  # otherwise it may come from another call that the caller makes
            events.fail(error)
        raise
    finally:
        events.report_once("cancelled")


def check_request(request: object) -> None:
    """Refuse what is no request, such as the text of a prompt.

    Args:
        request: what the caller gave as the request of a call.

    Raises:
        TypeError: it is no request; the message says how to make one.
    """
    if not isinstance(request, Request):
        raise TypeError(
            f"request must be a Request, not {request!r:.40}; make one with Request.of(text, "
            "model=...)"
        )


def seconds_for(request: Request, timeout: float) -> float:
    """Return the seconds that a call may take: its timeout or its deadline, the shorter (L1).

    Args:
        request: the request of the call.
        timeout: seconds for the whole call; infinity for no limit.

    Raises:
        TypeError: the timeout is not a number, or the request is none.
    """
    check_request(request)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(
            f"timeout must be a number of seconds, not {timeout!r:.40}; leave it out for no limit"
        )
    return timeout if request.deadline is None else min(timeout, request.deadline)


PieceT_co = TypeVar("PieceT_co", bound=StreamPiece, covariant=True, default=Delta)
"""The class of the pieces of a stream; `Delta`, or any `StreamPiece` with ``events=True``."""


@final
class ResponseStream(Generic[ResultT_co, PieceT_co]):
    """The pieces of a response in order, then the complete `Response`. It can be iterated once.

    What breaks off after the complete response, such as a stage that crashes then, ends the
    iteration and raises nothing: the call is answered.

    Args:
        items: the stream of the ask.
        finish: returns the complete response with its result.
        fail: called with the error that the caller gets before the complete response.

    Attributes:
        response: the complete response; None until it is received.
    """

    def __init__(
        self,
        items: AskStream[PieceT_co | Response],
        finish: Callable[[Response], Awaitable[Response[ResultT_co]]],
        fail: Callable[[CallFailed | AskFailed], None],
    ) -> None:
        self._items = items
        self._finish = finish
        self._fail = fail
        self._is_complete = False
        self.response: Response[ResultT_co] | None = None

    @property
    def has_piece(self) -> bool:
        """Whether the next piece or the response has arrived; what passes it on can wait for it."""
        return self._items.has_item

    def __aiter__(self) -> "ResponseStream[ResultT_co, PieceT_co]":
        return self

    async def __anext__(self) -> PieceT_co | Response[ResultT_co]:
        """Return the next piece, or the complete response after the last piece.

        Raises:
            CallFailed: the call failed or the response broke off; the subclass states why.
            ResultNotValid: the response does not match the declared class.
            AskFailed: the runtime ended the ask, for example because of the timeout.
        """
        try:
            item = await anext(self._items)
        except (CallFailed, AskFailed) as error:
            if self._is_complete:
                raise StopAsyncIteration from error
            self._fail(error)
            raise
        if not isinstance(item, Response):
            return item
        self._is_complete = True
        self.response = await self._finish(item)
        return self.response


@attrs.define(eq=False)
class _CallEvents:
    """Reports the events of one call to its observer."""

    request: Request
    context: CallContext
    observer: Observer
    destination: Destination | None
    is_streamed: bool = False
    is_ended: bool = False

    def report_once(
        self,
        stage: CallStage,
        response: Response | None = None,
        error: CallFailed | AskFailed | None = None,
    ) -> None:
        """Report the end of a call that is streamed, unless it is reported."""
        if not self.is_ended:
            self.is_ended = True
            self.report(stage, response, error)

    def fail(self, error: CallFailed | AskFailed) -> None:
        """Report that a call that is streamed has failed, unless its end is reported."""
        self.report_once("failed", error=error)

    def report_end(self, slot: ReplySlot[Response]) -> None:
        """Report the end of a call that was submitted."""
        if slot.value is not None:
            self.report("answered" if slot.value.http_requests else "shared", slot.value)
        elif isinstance(slot.error, (CallFailed, AskFailed)):
            self.report("failed", error=slot.error)
        else:
            self.report("cancelled")

    def report(
        self,
        stage: CallStage,
        response: Response | None = None,
        error: CallFailed | AskFailed | None = None,
    ) -> None:
        if stage not in stages_of(self.observer):
            return
        attempts, usage, cost_usd = 0, None, None
        if response is not None:
            attempts, usage = response.http_requests, response.usage
            cost_usd = response.cost_usd
        elif isinstance(error, CallFailed):
            attempts = error.attempts
            if error.usage != Usage() or error.cost_usd != 0:
                usage, cost_usd = error.usage, error.cost_usd
        self.observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=self.context,
                model=self.request.model if response is None else response.model,
                attempt=attempts,
                usage=usage,
                cost_usd=cost_usd,
                listed_cost_usd=None if response is None else response.listed_beside_reported,
                usage_doubt="" if response is None else response.usage_doubt,
                key_name="" if response is None else response.key_name,
                error=None if error is None else str(error),
                destination=self.destination,
                is_streamed=self.is_streamed,
                request=self.request if stage == "asked" else None,
                response=response,
                failure=error,
            )
        )
