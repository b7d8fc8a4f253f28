"""The calls that have gone on, by what they ask. Pure (R14)."""

import attrs

__all__ = ["Flight", "Flights"]


@attrs.define(eq=False)
class Flight:
    """Identical requests that have gone on, for one answer.

    Attributes:
        key: what they have in common.
        members: how many of them are still under way.
        is_answered: the answer has come to one of them.
    """

    key: str
    members: int = 0
    is_answered: bool = False


class Flights:
    """Knows which keys nobody need look up: their answer is on its way."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    def __repr__(self) -> str:
        members = sum(flight.members for flight in self._flights.values())
        return f"<Flights {members} calls with {len(self)} keys>"

    def board(self, key: str) -> Flight:
        """One more request goes on."""
        flight = self._flights.setdefault(key, Flight(key))
        flight.members += 1
        return flight

    def land(self, flight: Flight, *, is_answered: bool) -> bool:
        """One of them has ended.

        Args:
            flight: that it was of.
            is_answered: it has an answer that may serve others.

        Returns:
            Whether that is the answer to keep. The first one is the one that was paid for; those
            of the others are copies of it.
        """
        flight.members -= 1
        if not flight.members:
            del self._flights[flight.key]
        is_first = is_answered and not flight.is_answered
        flight.is_answered |= is_answered
        return is_first
