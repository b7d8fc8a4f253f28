"""Streams for plain threads: pieces that come from Trio, with credit."""

from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Self, final

from typing_extensions import TypeVar

from ..actors import Delta, Response, StreamPiece, Troupe
from ..doors import PieceStream
from .door import BlockingCall, BlockingDoor

ResultT_co = TypeVar("ResultT_co", covariant=True)
PieceT_co = TypeVar("PieceT_co", bound=StreamPiece, covariant=True, default=Delta)
PieceT = TypeVar("PieceT")
ResourceT = TypeVar("ResourceT")


class BlockingPieces(Generic[ResourceT, PieceT]):
    """The pieces of a stream that is open in Trio: a context manager, which is iterated over once.

    Args:
        door: the calls to the Trio thread.
        opening: opens the stream in Trio, with what the thread has opened.
        window: pieces that may wait for the reader, at least 1.
    """

    def __init__(
        self,
        door: BlockingDoor[ResourceT],
        opening: Callable[[ResourceT], AbstractAsyncContextManager[AsyncIterable[PieceT]]],
        window: int,
    ) -> None:
        self._door = door
        self._opening = opening
        self._window = window
        self._call: BlockingCall[ResourceT, None] | None = None

    def __enter__(self) -> Self:
        call = BlockingCall(self._pump)
        self._pieces = PieceStream[PieceT](self._window, self._door.thread.post, call.report)
        self._door.begin(call)
        self._call = call
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call, self._call = self._call, None
        if call is None or call.is_settled:
            return
        self._door.thread.post(call.scope.cancel)
        try:
            while not call.is_settled:
                call.forget_news()
                if not call.is_settled:
                    call.wait_for_news()
        except BaseException:
            self._door.thread.give_up(call)
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PieceT:
        """Return the next piece.

        Raises:
            Exception: as the same stream under Trio.
            DoorClosed: the door was closed before the end of the stream.
            RuntimeError: the block of the stream was left.
        """
        call = self._call
        if call is None:
            raise RuntimeError("a stream is read inside its block: `with ... as pieces`")
        while True:
            call.forget_news()
            is_settled = call.is_settled  # before the look at the pieces, which come before it
            if self._pieces.has_piece:
                return self._pieces.take()
            if is_settled:
                call.result()
                raise StopIteration
            call.wait_for_news()

    async def _pump(self, resource: ResourceT) -> None:
        async with self._opening(resource) as source:
            await self._pieces.pump(source)


@final
class BlockingStream(
    BlockingPieces[Troupe, PieceT_co | Response[ResultT_co]], Generic[ResultT_co, PieceT_co]
):
    """The pieces of a response in order, then the complete `Response`; see `ResponseStream`.

    Args:
        door: the calls to the Trio thread.
        opening: opens the stream in Trio, with the troupe.
        window: pieces that may wait for the reader, at least 1.

    Attributes:
        response: the complete response; None until it is received.
    """

    response: Response[ResultT_co] | None = None

    def __next__(self) -> PieceT_co | Response[ResultT_co]:
        """Return the next piece, or the complete response after the last piece.

        Raises:
            CallFailed: the call failed or the response broke off; the subclass states why.
            ResultNotValid: the response does not match the declared class.
            AskFailed: the runtime ended the ask, for example because of the timeout.
            DoorClosed: the troupe was closed before the end of the response.
            RuntimeError: the block of the stream was left.
        """
        piece = super().__next__()
        if isinstance(piece, Response):
            self.response = piece
        return piece
