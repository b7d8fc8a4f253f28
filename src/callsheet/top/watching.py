"""What is known of a program: its latest readings, and whether it still replies. Pure (R14)."""

from collections import deque
from typing import final

from ..actors import InspectedProgram, Reading

_RATE_S = 10.0  # seconds over which calls a second are counted


@final
class Watched:
    """The readings of one program, or of several that run one after another.

    Attributes:
        program: the program of the latest reading; None before the first.
        reading: the latest reading; None before the first.
        problem: why there is no newer reading; "" if there is none.
        asked_at: when the reading that is waited for was asked for, in seconds; None without one.
    """

    def __init__(self) -> None:
        self.program: InspectedProgram | None = None
        self.reading: Reading | None = None
        self.problem = ""
        self.asked_at: float | None = None
        self._counts: deque[tuple[float, int]] = deque()  # (time, calls that have ended)

    def __repr__(self) -> str:
        return f"<Watched {self.program}{self.problem and ': '}{self.problem}>"

    def add(self, program: InspectedProgram, reading: Reading) -> None:
        """Add a reading.

        Args:
            program: the program that it is of.
            reading: its latest reading.
        """
        counts = self._counts
        if program != self.program or (counts and reading.done < counts[-1][1]):
            counts.clear()  # the program, or its limiter, has started again
        counts.append((reading.at, reading.done))
        while counts[-1][0] - counts[0][0] > _RATE_S:
            counts.popleft()
        self.program, self.reading, self.problem, self.asked_at = program, reading, "", None

    @property
    def calls_per_s(self) -> float | None:
        """Calls that end in a second, over the last ten; None before the second reading."""
        (first_at, first), (last_at, last) = self._counts[0], self._counts[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else None
