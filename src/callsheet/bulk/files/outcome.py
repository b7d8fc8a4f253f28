"""What became of one row, with the line that says so."""

from typing import final

import attrs

from ...actors import Response
from ..progress import RowEnded
from .lines import read_answer

__all__ = [
    "Result",
    "RowOutcome",
]


@attrs.frozen
class RowOutcome:
    """A row that has ended, on its way to the disk.

    Args:
        place: the row's in the input, from 0.
        line: for OUTPUT, or for the file of errors.
        event: what observers are event of it.
        key: what the answer is kept by; None if it is kept already, or is none.
    """

    place: int
    line: bytes
    event: RowEnded
    key: bytes | None = None

    @property
    def is_answer(self) -> bool:
        """Whether its line is for OUTPUT."""
        return self.event.error is None


@final
@attrs.frozen
class Result:
    """A row's answer, or why there is none. It is on disk.

    Args:
        event: what became of the row.
        line: the line that was written, without its end.
    """

    event: RowEnded
    line: bytes = attrs.field(repr=False)

    @property
    def number(self) -> int:
        """Which row of the input it is, from 1."""
        return self.event.number

    @property
    def custom_id(self) -> str:
        """The row's."""
        return self.event.custom_id

    @property
    def error(self) -> str | None:
        """The kind of error, such as "RateLimited"; None for an answer."""
        return self.event.error

    @property
    def message(self) -> str:
        """What the error says."""
        return self.event.message

    @property
    def response(self) -> Response:
        """The answer, as it is read from the line.

        Raises:
            ValueError: there is none.
        """
        if self.error is not None:
            raise ValueError(f"{self.custom_id} has no answer: {self.message}")
        return read_answer(self.line)
