"""The end of one row, with the line to write."""

from typing import final

import attrs

from ...actors import Response
from ..progress import RowEnded
from .lines import read_answer


@attrs.frozen
class RowOutcome:
    """A row that has ended and is to be written to disk.

    Args:
        place: the index of the row in the input, from 0.
        line: the line for OUTPUT, or for the errors file.
        event: the event for the observers.
        key: the key to store the response by; None if it is stored already, or is an error.
    """

    place: int
    line: bytes
    event: RowEnded
    key: bytes | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the line is for OUTPUT."""
        return self.event.error is None


@final
@attrs.frozen
class Result:
    """The result of a row; it is on disk.

    Args:
        event: the end of the row, with attempts, tokens and cost.
        line: the line that was written, without its line end.
    """

    event: RowEnded
    line: bytes = attrs.field(repr=False)

    @property
    def number(self) -> int:
        """The number of the row in the input, from 1."""
        return self.event.number

    @property
    def custom_id(self) -> str:
        """The custom id of the row."""
        return self.event.custom_id

    @property
    def error(self) -> str | None:
        """The kind of error, such as "RateLimited"; None for a response."""
        return self.event.error

    @property
    def message(self) -> str:
        """The text of the error; "" for a response."""
        return self.event.message

    @property
    def response(self) -> Response:
        """The response, read from the line.

        Raises:
            ValueError: the row failed.
        """
        if self.error is not None:
            raise ValueError(f"{self.custom_id} has no response: {self.message}")
        return read_answer(self.line)
