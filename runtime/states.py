"""The state a place in the tree is in, and waiting for it to be in another."""

from typing import final

from trio_util import AsyncValue

from .snapshot import State

__all__ = ["States"]


@final
class States:
    """One state after another.

    An `AsyncValue`, which takes 1.5 KiB, is made when somebody waits; hardly any place is waited
    for.
    """

    __slots__ = ("_value", "_watched")

    def __init__(self) -> None:
        self._value = State.STARTING
        self._watched: AsyncValue[State] | None = None

    @property
    def value(self) -> State:
        """The present one."""
        return self._value

    @value.setter
    def value(self, state: State) -> None:
        self._value = state
        if self._watched is not None:
            self._watched.value = state

    async def wait_for(self, state: State) -> None:
        """Return when it is `state`, or was meanwhile; a checkpoint always."""
        if self._watched is None:
            self._watched = AsyncValue(self._value)
        await self._watched.wait_value(state)
