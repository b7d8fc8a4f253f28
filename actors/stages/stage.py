"""The base class of stages that change calls, or their responses, on the way."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import partial
from inspect import getattr_static, iscoroutinefunction, signature, unwrap
from typing import ClassVar, Never, TypeVar, cast

import attrs
import trio

from ...runtime import (
    Actor,
    AskFailed,
    AskStream,
    Message,
    Outcome,
    Ref,
    ReplySlot,
    StreamSink,
    defers,
    handles,
)
from ..calls import CallContext, Complete, Stream
from ..errors import CallFailed
from ..messages import Request
from ..responses import Delta, Response, StreamPiece
from .explaining import ExplainStage

_CallT = TypeVar("_CallT", Complete, Stream)


@attrs.frozen
class _Returned(Message[None]):
    """The next stage has replied to a call."""

    context: CallContext
    response: Response
    slot: ReplySlot[Response]


_VALUES = {"outgoing": "request", "incoming": "response", "incoming_pieces": "pieces"}


def _check_arguments(cls: type, name: str, value: str) -> None:
    """Check that a method of a stage can be called; here, rather than by the first call."""
    try:
        takes = signature(getattr(cls, name), follow_wrapped=False)
    except (TypeError, ValueError):
        return  # not written in Python
    arguments: tuple[object, ...] = (None, None, None)
    if isinstance(getattr_static(cls, name), staticmethod | classmethod):
        arguments = arguments[1:]
    try:
        takes.bind(*arguments)
    except TypeError:
        raise TypeError(
            f"{cls.__name__}.{name} must take self, the {value} and the context, not {takes}"
        ) from None


class Stage(Actor[Complete | Stream]):
    """A stage that passes calls on; a subclass overrides what it changes.

        class Redactor(Stage):
            async def outgoing(self, request: Request, context: CallContext) -> Request:
                return replace_text(request, VAULT.hide)

            async def incoming(self, response: Response, context: CallContext) -> Response:
                return replace_text(response, VAULT.show)

    Without an `incoming` or `incoming_pieces` of its own, the response goes straight back to the
    caller, and the stage costs nothing on the way back.

    The methods are called by the actor's handlers, one after another, so they may use its state
    without a lock. Pieces of streams are the exception: each stream has a task of its own. A
    `CallFailed` that a method raises, or an `AskFailed` of an actor that it asks, fails the call.
    Any other exception is a bug: the stage is restarted, and the calls whose responses were to
    return through it fail with `ActorCrashed` (R8). A method is cancelled when the caller of its
    call gives up (R4).

    Args:
        to: the next stage.

    Attributes:
        to: the next stage.
    """

    _overridable: ClassVar[tuple[str, ...]] = (
        "started",
        "draining",
        "stopped",
        "outgoing",
        "incoming",
        "incoming_pieces",
    )

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        for name in ("outgoing", "incoming"):
            if not iscoroutinefunction(unwrap(getattr(cls, name))):
                raise TypeError(
                    f"{cls.__name__}.{name} must be async: `async def`, without `yield`"
                )
        if iscoroutinefunction(unwrap(cls.incoming_pieces)):
            raise TypeError(f"{cls.__name__}.incoming_pieces must `yield`, or return the pieces")
        for name, value in _VALUES.items():
            _check_arguments(cls, name, value)

    def __init__(self, to: Ref[Complete | Stream]) -> None:
        self.to = to

    def __getattr__(self, name: str) -> Never:
        if name == "to":
            raise TypeError(f"{type(self).__name__}.__init__ must call super().__init__(to)")
        super().__getattr__(name)

    async def outgoing(self, request: Request, context: CallContext) -> Request:  # noqa: ARG002  # for subclasses
        """Return the request that goes to the next stage.

        `Troupe.explain` also calls this, and sends nothing.

        Args:
            request: the request of the call. Its class of result and its `deadline` should stay.
            context: the ids of the call.
        """
        return request

    async def incoming(self, response: Response, context: CallContext) -> Response:  # noqa: ARG002  # as above
        """Return the response that goes to the caller, also at the end of a stream.

        It is not called for a call that fails. If it changes texts and leaves `Response.body`,
        which has them, too, the caller gets no body; `replace_text` changes both.

        Args:
            response: the complete response of the next stage.
            context: the ids of the call.
        """
        return response

    def incoming_pieces(
        self,
        pieces: AsyncGenerator[Delta],
        context: CallContext,  # noqa: ARG002  # as above
    ) -> AsyncGenerator[Delta]:
        """Yield the pieces of a streamed response that go to the caller.

        The complete response, which follows them, is changed by `incoming`. A subclass that
        overrides only `incoming` sends no piece before the response is complete; then it sends one
        with all of it. If `incoming` leaves the texts as they are, return `pieces` here; then the
        provider's own events, too, go to a caller who wants them.

        Args:
            pieces: those of the next stage, as they arrive.
            context: the ids of the call.
        """
        return pieces

    # ---------------------------------------------------------------- calls

    @defers(Complete)
    async def pass_on(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Pass a call on; the response returns to this stage only if it changes responses."""
        changed = await self._changed(message, slot)
        if changed is None:
            return
        if type(self).incoming is Stage.incoming:
            await slot.forward(self.to, changed)
            return
        try:
            call = await self.to.submit(changed, deadline=slot.deadline)
        except AskFailed as error:
            slot.fail(error)
            return
        slot.start(call)
        slot.on_settled(partial(_cancel, call))
        call.on_settled(partial(self._ended, message.context, slot))

    @defers(Stream)
    async def pass_stream_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Pass a streamed call on; its pieces go through this stage only if it changes them."""
        changed = await self._changed(message, slot)
        if changed is None:
            return
        kind = type(self)
        if (kind.incoming, kind.incoming_pieces) == (Stage.incoming, Stage.incoming_pieces):
            await slot.forward(self.to, changed)
        else:
            self.nursery.start_soon(self._relay, changed, slot)

    @handles(_Returned)
    async def returned(self, message: _Returned) -> None:
        """Reply with a response that the next stage has sent back."""
        slot = message.slot
        if slot.done:
            return
        with _cancelled_with(slot):
            try:
                slot.reply(await self._response(message.response, message.context))
            except (CallFailed, AskFailed) as error:
                slot.fail(error)

    @handles(ExplainStage, urgent=True, raises=(CallFailed, AskFailed))
    async def explain(self, message: ExplainStage) -> Request:
        """Return the request that the next stage would get."""
        return await self._request(message.request, message.context)

    # ----------------------------------------------------------------

    async def _changed(
        self, message: _CallT, slot: ReplySlot[Response] | ReplySlot[None]
    ) -> _CallT | None:
        """Return the message for the next stage; None if the call has ended."""
        if type(self).outgoing is Stage.outgoing:
            return message
        request: Request | None = None
        with _cancelled_with(slot):
            try:
                request = await self._request(message.request, message.context)
            except (CallFailed, AskFailed) as error:
                slot.fail(error)
        if request is None or request is message.request:
            return None if request is None else message
        return attrs.evolve(message, request=request)

    async def _request(self, request: Request, context: CallContext) -> Request:
        changed = await self.outgoing(request, context)
        if not isinstance(cast("object", changed), Request):
            raise TypeError(
                f"{type(self).__name__}.outgoing must return a Request, not {changed!r:.60}"
            )
        return changed

    async def _response(self, response: Response, context: CallContext) -> Response:
        """Return the changed response; without its body if only that was left as it was."""
        changed = await self.incoming(response, context)
        if not isinstance(cast("object", changed), Response):
            raise TypeError(
                f"{type(self).__name__}.incoming must return a Response, not {changed!r:.60}"
            )
        if changed is response or changed.body is not response.body or changed.body is None:
            return changed
        is_same = changed.text == response.text and changed.choices == response.choices
        return changed if is_same else attrs.evolve(changed, body=None)

    def _pieces(self, source: AsyncGenerator[Delta], context: CallContext) -> AsyncGenerator[Delta]:
        changed = self.incoming_pieces(source, context)
        if not isinstance(cast("object", changed), AsyncGenerator):
            raise TypeError(
                f"{type(self).__name__}.incoming_pieces must `yield`, or return the pieces, not "
                f"{changed!r:.60}"
            )
        return changed

    def _piece(self, piece: Delta) -> Delta:
        if not isinstance(cast("object", piece), Delta):
            raise TypeError(
                f"{type(self).__name__}.incoming_pieces must yield Delta objects, not {piece!r:.60}"
            )
        return piece

    def _ended(
        self, context: CallContext, slot: ReplySlot[Response], call: ReplySlot[Response]
    ) -> None:
        if slot.done:
            return
        if call.outcome is Outcome.REPLIED and call.value is not None:
            self.send_at(trio.current_time(), _Returned(context, call.value, slot))
        else:
            slot.fail(call.error or AskFailed(self.to.path, call.verdict, "gave the call up"))

    async def _relay(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Pass the items of a stream on; they are discarded if it was asked, and not streamed."""
        with _cancelled_with(slot):
            try:
                async with self.to.stream(message) as items:
                    slot.start(items.slot)
                    await self._pass_items(items, message, slot.sink)
                slot.reply(None)
            except (CallFailed, AskFailed) as error:
                slot.fail(error)

    async def _pass_items(
        self,
        items: AskStream[StreamPiece | Response],
        message: Stream,
        sink: StreamSink[StreamPiece | Response] | None,
    ) -> None:
        response: Response | None = None

        async def send(item: StreamPiece | Response) -> None:
            if sink is not None:
                await sink.send(item)

        async def pieces() -> AsyncGenerator[StreamPiece]:
            nonlocal response
            try:
                async for item in items:
                    if isinstance(item, Response):
                        response = item
                    else:
                        yield item
            except (CallFailed, AskFailed):
                if response is None:  # otherwise it is complete, whatever broke off after it
                    raise

        is_whole = type(self).incoming_pieces is Stage.incoming_pieces
        async with aclosing(pieces()) as source:
            if message.events and not is_whole:
                async with aclosing(_deltas_of(source)) as deltas:
                    await self._pass_changed(deltas, source, message.context, send)
            elif not is_whole:  # all of the pieces are deltas
                deltas = cast("AsyncGenerator[Delta]", source)
                await self._pass_changed(deltas, source, message.context, send)
            async for _ in source:  # what it has left
                pass
        if response is None:
            await items.slot.wait()  # raises what broke off, if `incoming_pieces` has caught it
            return
        response = await self._response(response, message.context)
        for piece in _whole_pieces(response) if is_whole else ():
            await send(piece)
        await send(response)

    async def _pass_changed(
        self,
        deltas: AsyncGenerator[Delta],
        source: AsyncGenerator[StreamPiece],
        context: CallContext,
        send: Callable[[StreamPiece], Awaitable[None]],
    ) -> None:
        """Send what `incoming_pieces` makes of the deltas; if it takes none, what they are from."""
        async with aclosing(self._pieces(deltas, context)) as changed:
            if changed is deltas:
                async for piece in source:
                    await send(piece)
                return
            async for delta in changed:
                await send(self._piece(delta))


async def _deltas_of(pieces: AsyncGenerator[StreamPiece]) -> AsyncGenerator[Delta]:
    async for piece in pieces:
        if isinstance(piece, Delta):
            yield piece
        else:
            for delta in piece.deltas:
                yield delta


def _whole_pieces(response: Response) -> Iterator[Delta]:
    """Yield one piece with all of each choice."""
    for index, choice in enumerate(response.choices):
        piece = Delta.whole(choice, index)
        if piece != Delta(index=index):
            yield piece


def _cancelled_with(slot: ReplySlot[Response] | ReplySlot[None]) -> trio.CancelScope:
    """Return a scope that is cancelled when the slot is filled: the caller has given up (R4)."""
    scope = trio.CancelScope()
    slot.on_settled(lambda _: scope.cancel())
    return scope


def _cancel(call: ReplySlot[Response], _: ReplySlot[Response]) -> None:
    call.cancel()
