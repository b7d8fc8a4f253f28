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
        cache, and such keys take as many calls a minute as are sent. The call is counted.

        Args:
            plan: the plan of the call.
            warm_tokens: returns how many tokens of a wish can be read.
            now: the time in seconds.
        """
        keys = self._sent.pop(plan.prompt.origin, {})
        self._sent[plan.prompt.origin] = keys
        found, wish = self._other(plan, keys, warm_tokens, now) or (plan.key, plan.wish)
        keys.setdefault(found, deque()).append(now)
        while len(self._sent) > _MAX_KNOWN:
            del self._sent[next(iter(self._sent))]
        return found, wish

    def _other(
        self,
        plan: CachePlan,
        keys: dict[str, deque[float]],
        warm_tokens: Callable[[CacheWish, float], int],
        now: float,
    ) -> tuple[str, CacheWish] | None:
        """Return another key that is better, if those that are warm take the rate of the calls."""
        most = plan.terms.key_per_minute
        for times in keys.values():
            while times and times[0] <= now - _MINUTE_S:
                times.popleft()
        if most is None or not any(keys.values()):
            return None
        has_room = len(keys.get(plan.key, ())) < most
        best, found = warm_tokens(plan.wish, now) if has_room else 0, None
        warm = 0
        for key, times in keys.items():
            there = plan.wish.at_key(plan.key, key)
            tokens = warm_tokens(there, now)
            warm += tokens > 0
            if tokens > best and len(times) < most:
                best, found = tokens, (key, there)
        seconds = max(1.0, now - min(times[0] for times in keys.values() if times))
        rate = sum(map(len, keys.values())) * _MINUTE_S / seconds
        return found if rate <= warm * most else None
