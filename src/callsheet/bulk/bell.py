"""Wakes the one task that waits for something to do (L4)."""

from typing import final

import trio

__all__ = ["Bell"]


@final
class Bell:
    """Rung any number of times, it wakes whoever waits, or comes to wait, once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """There is something to do."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until it has rung since the last time."""
        await self._event.wait()
        self._event = trio.Event()
