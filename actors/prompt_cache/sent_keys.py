"""With which keys calls were sent lately. Pure (R14).

A call gets its key when it comes, as if it were sent at once. Where calls wait for the limiter, one
that is sent much later may find room at a key whose cache has its beginning.
"""

from collections import deque
from collections.abc import Callable
from typing import final

from .leads import CacheWish
from .planning import CachePlan

_MAX_KNOWN = 2000  # origins; beyond it, the one of which no call was sent longest is forgotten
_MINUTE_S = 60.0


@final
class SentKeys:
    """Counts the calls that were sent with each key in the last minute."""

    def __init__(self) -> None:
        self._sent: dict[bytes, dict[str, deque[float]]] = {}  # {origin: {key: times}}

    def __repr__(self) -> str:
        return f"<SentKeys of {len(self._sent)} origins>"

    def choose(
        self, plan: CachePlan, warm_tokens: Callable[[CacheWish, float], int], now: float
    ) -> tuple[str, CacheWish]:
        """Return the key for a call that is sent now, and what it could read and would write there.

        That is the key of its plan, unless another one has room and more of the prompt in its
        cache. The call is counted.

        Args:
            plan: the plan of the call.
            warm_tokens: returns how many tokens of a wish can be read.
            now: the time in seconds.
        """
        keys = self._sent.pop(plan.prompt.origin, {})
        self._sent[plan.prompt.origin] = keys
        found, wish, most = plan.key, plan.wish, 0
        if self._has_room(plan, keys.setdefault(plan.key, deque()), now):
            most = warm_tokens(wish, now)
        for key, times in keys.items():
            if key != plan.key and self._has_room(plan, times, now):
                there = plan.wish.at_key(plan.key, key)
                tokens = warm_tokens(there, now)
                if tokens > most:
                    found, wish, most = key, there, tokens
        keys[found].append(now)
        if not keys[plan.key]:
            del keys[plan.key]
        while len(self._sent) > _MAX_KNOWN:
            del self._sent[next(iter(self._sent))]
        return found, wish

    def _has_room(self, plan: CachePlan, times: deque[float], now: float) -> bool:
        while times and times[0] <= now - _MINUTE_S:
            times.popleft()
        return plan.terms.key_per_minute is None or len(times) < plan.terms.key_per_minute
