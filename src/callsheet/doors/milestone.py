"""Something that happens once, for which threads and event loops wait."""

import threading
from collections.abc import Callable
from typing import final


@final
class Milestone:
    """Something that happens once, such as the end of a thread. Any thread may reach it or wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_reached(self) -> bool:
        """Whether it has happened."""
        return self._reached.is_set()

    def reach(self) -> None:
        """Record that it has happened, and call back; later calls do nothing."""
        with self._lock:
            self._reached.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_reached(self, callback: Callable[[], None]) -> None:
        """Call back once, in the thread that reaches it, or at once if that is past.

        Args:
            callback: must neither raise nor block.
        """
        with self._lock:
            if not self._reached.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def wait(self, timeout: float | None = None) -> bool:
        """Block the current thread until it has happened.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Returns:
            Whether it has happened.
        """
        return self._reached.wait(timeout)
