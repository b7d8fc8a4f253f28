"""The errors of a door, and copies of errors for the callers that wait."""

from copy import copy
from types import FunctionType
from typing import TypeVar

ErrorT = TypeVar("ErrorT", bound=BaseException)


class DoorClosed(Exception):
    """The door is closed: its block was left, its Trio thread has ended, or this is a fork.

    A call that was in flight may have reached the provider. If the thread has ended because of an
    error, that is the `__cause__`.
    """


def copy_of(error: ErrorT) -> ErrorT:
    """Return a copy of an error, with its cause, its notes and its traceback.

    The runtime may give one error to several callers. Each `raise` adds to the traceback of the
    object that it raises, so that each caller raises an object of its own.

    Args:
        error: the error as Trio's side has it.
    """
    kind = type(error)
    if any(vars(base).get("__slots__") for base in kind.__mro__):
        return error  # its members may be in slots, which only the class knows to copy
    try:
        if isinstance(kind.__init__, FunctionType):  # whose arguments may differ from `args`
            copied = kind.__new__(kind, *error.args)
            copied.__dict__.update(error.__dict__)
        else:
            copied = copy(error)
    except Exception:  # noqa: BLE001  # a class with rules of its own: the error itself will do
        return error
    copied.args = error.args
    if hasattr(error, "__notes__"):
        copied.__notes__ = [*error.__notes__]
    copied.__cause__ = error.__cause__
    copied.__context__ = error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)
