"""What all contenders do: one message there, its number back. It is made once and sent again."""

import attrs

from callsheet.runtime import Message

__all__ = ["ECHO", "Echo", "check"]


@attrs.frozen
class Echo(Message[int]):
    """Answered with its number."""

    number: int


ECHO = Echo(7)


def check(answer: object) -> None:
    """See whether somebody measures something else.

    Raises:
        ValueError: the answer is not the number of `ECHO`.
    """
    if answer != ECHO.number:
        raise ValueError(f"the answer must be {ECHO.number}, not {answer!r}")
