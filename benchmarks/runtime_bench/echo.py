"""The work of all contenders: a message, sent repeatedly, whose reply is its number."""

import attrs

from callsheet.runtime import Message

__all__ = ["ECHO", "Echo", "check"]


@attrs.frozen
class Echo(Message[int]):
    """The reply is the number."""

    number: int


ECHO = Echo(7)


def check(answer: object) -> None:
    """Check a reply, so that no contender is measured at other work.

    Raises:
        ValueError: the reply is not the number of `ECHO`.
    """
    if answer != ECHO.number:
        raise ValueError(f"the answer must be {ECHO.number}, not {answer!r}")
