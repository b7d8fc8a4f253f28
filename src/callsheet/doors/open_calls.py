"""The calls that are open at a door: each leaves once, so that each is settled once (R3)."""

from collections.abc import Iterator
from typing import Generic, TypeVar, final

CallT = TypeVar("CallT")


@final
class OpenCalls(Generic[CallT]):
    """The calls that are not settled yet.

    Three sides may end a call at the same time, in threads of their own: the task that has its
    result, the caller that gives up, and the end of the Trio thread. The one that takes the call
    out of here is the one that settles it. There is no lock: each step is one operation of a
    dictionary, which no other thread can divide.
    """

    def __init__(self) -> None:
        self._calls: dict[CallT, bool] = {}  # {call: True}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<OpenCalls {len(self._calls)}{', closed' if self._is_closed else ''}>"

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[CallT]:
        return iter(list(self._calls))

    def add(self, call: CallT) -> bool:
        """Add a call that begins.

        Args:
            call: the call, which was never added before.

        Returns:
            Whether it is open; False if `close` was called before. True also if `close` runs at
            this moment and has taken it, since it is settled then.
        """
        self._calls[call] = True
        return not (self._is_closed and self.take(call))

    def take(self, call: CallT) -> bool:
        """Take a call out, in order to settle it.

        Args:
            call: the call to settle.

        Returns:
            Whether it was open, so that the caller of this method is the one to settle it.
        """
        return self._calls.pop(call, False)

    def close(self) -> list[CallT]:
        """Refuse further calls.

        Returns:
            The calls that were open, which the caller of this method is to settle.
        """
        self._is_closed = True
        return [call for call in self if self.take(call)]
