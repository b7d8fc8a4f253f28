"""One call through a door."""

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Generic, TypeVar, cast

import trio

T = TypeVar("T")
ResourceT = TypeVar("ResourceT")
ResourceT_contra = TypeVar("ResourceT_contra", contravariant=True)


class DoorCall(Generic[ResourceT_contra, T]):
    """One call through a door. A subclass knows how its caller waits.

    It is made in the thread of its caller, and has the context variables of that moment (R18).

    Args:
        work: runs in a task of Trio, with what the thread has opened, such as a `Troupe`.

    Attributes:
        work: the function that does the work.
        context: the context variables in which the work runs.
        scope: the cancel scope around the work; only Trio's thread may use it.
        is_settled: whether there is a result or an error.
    """

    __slots__ = ("_error", "_value", "context", "is_settled", "scope", "work")

    def __init__(self, work: Callable[[ResourceT_contra], Awaitable[T]]) -> None:
        self.work = work
        self.context = copy_context()
        self.scope = trio.CancelScope()
        self.is_settled = False
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def is_orphaned(self) -> bool:
        """Whether its caller can never take the result."""
        return False

    def report(self) -> None:
        """Wake the caller: the call is settled, or has more pieces. Called in Trio's thread."""
        raise NotImplementedError

    def settle(self, value: T | None, error: BaseException | None) -> None:
        """Set the result or the error, and wake the caller.

        Args:
            value: the result, if there is no error.
            error: what the caller raises; None if there is a result.
        """
        self._value, self._error = value, error
        self.is_settled = True
        self.report()

    def result(self) -> T:
        """Return the result of a settled call, or raise its error."""
        if self._error is None:
            return cast("T", self._value)
        # Neither this call nor a frame may hold the error, or both are a reference cycle.
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error, self
