"""How often a beginning was seen lately, and over how many keys it is spread. Pure (R14)."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from math import inf
from typing import TypeVar, final

T = TypeVar("T")

_MAX_KNOWN = 20_000  # beginnings; beyond it, the one that was seen the longest ago is forgotten
_MAX_SPREAD = 2000  # beginnings with keys
_MAX_KEYS = 1000  # of one beginning; beyond it, the last key takes the rest
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_UNCUT: frozenset[bytes] = frozenset()


@final
class Sightings:
    """Counts how often each beginning came while the provider would have kept it.

    Args:
        max_known: how many beginnings are remembered.
    """

    def __init__(self, max_known: int = _MAX_KNOWN) -> None:
        self._seen: dict[bytes, tuple[int, float]] = {}  # {key: (times, forgotten at)}
        self._ends: dict[bytes, frozenset[bytes]] = {}  # {those of whole prompts: their cuts}
        self._max_known = max_known

    def __repr__(self) -> str:
        return f"<Sightings of {len(self._seen)} beginnings>"

    def times(self, key: bytes, now: float) -> int:
        """Return how often a beginning was seen lately.

        If the provider has forgotten it within the last hour, that is how often it could be read
        before: a beginning that came many times is expected to do so again.

        Args:
            key: the hash of the beginning.
            now: the time in seconds.
        """
        times, until = self._seen.get(key, (0, -inf))
        if until > now:
            return times
        return times - 1 if until + _HOUR_S > now and times else 0

    def was_whole(self, key: bytes) -> bool:
        """Return whether a beginning was a whole prompt, so that a longer one continues it.

        Args:
            key: the hash of the beginning.
        """
        return key in self._ends

    def cuts_of(self, key: bytes) -> frozenset[bytes]:
        """Return the beginnings of a whole prompt at which its texts were cut when it last came.

        Args:
            key: the hash of the whole prompt.
        """
        return self._ends.get(key, _UNCUT)

    def add(
        self,
        keys: Iterable[bytes],
        end: bytes,
        now: float,
        life_s: float,
        cuts: frozenset[bytes] = _UNCUT,
    ) -> None:
        """Count the beginnings of one prompt.

        Args:
            keys: the hashes of its beginnings.
            end: the hash of the whole prompt.
            now: the time in seconds.
            life_s: seconds for which the provider keeps a beginning.
            cuts: the hashes of those at which marks cut a text.
        """
        for key in keys:
            times, until = self._seen.pop(key, (0, now))
            self._seen[key] = (times + 1 if until > now else 1, now + life_s)
        self._ends[end] = cuts
        forget_oldest(self._seen, self._max_known)
        forget_oldest(self._ends, self._max_known)


@final
class KeySpread:
    """Spreads the calls with one origin over keys, each within the rate that a key takes.

    A key leads calls to one machine of the provider's. Above a rate, calls go to others, whose
    caches do not have the beginning. A call goes where its longest known beginning is: to the first
    of the keys with which that has come that has room, or else to a new one. One that is only a
    little shorter counts as well. So calls about one
    document, or the turns of one dialogue, share a key although all share an instruction. A call of
    which no beginning is known takes the first key that has room.

    Args:
        max_known: how many beginnings are remembered.
    """

    def __init__(self, max_known: int = _MAX_KNOWN) -> None:
        self._latest: dict[bytes, list[deque[float]]] = {}  # {origin: times by key}
        self._used: dict[bytes, dict[int, None]] = {}  # {beginning: its keys, the first one first}
        self._max_known = max_known

    def __repr__(self) -> str:
        return f"<KeySpread of {len(self._latest)} origins>"

    def next_number(
        self,
        origin: bytes,
        per_minute: int | None,
        now: float,
        beginnings: Sequence[bytes] = (),
        *,
        sizes: Sequence[int] = (),
        least: float = 0.0,
    ) -> int:
        """Return the number of the key for the next call, from 0.

        Args:
            origin: the hash of the first part of the prompt.
            per_minute: the calls a minute that a key takes; None for any number.
            now: the time in seconds.
            beginnings: the hashes of the beginnings of the prompt, ascending.
            sizes: their sizes, in any unit.
            least: how much shorter than the longest known one another one must be not to count, in
                the same unit.
        """
        if per_minute is None:
            return 0
        keys = self._latest.get(origin, ())
        known: dict[int, None] | None = None
        longest = 0
        for at in reversed(range(len(beginnings))):
            used, size = self._used.get(beginnings[at]), sizes[at] if sizes else -at
            if used is None:
                continue
            if known is None:
                known, longest = dict(used), size
            elif longest - size < least:
                known |= used
        for number in range(len(keys)) if known is None else known:
            if number >= len(keys):
                continue  # the origin was forgotten meanwhile
            times = keys[number]
            while times and times[0] <= now - _MINUTE_S:
                times.popleft()
            if len(times) < per_minute:
                return number
        return min(len(keys), _MAX_KEYS - 1)

    def use(self, origin: bytes, number: int, now: float, beginnings: Sequence[bytes] = ()) -> None:
        """Note that a call is sent with a key.

        Args:
            origin: the hash of the first part of the prompt.
            number: the number that `next_number` returned for it.
            now: the time in seconds.
            beginnings: the hashes of the beginnings of the prompt that the key leads to.
        """
        keys = self._latest.pop(origin, [])
        self._latest[origin] = keys
        if number == len(keys):
            keys.append(deque())
        keys[number].append(now)
        if len(self._latest) > _MAX_SPREAD:
            del self._latest[next(iter(self._latest))]
        for one in beginnings:
            numbers = self._used.pop(one, {})
            numbers[number] = None
            self._used[one] = numbers
        forget_oldest(self._used, self._max_known)


def forget_oldest(known: dict[bytes, T], most: int) -> None:
    """Remove the first entries of a dictionary, all at once.

    One after another, each look for the first one passes the places of all that are gone: a prompt
    of 80,000 messages took seconds.

    Args:
        known: the entries, the oldest first.
        most: how many may stay.
    """
    for key in list(islice(known, max(0, len(known) - most))):
        del known[key]
