"""What the batcher keeps of a request: who waits for it, and what it has taken so far.

What one asks a batcher, and what it says of itself.
"""

from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from math import inf

import attrs

from ...runtime import Message, Outcome, ReplySlot, Timer
from ..call_plan import SharedCall
from ..calls import CallContext, Complete
from ..messages import Request, Response, Usage
from ..vendors import BatchWeight
from .former import BatchFormer, BatchWindow, Reason
from .packing import Agreement, AgreementStatistics
from .strategy import BatchStrategy

__all__ = [
    "BatchMember",
    "BatchRecord",
    "BatchingStatistics",
    "Combined",
    "ExplainBatching",
    "GetBatchingStatistics",
    "Group",
    "GroupKey",
    "Spent",
    "Waiter",
]


GroupKey = tuple[int, Hashable, str, bool]
"""Which strategy, what its members have in common, their lane, and whether they can wait."""


@attrs.frozen(eq=False)
class Waiter:
    """One who asked, and what for."""

    message: Complete
    slot: ReplySlot[Response]


@attrs.frozen
class Spent:
    """What was spent on a part before the call that answered it.

    Args:
        usage: tokens.
        cost_usd: USD; None when a price is not known.
        http_requests: how many.
        maybe_billed: as in `Response`.
    """

    usage: Usage = attrs.field(factory=Usage)
    cost_usd: Decimal | None = Decimal(0)
    http_requests: int = 0
    maybe_billed: int = 0

    def plus(self, response: Response) -> "Spent":
        """The same and what a response has taken."""
        cost = None
        if self.cost_usd is not None and response.cost_usd is not None:
            cost = self.cost_usd + response.cost_usd
        return Spent(
            self.usage + response.usage,
            cost,
            self.http_requests + response.http_requests,
            self.maybe_billed + response.maybe_billed,
        )

    def on(self, response: Response) -> Response:
        """A response that says what all of it took."""
        whole = self.plus(response)
        return attrs.evolve(
            response,
            usage=whole.usage,
            cost_usd=whole.cost_usd,
            http_requests=whole.http_requests,
            maybe_billed=whole.maybe_billed,
        )


@attrs.define(eq=False)
class BatchMember:
    """A request that is asked for once, and everybody who waits for its answer.

    Args:
        request: what is asked.
        key: what identical requests have in common (L6); None if it is shared with nobody.
        seats: who waits.
        call: the call of its own, if it goes alone.
        combined: the call that it has with others.
        check: the call of its own that tells whether `combined` answers the same.
        packed: what `combined` has answered; None as long as that is not known, and for nothing.
        is_split: what `combined` has answered is known.
        spent: what was spent on it so far.
        group: with whom it is gathered, if it is.
    """

    request: Request
    key: str | None
    seats: list[Waiter]
    call: ReplySlot[Response] | None = None
    combined: "Combined | None" = None
    check: ReplySlot[Response] | None = None
    packed: Response | None = None
    is_split: bool = False
    spent: Spent = attrs.field(factory=Spent)
    group: "Group | None" = None

    @property
    def deadline(self) -> float:
        """The latest of those who wait, on Trio's clock."""
        return max(seat.slot.deadline for seat in self.seats)

    @property
    def is_new(self) -> bool:
        """Whether nothing was sent for it yet, and one waits for it who shares it with nobody."""
        return self.key is None and self.combined is None and len(self.seats) == 1

    def let_go(self) -> None:
        """It has its end.

        A part and its call refer to each other, and an answer may be large: in such a circle it
        would wait for the garbage collector, which goes by numbers and not by sizes.
        """
        self.call = self.check = self.combined = self.packed = None

    def may_join(self, seat: Waiter) -> bool:
        """Whether somebody who asks the same is answered in time by this."""
        if not self.seats:
            return False
        if self.request.deadline is None:
            return True
        return seat.message.request.deadline is not None and seat.slot.deadline >= self.deadline

    def own_answer(self) -> Response | None:
        """What the check was answered, if it was."""
        check = self.check
        if check is None or check.outcome is not Outcome.REPLIED:
            return None
        return check.value


@attrs.define(eq=False)
class Group:
    """Requests that may share a call.

    Args:
        strategy: how.
        former: gathers them.
        window: how long it waits.
        trust: whether it should.
        timer: when the batcher will look at it.
    """

    strategy: BatchStrategy
    former: BatchFormer[BatchMember]
    window: BatchWindow
    trust: Agreement
    timer: Timer | None = None


@attrs.define(eq=False)
class Combined:
    """One call for several parts.

    Args:
        group: whose they are.
        parts: in the order of the call; those whose askers have gone stay in their places.
        request: what is asked for all of them.
        call: the call, once it is made.
    """

    group: Group
    parts: Sequence[BatchMember]
    request: Request
    call: ReplySlot[Response] | None = None

    @property
    def has_askers(self) -> bool:
        """Whether anybody waits for any of it."""
        return any(part.seats for part in self.parts)

    @property
    def deadline(self) -> float:
        """The latest of those who wait, on Trio's clock; infinity if nobody does."""
        return max((part.deadline for part in self.parts if part.seats), default=inf)

    @property
    def context(self) -> CallContext:
        """Whom it is for: the first, and with him the others."""
        first, *others = (seat.message.context for part in self.parts for seat in part.seats[:1])
        return attrs.evolve(first, call=f"{first.call}+{len(others)}", shared_by=(first, *others))


@attrs.frozen
class BatchRecord:
    """A batch that went.

    Args:
        strategy: by which its members share a call.
        weight: what they come to.
        reason: why it went.
        waited_s: how long its first member had waited, in seconds.
    """

    strategy: str
    weight: BatchWeight
    reason: Reason
    waited_s: float


@attrs.frozen(kw_only=True)
class BatchingStatistics:
    """What a `BatcherActor` has done.

    Args:
        batches: how many went, by reason.
        latest: the latest of them, at most a hundred.
        combined: calls that were made for several members.
        waiting: members that are being gathered.
        joined: requests that were answered by an identical one's call.
        trust: how far answers of combined calls can be trusted, by strategy.
    """

    batches: Mapping[Reason, int]
    latest: tuple[BatchRecord, ...]
    combined: int
    waiting: int
    joined: int
    trust: Mapping[str, tuple[AgreementStatistics, ...]]


@attrs.frozen
class GetBatchingStatistics(Message[BatchingStatistics]):
    """Ask a `BatcherActor` what it has done."""


@attrs.frozen
class ExplainBatching(Message[SharedCall]):
    """Ask with whom a request would share a call if it came now. Nothing is sent.

    Args:
        request: the request.
        lane: in which it would wait.
    """

    request: Request
    lane: str = ""
