"""The pieces of a stream on their way from Trio to a reader, with credit."""

from collections import deque
from collections.abc import AsyncIterable, Callable
from typing import Generic, TypeVar, final

from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

PieceT = TypeVar("PieceT")


@final
class PieceStream(Generic[PieceT]):
    """Pieces that Trio's side adds and another thread or event loop takes.

    Trio's side stops when `window` pieces wait. The reader reports what it has taken in batches of
    half a window, so that it wakes Trio's thread once for many pieces.

    Args:
        window: pieces that may wait, at least 1.
        post: runs a function in Trio's thread.
        report: wakes the reader; called in Trio's thread.
    """

    def __init__(
        self,
        window: int,
        post: Callable[[Callable[[], None]], None],
        report: Callable[[], None],
    ) -> None:
        self._waiting: deque[PieceT] = deque()
        self._batch = max(1, window // 2)
        self._post = post
        self._report = report
        self._credit = window  # of Trio's thread, as the next one
        self._pump: Task | None = None
        self._taken = 0  # of the reader

    def __repr__(self) -> str:
        return f"<PieceStream {len(self._waiting)} waiting>"

    # ------------------------------------------------------------- in Trio's thread

    async def pump(self, source: AsyncIterable[PieceT]) -> None:
        """Add each piece of a source, as the reader leaves room for it.

        Args:
            source: where the pieces come from.
        """
        async for piece in source:
            while self._credit == 0:
                self._pump = current_task()
                await wait_task_rescheduled(self._abort)
            self._credit -= 1
            self._waiting.append(piece)
            self._report()

    def _abort(self, _: object) -> Abort:
        self._pump = None
        return Abort.SUCCEEDED

    def _acknowledge(self, taken: int) -> None:
        self._credit += taken
        if self._pump is not None:
            task, self._pump = self._pump, None
            reschedule(task)

    # ------------------------------------------------------------- in the reader's thread

    @property
    def has_piece(self) -> bool:
        """Whether a piece waits."""
        return bool(self._waiting)

    def take(self) -> PieceT:
        """Return the next piece; one must wait."""
        piece = self._waiting.popleft()
        self._taken += 1
        if self._taken >= self._batch:
            taken, self._taken = self._taken, 0
            self._post(lambda: self._acknowledge(taken))
        return piece


def check_buffer(buffer: int) -> int:
    """Return the number of pieces that may wait, as the runtime checks it.

    Args:
        buffer: the number that a caller gives.

    Raises:
        ValueError: it is not a whole number of at least 0.
    """
    if type(buffer) is not int or buffer < 0:
        raise ValueError(f"buffer must be a whole number of at least 0, not {buffer!r}")
    return buffer
