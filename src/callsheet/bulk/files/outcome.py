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
        told: what observers are told of it.
        key: what the answer is kept by; None if it is kept already, or is none.
    """

    place: int
    line: bytes
    told: RowEnded
    key: bytes | None = None

    @property
    def is_answer(self) -> bool:
        """Whether its line is for OUTPUT."""
        return self.told.error is None


@final
@attrs.frozen
class Result:
    """A row's answer, or why there is none. It is on disk.

    Args:
        told: what became of the row.
        line: the line that was written, without its end.
    """

    told: RowEnded
    line: bytes = attrs.field(repr=False)

    @property
    def number(self) -> int:
        """Which row of the input it is, from 1."""
        return self.told.number

    @property
    def custom_id(self) -> str:
        """The row's."""
        return self.told.custom_id

    @property
    def error(self) -> str | None:
        """The kind of error, such as "RateLimited"; None for an answer."""
        return self.told.error

    @property
    def message(self) -> str:
        """What the error says."""
        return self.told.message

    @property
    def response(self) -> Response:
        """The answer, as it is read from the line.

        Raises:
            ValueError: there is none.
        """
        if self.error is not None:
            raise ValueError(f"{self.custom_id} has no answer: {self.message}")
        return read_answer(self.line)
