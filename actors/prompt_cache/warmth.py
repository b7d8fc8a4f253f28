"""Which beginnings a provider has in its cache, and which calls wait for one of them. Pure (R14).

A beginning is cold until a call that writes it is sent. That call leads: the beginning is warming
until the provider's response shows that it can be read, and warm from then on for as long as the
provider keeps it. A call that could read a beginning that is warming follows the leader: it waits
until the beginning is warm. If the leader fails or is cancelled before, the first follower leads.

If a response has not begun 15 seconds after its leader was sent, the first follower leads instead,
and the others wait for it in turn: in all 45 seconds at most, in which a leader was under way.

While a leader itself waits for the limiter, its followers would wait there as well, behind it. So
it is when the provider's limit holds it back after it was sent. That is so in its own lane only: a
call waits one second at most until a leader of another lane is sent, and then leads its own lane.
"""

from collections.abc import Hashable
from heapq import heappop, heappush
from math import inf
from typing import Generic, Literal, TypeVar, final

import attrs

from .leads import (
    LEAST_WAIT_S,
    Beginning,
    CacheWish,
    HeldCall,
    Lead,
    SentCall,
    patience_s,
    waits_s,
)
from .sightings import forget_oldest

T = TypeVar("T", bound=Hashable)

_MAX_KNOWN = 20_000  # beginnings; beyond it, the one that was unused for the longest is forgotten
_MOST_LOST = 2  # leaders in a row that failed; then no call waits for another one


@attrs.define(eq=False)
class _Known(Generic[T]):
    """What is known of one beginning."""

    warm_until: float = -inf
    leads: dict[str, Lead[T]] = attrs.field(factory=dict[str, Lead[T]])  # by lane
    late: list[Lead[T]] = attrs.field(factory=list[Lead[T]])  # instead of which others lead

    def lead_for(self, lane: str) -> Lead[T] | None:
        """Return the leader that a call of this lane follows: its own, or one that is sent."""
        sent = (lead for lead in self.leads.values() if lead.is_sent)
        return self.leads.get(lane) or next(sent, None) or next(iter(self.leads.values()), None)


Warmth = Literal["cold", "warming", "warm"]


@final
class WarmBeginnings(Generic[T]):
    """Decides which calls are sent now and which wait for a leader.

    Every method that may let calls go returns them in the order in which they came to follow the
    same leader.

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
        held = HeldCall(call, wish, deadline, lead, waits_s(deadline - now))
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

    def held_back(self, lead: Lead[T], now: float) -> None:
        """Note that the provider's limit holds a leader back that was sent: it is sent again later.

        Args:
            lead: the leader whose request the provider has refused for now.
            now: the time in seconds.
        """
        if lead.is_sent and not lead.is_over:
            lead.is_sent = False
            for held in list(lead.followers.values()):
                self._follow(held, lead, now)

    def began(self, lead: Lead[T], now: float) -> list[SentCall[T]]:
        """Note that what a leader writes can be read; return its followers, which go now.

        Args:
            lead: the leader whose response has begun or ended.
            now: the time in seconds.
        """
        if lead.is_over:
            return []
        self._end(lead)
        others: dict[Lead[T], None] = {lead: None}
        for beginning in lead.written:
            known = self._use(beginning.key)
            known.warm_until = max(known.warm_until, now + lead.wish.life_s)
            others.update(dict.fromkeys((*known.late, *known.leads.values())))
        return [sent for one in others for sent in self._again(one, now, 0)]

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
        """Return the calls that have waited long enough, or that lead instead of a late leader.

        Args:
            now: the time in seconds.
        """
        found: list[SentCall[T]] = []
        while self.due_at <= now:
            held = heappop(self._due)[2]
            was_sent = held.since is not None
            held.stop(now)
            lead = None if was_sent and held.is_over(now) else self._leader(held.wish, now)
            if was_sent and lead is not None and lead is held.lead:
                self._replace(lead)
                lead = self._leader(held.wish, now)
            is_near = lead is not None and (lead.is_sent or lead.wish.lane == held.wish.lane)
            if lead is None or not (is_near or was_sent):
                found.append(self._let_go(held, now))
            else:  # another call leads by now
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

    def read(self, wish: CacheWish, now: float) -> bool:
        """Note that a call is sent that reads what is warm; return whether there is something.

        Args:
            wish: what the call could read and would write.
            now: the time in seconds.
        """
        is_warm = False
        for beginning in wish.readable:
            known = self._known.get(beginning.key)
            if known is not None and known.warm_until > now:
                is_warm = True
                known.warm_until = max(known.warm_until, now + wish.life_s)
                self._use(beginning.key)
        return is_warm

    # ---------------------------------------------------------------- questions

    def warm_tokens(self, wish: CacheWish, now: float) -> int:
        """Return the tokens of the longest beginning that a call can read; 0 if there is none.

        Args:
            wish: what the call could read and would write.
            now: the time in seconds.
        """
        for beginning in reversed(wish.readable):
            known = self._known.get(beginning.key)
            if known is not None and known.warm_until > now:
                return beginning.tokens
        return 0

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
        is_warm = self.read(wish, now)
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
        held.stop(now)
        if lead.is_sent:
            self._limit(held, now)
        else:
            is_own = lead.wish.lane == held.wish.lane
            self._set_until(held, inf if is_own else now + LEAST_WAIT_S)

    def _limit(self, held: HeldCall[T], now: float) -> None:
        """Limit the wait of a call whose leader is sent."""
        held.since = now
        self._set_until(held, now + min(patience_s(held.deadline - now), held.left_s))

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
            if known is None:
                continue
            if known.leads.get(lead.wish.lane) is lead:
                del known.leads[lead.wish.lane]
            if lead in known.late:
                known.late.remove(lead)

    def _replace(self, lead: Lead[T]) -> None:
        """Let another call lead instead of one that is late; what it writes can still be read."""
        for beginning in lead.written:
            known = self._known.get(beginning.key)
            if known is not None and known.leads.get(lead.wish.lane) is lead:
                del known.leads[lead.wish.lane]
                known.late.append(lead)

    def _again(self, lead: Lead[T], now: float, lost: int) -> list[SentCall[T]]:
        """Let the followers of a leader that is over go, or follow another one."""
        followers, lead.followers = list(lead.followers.values()), {}
        sent: list[SentCall[T]] = []
        for held in followers:
            held.stop(now)
            next_lead = self._leader(held.wish, now) if lost < _MOST_LOST else None
            if next_lead is not None and not held.is_over(now):
                self._follow(held, next_lead, now)
            else:
                del self._held[held.call]
                sent.append(self._send(held.call, held.wish, now, lost))
        return sent

    def _use(self, key: bytes) -> _Known[T]:
        """Return what is known of a beginning, as the one that was used last."""
        new: _Known[T] = _Known()  # `_Known[T]()` takes four times as long
        known = self._known.pop(key, None) or new
        self._known[key] = known
        return known

    def _forget(self) -> None:
        forget_oldest(self._known, self._max_known)
