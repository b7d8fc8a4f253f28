"""Notice that a provider was never reached: a person waits, and the address may be wrong."""

from collections.abc import Callable
from math import inf

import trio

from ...actors import CallEvent

_GIVES_UP_S = 5.0  # after the first connection that failed


class ConnectionWatch:
    """Ends a run if no connection has succeeded within some seconds of the first that failed.

    The calls wait for the provider meanwhile (R10). Once it was reached, they go on waiting.

    Args:
        give_up: called once, with the error of the latest attempt.
    """

    def __init__(self, give_up: Callable[[str], None]) -> None:
        self._give_up = give_up
        self._in_flight: set[str] = set()  # calls with an attempt that may be connecting, or more
        self._failed_at = inf
        self._error = ""
        self._is_over = False  # the provider was reached, or the run was given up
        self._has_failed = trio.Event()

    def observe(self, event: CallEvent) -> None:
        """Record one event; this method is an `Observer`."""
        call = event.context.call
        if event.stage == "sent":
            self._in_flight.add(call)
            return
        self._in_flight.discard(call)
        if event.stage == "answered" or (event.stage == "retrying" and not event.is_unreachable):
            self._is_over = True
        elif event.stage == "retrying":
            self._error = event.error or ""
            self._failed_at = min(self._failed_at, event.at)
            self._has_failed.set()
            self._check()

    async def run(self) -> None:
        """Wait for the time to give up."""
        await self._has_failed.wait()
        await trio.sleep_until(self._failed_at + _GIVES_UP_S)
        self._check()

    def _check(self) -> None:
        # An attempt in flight may have been connected; if it was not, its end comes here.
        is_late = trio.current_time() >= self._failed_at + _GIVES_UP_S
        if is_late and not self._in_flight and not self._is_over:
            self._is_over = True
            self._give_up(f"{self._error}; gave up after {_GIVES_UP_S:g} s without a connection")
