"""What gives readings, as a protocol, and why there may be none."""

from typing import Protocol

from ..actors import InspectedProgram, Reading


class NoReading(Exception):
    """There is no reading; the message is a sentence with the reason and the remedy."""


class ReadingSource(Protocol):
    """A connection to a program that gives readings of itself."""

    @property
    def program(self) -> InspectedProgram:
        """The program at the other end."""
        ...

    async def read(self) -> Reading:
        """Return a new reading, when the program gives it.

        Raises:
            NoReading: the program has ended, or gives no reading.
        """
        ...
