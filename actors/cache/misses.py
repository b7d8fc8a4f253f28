"""The requests in flight, by their cache key. Pure (R14)."""

import attrs


@attrs.define(eq=False)
class MissInFlight:
    """Identical requests in flight.

    Attributes:
        key: their cache key.
        members: the number of them that are in flight.
        stored: the keys under which responses to them were stored. They differ when different
            targets responded.
    """

    key: str
    members: int = 0
    stored: set[str] = attrs.field(factory=set[str])


class MissesInFlight:
    """The cache keys of requests in flight, which need no lookup. Pure (R14)."""

    def __init__(self) -> None:
        self._by_key: dict[str, MissInFlight] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __repr__(self) -> str:
        members = sum(miss.members for miss in self._by_key.values())
        return f"<MissesInFlight {members} calls with {len(self)} keys>"

    def join(self, key: str) -> MissInFlight:
        """Add a request that goes to the next stage."""
        miss = self._by_key.setdefault(key, MissInFlight(key))
        miss.members += 1
        return miss

    def finish(self, miss: MissInFlight, key: str | None) -> bool:
        """Remove a request that has ended.

        Args:
            miss: what `join` returned for it.
            key: the key under which its response can be stored; None if it cannot.

        Returns:
            Whether to store that response. The first response of a target to identical requests
            was paid for; the others are copies of it.
        """
        miss.members -= 1
        if not miss.members:
            del self._by_key[miss.key]
        if key is None or key in miss.stored:
            return False
        miss.stored.add(key)
        return True
