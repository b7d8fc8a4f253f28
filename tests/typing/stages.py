"""The types of stages of a program's own. Checked by type checkers, never run; see `api.py`."""

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import assert_type

import attrs

from callsheet import (
    Actor,
    CallContext,
    Endpoint,
    Message,
    Ref,
    ReplySlot,
    Request,
    Response,
    Stage,
    TroupeSettings,
    defers,
    handles,
    insert,
    replace_text,
)
from callsheet.actors import Complete, Delta, Insertion, Stream


class Redactor(Stage):
    def __init__(self, to: Ref[Complete | Stream], hide: Callable[[str], str] = str.upper) -> None:
        super().__init__(to)
        self.hide = hide

    async def outgoing(self, request: Request, context: CallContext) -> Request:
        assert_type(context.lane, str)
        return replace_text(request, self.hide)

    async def incoming(self, response: Response, context: CallContext) -> Response:
        return replace_text(response, str.lower)

    async def incoming_pieces(
        self, pieces: AsyncGenerator[Delta], context: CallContext
    ) -> AsyncGenerator[Delta]:
        async for piece in pieces:
            yield replace_text(piece, str.lower)


class Wrong(Stage):
    async def outgoing(self, request: Request, context: CallContext) -> str:  # type: ignore[override]  # no request
        return ""


@attrs.frozen
class Visit(Message[int]):
    page: str


class Forwarder(Actor[Complete | Stream | Visit]):
    """An ordinary actor, which handles another message, too."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    @defers(Complete)
    async def complete(self, message: Complete, slot: ReplySlot[Response]) -> None:
        await slot.forward(self.to, message)

    @defers(Stream)
    async def stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        await slot.forward(self.to, message)

    @handles(Visit)
    async def visit(self, message: Visit) -> int:
        return 1


class Counter(Actor[Visit]):
    def __init__(self, to: Ref) -> None:
        self.to = to

    @handles(Visit)
    async def visit(self, message: Visit) -> int:
        return 1


class Last(Forwarder):
    def __init__(self) -> None:
        pass


def inserting(endpoint: Endpoint) -> None:
    assert_type(insert(Redactor, after="batcher"), Insertion)
    insert(partial(Redactor, hide=str.lower), before="cache", concurrency=10)
    insert(Forwarder, instead_of="limiter", name="mine")
    insert(lambda to: Redactor(to, str.lower), before="router")
    insert(Last, instead_of="requester")
    TroupeSettings(endpoint=endpoint, stages=[insert(Redactor, after="batcher")])

    insert(Counter, after="batcher")  # type: ignore[call-overload]  # handles no calls
    insert(Redactor, after="bacher")  # type: ignore[call-overload]  # no such place
    insert(Redactor, after="requester")  # type: ignore[call-overload]  # nothing follows it
    insert(Redactor)  # type: ignore[call-overload]  # no place
    insert(Redactor, before="cache", after="batcher")  # type: ignore[call-overload]  # two places
    insert(Last, after="batcher")  # type: ignore[call-overload]  # takes no next stage
    insert(Redactor, instead_of="requester")  # type: ignore[call-overload]  # has no next stage
    insert(Redactor, instead_of="batches")  # type: ignore[call-overload]  # cannot be replaced


def replacing(request: Request[Visit], response: Response[Visit], piece: Delta) -> None:
    assert_type(replace_text(request, str.upper), Request[Visit])
    assert_type(replace_text(response, str.upper), Response[Visit])
    assert_type(replace_text(piece, str.upper), Delta)
    replace_text("text", str.upper)  # type: ignore[call-overload]  # no request
