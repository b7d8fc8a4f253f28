"""Refuse calls from other threads, and values that are no time or no size."""

from math import inf, isnan
from typing import Protocol

from trio.lowlevel import TrioToken, current_trio_token


class OfRun(Protocol):
    """What belongs to a runtime, in one Trio run."""

    @property
    def token(self) -> TrioToken:
        """Identifies the run."""
        ...


def check_thread(owner: OfRun | None = None) -> None:
    """Refuse a call from a thread that does not run the runtime.

    Args:
        owner: what belongs to the runtime; None if any Trio run will do.

    Raises:
        RuntimeError: the current thread runs no Trio, or another run of it.
    """
    try:
        token = current_trio_token()
    except RuntimeError:
        pass
    else:
        if owner is None or token is owner.token:
            return
    raise RuntimeError(
        "this call is only allowed in the thread that runs the runtime; "
        "call `runtime.portal()` there, and use the portal in other threads"
    )


def check_seconds(name: str, value: object, *, at_least: float = -inf) -> None:
    """Refuse a value that is no time.

    Args:
        name: name of the argument, for the error.
        value: the value, in seconds.
        at_least: the smallest allowed value, in seconds.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is nan, too large for a float, or below `at_least`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a number of seconds, not one so large") from None
    if isnan(seconds):
        raise ValueError(f"{name} must be a number of seconds, not nan")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least:g} seconds, not {value}")


def check_size(size: object) -> None:
    """Check the size of a pool.

    Raises:
        ValueError: it is not a whole number of at least 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of at least 1, not {size!r}")
