"""The members of batches: requests, the callers that wait for them, and the calls they share."""

from collections.abc import Sequence
from math import inf

import attrs
import trio

from ...runtime import AskFailed, Outcome, ReplySlot, Timer
from ..call_lanes import CallLanes
from ..calls import CallContext, Complete
from ..errors import BadRequest, CallFailed, ContentFiltered, MalformedResponse, TurnTooLate
from ..messages import Request
from ..responses import Response
from ..spent import Spent
from .agreement import Agreement, answers_agree
from .combined_cost import CombinedCost
from .former import BatchFormer, BatchWindow
from .strategy import BatchStrategy

_MOST_SLACK_S, _SLACK_SHARE = 1.0, 0.01  # between deadlines that are the same

BudgetHolder = tuple[str, str | None]
"""Who pays for a call: its tenant and its post. Calls of one payer have the same budgets."""


@attrs.frozen(eq=False)
class Waiter:
    """A caller that waits for a response.

    Args:
        message: the message of the caller.
        slot: receives the response.
        since: when it came, in seconds on Trio's clock.
    """

    message: Complete
    slot: ReplySlot[Response]
    since: float = attrs.field(factory=trio.current_time)

    @property
    def lane(self) -> str:
        """The lane of the caller."""
        return self.message.context.lane

    @property
    def turn_by(self) -> float:
        """When its patience ends, in seconds on Trio's clock; infinity without a limit."""
        return self.message.context.turn_by(self.since)

    def refuse(self, error: TurnTooLate) -> None:
        """Fail for this caller alone: the turn of the call does not come in time.

        Args:
            error: says how long the call still has to wait.
        """
        self.slot.fail(error)

    @property
    def payer(self) -> BudgetHolder:
        """Who pays if the call is made for this caller."""
        return self.message.context.payer, self.message.context.post


@attrs.define(eq=False)
class BatchMember:
    """One request, and all callers that wait for its response.

    Args:
        request: the request that all these callers sent.
        key: the key of identical requests (L6); None if this one must not be shared.
        waiters: the callers that wait for it.
        call: its own call, if it is sent alone.
        combined: the call that it shares with other members.
        check: its own call, sent to compare its response with that of `combined`.
        combined_response: its share of the response of `combined`; None until then, and if the
            response has none for it.
        is_split: `combined` has ended, so that `combined_response` is final.
        spent: what earlier calls for it took.
        group: the group in which it waits for others.
        is_second: whether a response to it was paid for, and could not be read (L11).
        lanes: the lanes of its waiters.
    """

    request: Request
    key: str | None
    waiters: list[Waiter]
    call: ReplySlot[Response] | None = None
    combined: "Combined | None" = None
    check: ReplySlot[Response] | None = None
    combined_response: Response | None = None
    is_split: bool = False
    spent: Spent = attrs.field(factory=Spent)
    group: "Group | None" = None
    is_second: bool = False
    lanes: CallLanes = attrs.field(factory=CallLanes)

    @property
    def deadline(self) -> float:
        """The latest deadline of its waiters, on Trio's clock."""
        return max(waiter.slot.deadline for waiter in self.waiters)

    @property
    def is_new(self) -> bool:
        """Whether it has a single waiter, cannot get another one, and was never sent."""
        return self.key is None and self.combined is None and len(self.waiters) == 1

    def add(self, waiter: Waiter) -> None:
        """Add a waiter, whose lane and deadline its calls take, too.

        Args:
            waiter: the caller that joins.
        """
        self.waiters.append(waiter)
        for lanes in self._all_lanes:
            lanes.join(waiter.lane, waiter)
        combined = None if self.combined is None else self.combined.call
        for call in (self.call, self.check, combined):
            if call is not None:
                call.postpone(waiter.slot.deadline)
                waiter.slot.start(call)

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter, and the lane in which only that one waited.

        Args:
            waiter: one of the waiters, which leaves.
        """
        self.waiters.remove(waiter)
        for lanes in self._all_lanes:
            lanes.leave(waiter.lane, waiter)

    @property
    def _all_lanes(self) -> list[CallLanes]:
        return [self.lanes] if self.combined is None else [self.lanes, self.combined.lanes]

    def take_share(self, own: Response, share: Response) -> None:
        """Take its part of the response of `combined`.

        Args:
            own: the response to it alone.
            share: the response of the call, with its share of usage and cost.
        """
        self.combined_response = attrs.evolve(
            share,
            text=own.text,
            finish_reason=own.finish_reason,
            choices=own.choices,
            embeddings=own.embeddings,
            body=None,  # that of the whole call is of all members
            is_assembled=False,
        )
        self.is_split = True

    def release(self) -> None:
        """Drop its calls, once it has ended.

        A member and its call refer to each other. Without this the cycle, with a response that may
        be large, stays in memory until the garbage collector runs.
        """
        self.call = self.check = self.combined = self.combined_response = None

    def may_join(self, waiter: Waiter) -> bool:
        """Return whether the response of this member comes before the waiter's deadline."""
        if not self.waiters:
            return False
        if self.request.deadline is None:
            return True
        if waiter.message.request.deadline is None:
            return False
        # Callers that count down to one instant are apart by the time that they took to ask.
        due = waiter.slot.deadline
        slack_s = min(_MOST_SLACK_S, _SLACK_SHARE * (due - trio.current_time()))
        return due + slack_s >= self.deadline

    def check_response(self) -> Response | None:
        """Return the response of the check, if it has one."""
        check = self.check
        if check is None or check.outcome is not Outcome.REPLIED:
            return None
        return check.value


@attrs.define(eq=False)
class Group:
    """Requests that may share a call.

    Args:
        strategy: combines its members into one call.
        former: collects the members of the next batch.
        window: how long the former waits for more members.
        agreement: whether combined calls give the same responses as single calls.
        cost: compares the cost of combined and of single calls.
        timer: the next time at which the batcher checks whether a batch is due.
    """

    strategy: BatchStrategy
    former: BatchFormer[BatchMember]
    window: BatchWindow
    agreement: Agreement
    cost: CombinedCost
    timer: Timer | None = None


@attrs.define(eq=False)
class Combined:
    """One call for several members.

    Args:
        group: the group of the members.
        members: in the order of the call. A member without waiters keeps its position.
        request: the combined request.
        payers: who pays for the call: the first waiter of each member when it was made.
        call: the call, once it is submitted, and until it is split.
        last_check: the check of the last member, which must agree before any response is used;
            None if the group's responses have agreed before.
        lanes: the lanes of all waiters of the members.
    """

    group: Group
    members: Sequence[BatchMember]
    request: Request
    payers: frozenset[BudgetHolder]
    call: ReplySlot[Response] | None = None
    last_check: ReplySlot[Response] | None = None
    lanes: CallLanes = attrs.field(factory=CallLanes, init=False)

    def __attrs_post_init__(self) -> None:
        for member in self.members:
            for waiter in member.waiters:
                self.lanes.join(waiter.lane, waiter)

    @property
    def may_be_split(self) -> bool:
        """Whether the call has ended, and the check of its last member where there is one."""
        call, check = self.call, self.last_check
        if call is None or not call.done:
            return False
        return check is None or check.done or call.outcome is not Outcome.REPLIED

    def is_refuted(self, last: Response | None) -> bool:
        """Return whether the check of the last member has another response than the call.

        Args:
            last: the response of the call to its last member; None if it has none.
        """
        own = None if self.last_check is None else self.last_check.value
        return last is not None and own is not None and not answers_agree(last, own)

    @property
    def has_waiters(self) -> bool:
        """Whether any member still has a waiter."""
        return any(member.waiters for member in self.members)

    @property
    def deadline(self) -> float:
        """The latest deadline of all waiters, on Trio's clock; infinity without waiters."""
        return max((member.deadline for member in self.members if member.waiters), default=inf)

    def charge_failure(self, error: CallFailed) -> None:
        """Charge the failed call to its first member.

        Args:
            error: why the call failed.
        """
        first = self.members[0]
        first.spent = first.spent.plus_failure(error)
        # A refused list contains a bad text or exceeds a limit: this says nothing about other
        # lists. A refused pack may mean that the model cannot process packs at all, unless one of
        # its items was refused for its content: that one is found by halves.
        strategy = self.group.strategy
        is_packed = strategy.check_share > 0 or strategy.form_tokens(self.request) is not None
        is_refused = isinstance(error, BadRequest) and not isinstance(error, ContentFiltered)
        if (is_packed and is_refused) or isinstance(error, MalformedResponse):
            self.group.agreement.count(0, len(self.members))

    @property
    def context(self) -> CallContext:
        """The context of the call: that of the first member, which names all others."""
        first, *others = (
            waiter.message.context for member in self.members for waiter in member.waiters[:1]
        )
        return attrs.evolve(
            first,
            call=f"{first.call}+{len(others)}",
            shared_by=(first, *others),
            shared_as=self.group.strategy.name,
        )


def error_of(call: ReplySlot[Response]) -> Exception:
    """Return why a call has no response; a cancelled call has no error of its own."""
    return call.error or AskFailed("the next stage", call.verdict, "gave the call up")


def follow_waiters(call: ReplySlot[Response], members: Sequence[BatchMember]) -> None:
    """Apply what the waiters did while the next stage had no room for the call."""
    waiters = [waiter for member in members for waiter in member.waiters]
    if not waiters:
        call.cancel()
    for waiter in waiters:
        call.postpone(waiter.slot.deadline)
