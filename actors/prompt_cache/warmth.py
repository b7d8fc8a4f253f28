"""Which beginnings a provider has in its cache, and which calls wait for one of them. Pure (R14).

A beginning is cold until a call that writes it is sent. That call leads: the beginning is warming
until the provider's response shows that it can be read, and warm from then on for as long as the
provider keeps it. A call that could read a beginning that is warming follows the leader: it waits
until the beginning is warm. If the leader fails or is cancelled before, the first follower leads.

A wait ends 15 seconds after the leader was sent at the latest. While the leader itself waits for
the limiter, its followers would wait there as well, behind it. That is so in its own lane only: a
call waits one second at most until a leader of another lane is sent, and then leads its own lane.
"""

from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf
from typing import Generic, Literal, TypeVar, final

import attrs

T = TypeVar("T", bound=Hashable)

_MAX_KNOWN = 20_000  # beginnings; beyond it, the one that was unused for the longest is forgotten
_MOST_LOST = 2  # leaders in a row that failed; then no call waits for another one
_MOST_WAIT_S = 15.0  # for the first token of a long prompt
_LEAST_WAIT_S = 1.0  # a first token rarely takes less
_WAIT_SHARE = 0.25  # of the time until the deadline


def patience_s(left_s: float) -> float:
    """Return how many seconds a call may wait for the response to another one to begin.

    Args:
        left_s: seconds until the deadline of the call.
    """
    share = _WAIT_SHARE * left_s
    return min(_MOST_WAIT_S, share) if share >= _LEAST_WAIT_S else 0.0


@attrs.frozen
class Beginning:
    """A beginning of a prompt, with the cache that it is in.

    Args:
        key: a hash of the beginning, and of what tells this cache from others.
        tokens: how many tokens it has.
    """

    key: bytes = attrs.field(repr=False)
    tokens: int


@attrs.frozen(kw_only=True)
class CacheWish:
    """What a call could read from the provider's cache, and what it would write.

    Args:
        readable: the beginnings that it could read, ascending.
        written: the beginnings that can be read later if it is sent, ascending.
        life_s: seconds after its last use for which the provider keeps a beginning.
        lane: the lane of the call.
        least: tokens that following a leader must save.
    """

    readable: tuple[Beginning, ...]
    written: tuple[Beginning, ...]
    life_s: float
    lane: str = ""
    least: int = 1


@attrs.define(eq=False)
class Lead(Generic[T]):
    """A call that writes beginnings, of which other calls may wait for one.

    Attributes:
        written: what it writes that was cold.
        wish: the wish of the call.
        lost_before: how many leaders have failed in a row before it.
        is_sent: whether it has been sent to the provider.
        followers: the calls that wait for it, in the order in which they came.
        is_over: whether what it writes is warm, or the call has ended without that.
    """

    written: tuple[Beginning, ...]
    wish: CacheWish
    lost_before: int = 0
    is_sent: bool = False
    followers: "dict[T, HeldCall[T]]" = attrs.field(factory=dict[T, "HeldCall[T]"], repr=False)
    is_over: bool = False


@attrs.define(eq=False)
class HeldCall(Generic[T]):
    """A call that waits for a leader.

    Attributes:
        call: what the caller of this module knows it by.
        wish: what it could read and would write.
        deadline: when its response is due, in seconds on Trio's clock.
        lead: the leader that it follows.
        until: when it is sent at the latest, in seconds; infinity until a leader of its own lane is
            sent.
        is_limited: whether a leader of it has been sent, so that `until` is not put off any more.
    """

    call: T
    wish: CacheWish
    deadline: float
    lead: Lead[T]
    until: float = inf
    is_limited: bool = False


@attrs.frozen
class SentCall(Generic[T]):
    """A call that is to be sent now.

    Args:
        call: what the caller of this module knows it by.
        lead: what it leads; None if it writes nothing that was cold.
        is_warm: whether it can read a beginning.
    """

    call: T
    lead: Lead[T] | None
    is_warm: bool


@attrs.define(eq=False)
class _Known(Generic[T]):
    """What is known of one beginning."""

    warm_until: float = -inf
    leads: dict[str, Lead[T]] = attrs.field(factory=dict[str, Lead[T]])  # by lane

    def lead_for(self, lane: str) -> Lead[T] | None:
        """Return the leader that a call of this lane follows: its own, or one that is sent."""
        sent = (lead for lead in self.leads.values() if lead.is_sent)
        return self.leads.get(lane) or next(sent, None) or next(iter(self.leads.values()), None)


Warmth = Literal["cold", "warming", "warm"]


@final
class WarmBeginnings(Generic[T]):
    """Decides which calls are sent now and which wait for a leader.

    Every method that may let calls go returns them in the order in which they came.

    Args:
        max_known: how many beginnings are remembered.
    """

    def __init__(self, max_known: int = _MAX_KNOWN) -> None:
        self._known: dict[bytes, _Known[T]] = {}  # the least recently used first
        self._held: dict[T, HeldCall[T]] = {}
        self._due: list[tuple[float, int, HeldCall[T]]] = []
        self._count = 0
        self._max_known = max_known

    def __len__(self) -> int:
        """How many calls wait."""
        return len(self._held)

    def __repr__(self) -> str:
        return f"<WarmBeginnings {len(self._known)} known, {len(self)} calls wait>"

    @property
    def due_at(self) -> float:
        """When the first of the calls that wait is to be sent at the latest; infinity if none."""
        while self._due:
            until, _, held = self._due[0]
            if self._held.get(held.call) is held and held.until == until:
                return until
            heappop(self._due)
        return inf

    # ---------------------------------------------------------------- what happens

    def arrive(
        self, call: T, wish: CacheWish, now: float, *, deadline: float = inf, may_wait: bool = True
    ) -> SentCall[T] | None:
        """Send a call or let it follow a leader; None if it follows.

        Args:
            call: the call, by which it is found again.
            wish: what it could read and would write.
            now: the time in seconds.
            deadline: when its response is due, in seconds; with too little time it does not wait.
            may_wait: whether it may wait at all.
        """
        lead = self._leader(wish, now) if may_wait and patience_s(deadline - now) else None
        if lead is None:
            return self._send(call, wish, now)
        held = HeldCall(call, wish, deadline, lead)
        self._held[call] = held
        self._follow(held, lead, now)
        return None

    def sent(self, lead: Lead[T], now: float) -> list[SentCall[T]]:
        """Note that a leader is sent; return those of its followers that cannot wait any more.

        Args:
            lead: the leader that the limiter has let through.
            now: the time in seconds.
        """
        if lead.is_sent or lead.is_over:
            return []
        lead.is_sent = True
        hurried: list[HeldCall[T]] = []
        for held in lead.followers.values():
            self._limit(held, now)
            if held.until <= now:
                hurried.append(held)
        return [self._let_go(held, now) for held in hurried]

    def began(self, lead: Lead[T], now: float) -> list[SentCall[T]]:
        """Note that what a leader writes can be read; return its followers, which go now.

        Args:
            lead: the leader whose response has begun or ended.
            now: the time in seconds.
        """
        if lead.is_over:
            return []
        self._end(lead)
        for beginning in lead.written:
            known = self._use(beginning.key)
            known.warm_until = max(known.warm_until, now + lead.wish.life_s)
        return self._again(lead, now, 0)

    def lost(self, lead: Lead[T], now: float, *, has_failed: bool = True) -> list[SentCall[T]]:
        """Note that a leader has ended, and nothing of it can be read; return who goes now.

        Args:
            lead: the leader whose response has begun or ended.
            now: the time in seconds.
            has_failed: whether the call has failed, or went elsewhere. After two such leaders in a
                row all followers go: they need not fail one after another.
        """
        if lead.is_over:
            return []
        self._end(lead)
        return self._again(lead, now, lead.lost_before + has_failed)

    def leave(self, call: T) -> None:
        """Forget a call that waits no more; nothing happens if it does not wait.

        Args:
            call: the call, by which it is found again.
        """
        held = self._held.pop(call, None)
        if held is not None:
            held.lead.followers.pop(call, None)

    def expire(self, now: float) -> list[SentCall[T]]:
        """Return the calls that have waited long enough.

        Args:
            now: the time in seconds.
        """
        found: list[SentCall[T]] = []
        while self.due_at <= now:
            held = heappop(self._due)[2]
            lead = None if held.is_limited else self._leader(held.wish, now)
            if lead is None or not (lead.is_sent or lead.wish.lane == held.wish.lane):
                found.append(self._let_go(held, now))
            else:  # one that came with it, and leads their lane now
                held.lead.followers.pop(held.call, None)
                self._follow(held, lead, now)
        return found

    def release(self, now: float) -> list[SentCall[T]]:
        """Return all calls that wait.

        Args:
            now: the time in seconds.
        """
        held, self._held = list(self._held.values()), {}
        for one in held:
            one.lead.followers.clear()
        return [self._send(one.call, one.wish, now) for one in held]

    # ---------------------------------------------------------------- questions

    def warmth(self, wish: CacheWish, now: float) -> tuple[Warmth, Beginning | None]:
        """Return the state of the longest beginning that is not cold, and that beginning.

        Args:
            wish: what a call could read and would write.
            now: the time in seconds.
        """
        lead = self._leader(wish, now)
        for beginning in reversed(wish.readable):
            known = self._known.get(beginning.key)
            if known is None:
                continue
            if lead is not None and lead in known.leads.values():
                return "warming", beginning
            if lead is None and known.warm_until > now:
                return "warm", beginning
        return "cold", None

    # ----------------------------------------------------------------

    def _leader(self, wish: CacheWish, now: float) -> Lead[T] | None:
        """Return the leader that a call follows; None if it goes at once."""
        warming: Lead[T] | None = None
        tokens = 0
        for beginning in reversed(wish.readable):
            known = self._known.get(beginning.key)
            if known is None:
                continue
            if known.warm_until > now:
                saved = tokens - beginning.tokens
                return warming if saved >= wish.least else None
            lead = known.lead_for(wish.lane)
            if lead is not None and warming is None and beginning.tokens >= wish.least:
                warming, tokens = lead, beginning.tokens
        return warming

    def _send(self, call: T, wish: CacheWish, now: float, lost_before: int = 0) -> SentCall[T]:
        """Send a call: it refreshes what it reads, and leads what is cold of what it writes."""
        is_warm = False
        for beginning in wish.readable:
            known = self._known.get(beginning.key)
            if known is not None and known.warm_until > now:
                is_warm = True
                known.warm_until = max(known.warm_until, now + wish.life_s)
                self._use(beginning.key)
        cold: list[Beginning] = []
        for beginning in wish.written:
            known = self._use(beginning.key)
            if known.warm_until <= now and wish.lane not in known.leads:
                cold.append(beginning)
        if not cold:
            return SentCall(call, None, is_warm)
        lead: Lead[T] = Lead(tuple(cold), wish, lost_before)
        for beginning in cold:
            self._known[beginning.key].leads[wish.lane] = lead
        self._forget()
        return SentCall(call, lead, is_warm)

    def _follow(self, held: HeldCall[T], lead: Lead[T], now: float) -> None:
        held.lead = lead
        lead.followers[held.call] = held
        if lead.is_sent:
            self._limit(held, now)
        elif not held.is_limited:
            is_own = lead.wish.lane == held.wish.lane
            self._set_until(held, inf if is_own else now + _LEAST_WAIT_S)

    def _limit(self, held: HeldCall[T], now: float) -> None:
        """Limit the wait of a call whose leader is sent; that limit is never put off."""
        until = now + patience_s(held.deadline - now)
        if until < held.until or not held.is_limited:
            held.is_limited = True
            self._set_until(held, until)

    def _set_until(self, held: HeldCall[T], until: float) -> None:
        held.until = until
        if until < inf:
            self._count += 1
            heappush(self._due, (until, self._count, held))

    def _let_go(self, held: HeldCall[T], now: float) -> SentCall[T]:
        """Send a call that has waited long enough."""
        self.leave(held.call)
        return self._send(held.call, held.wish, now)

    def _end(self, lead: Lead[T]) -> None:
        lead.is_over = True
        for beginning in lead.written:
            known = self._known.get(beginning.key)
            if known is not None and known.leads.get(lead.wish.lane) is lead:
                del known.leads[lead.wish.lane]

    def _again(self, lead: Lead[T], now: float, lost: int) -> list[SentCall[T]]:
        """Let the followers of a leader that is over go, or follow another one."""
        followers, lead.followers = list(lead.followers.values()), {}
        sent: list[SentCall[T]] = []
        for held in followers:
            next_lead = self._leader(held.wish, now) if lost < _MOST_LOST else None
            if next_lead is not None and held.until > now:
                self._follow(held, next_lead, now)
            else:
                del self._held[held.call]
                sent.append(self._send(held.call, held.wish, now, lost))
        return sent

    def _use(self, key: bytes) -> _Known[T]:
        """Return what is known of a beginning, as the one that was used last."""
        known = self._known.pop(key, None) or _Known[T]()
        self._known[key] = known
        return known

    def _forget(self) -> None:
        while len(self._known) > self._max_known:
            del self._known[next(iter(self._known))]
