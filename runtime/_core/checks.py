"""Refuse calls from other threads, and values that are no name, no time, no size or no choice."""

from collections.abc import Callable, Collection
from math import inf, isnan
from typing import Protocol, TypeVar

import attrs
from trio.lowlevel import TrioToken, current_trio_token

T = TypeVar("T", bound=str)


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


def check_trio(name: str) -> None:
    """Refuse to start what runs under Trio where no Trio runs.

    Args:
        name: what was called, for the error.

    Raises:
        RuntimeError: the current thread runs no Trio.
    """
    try:
        current_trio_token()
    except RuntimeError:
        raise RuntimeError(
            f"{name} runs under Trio, and this thread runs no Trio: "
            "start it from an async function that `trio.run` runs"
        ) from None


def check_name(name: object) -> None:
    """Refuse a value that is no name of an actor or a supervisor.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty or has a "/".
    """
    if not isinstance(name, str):
        raise TypeError(
            f'name must be a text, not {name!r}; it comes first, as in spawn("desk", Desk)'
        )
    if not name or "/" in name:
        raise ValueError(f"name must be a text without '/' that is not empty, not {name!r}")


def is_one_of(known: Collection[T]) -> Callable[[object, "attrs.Attribute[T]", T], None]:
    """Return a validator of a field that has one of several texts; its error names them."""

    def validate(_: object, field: "attrs.Attribute[T]", value: T) -> None:
        if value not in known:
            raise ValueError(f"{field.name} must be one of {', '.join(known)}, not {value!r}")

    return validate


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


def is_count(at_least: int) -> Callable[[object, "attrs.Attribute[int]", object], None]:
    """Return a validator of a field that has a whole number; its error names the smallest."""

    def validate(_: object, field: "attrs.Attribute[int]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ValueError(
                f"{field.name} must be a whole number of at least {at_least}, not {value!r}"
            )

    return validate


def check_size(size: object) -> None:
    """Check the size of a pool.

    Raises:
        ValueError: it is not a whole number of at least 1.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of at least 1, not {size!r}")
