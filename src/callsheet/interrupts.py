"""Ctrl-C while a command is loaded, and when it has ended.

While it is loaded, a `KeyboardInterrupt` is not enough. A library that ignores errors while it is
imported may ignore this one, and the command then continues. When it has ended, an interrupt would
only replace its exit status by a traceback.
"""

import os
import signal
from types import FrameType

__all__ = ["INTERRUPTED", "exit_on_interrupt", "ignore_interrupts", "raise_on_interrupt"]

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 + SIGINT, as shells report it."""


def exit_on_interrupt() -> None:
    """Exit at once on SIGINT, unless the process ignores SIGINT or handles it itself."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def raise_on_interrupt() -> None:
    """Raise `KeyboardInterrupt` on SIGINT again, so that a command can clean up."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_interrupts() -> None:
    """Ignore SIGINT, unless the process handles it itself, and keep the exit status."""
    if signal.getsignal(signal.SIGINT) in (_exit, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python ends by SIGINT if a KeyboardInterrupt has left the `exec` of a text, such as that of a
    # named tuple in a module that was being imported. The next `exec` of a text clears that.
    exec("")  # noqa: S102  # see above


def _exit(_: int, __: FrameType | None) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(INTERRUPTED)
