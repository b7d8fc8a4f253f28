"""The batcher: combines requests into fewer calls, and sends identical requests once."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import attrs
import trio

from ...runtime import (
    Actor,
    ActorStopped,
    Message,
    Outcome,
    Ref,
    ReplySlot,
    defers,
    handles,
    on_behalf_of,
)
from ..call_plan import SharedCall
from ..calls import Complete, Stream
from ..errors import BadRequest, BudgetExceeded, MalformedResponse, RequestTooLarge
from ..events import Observer, ignore
from ..identity import sharing_key
from ..messages import Request
from ..rate_limit import TokenEstimator
from ..responses import Response
from ..vendors import BatchWeight, PriceBook
from .agreement import Agreements
from .combined_cost import CombinedCost
from .cost_shares import share_out
from .former import Batch, Batching, BatchWindow, Reason
from .groups import Groups, explain_sharing
from .members import (
    BatchMember,
    BudgetHolder,
    Combined,
    Group,
    Waiter,
    error_of,
    follow_waiters,
)
from .pieces import waiters_of_pieces
from .reporting import SharingEvents
from .single_flight import SingleFlight
from .statistics import BatchingStatistics, BatchRecord, ExplainBatching, GetBatchingStatistics
from .strategy import BatchStrategy

_CONCERNS_ONE = (BadRequest, RequestTooLarge, MalformedResponse)
"""Errors of a combined call that may be caused by some of its members only."""
_NOT_FOUND = 404  # the model does not exist: this concerns all members
_MAX_RECORDS = 100
_LEAST_DEADLINE_S = 0.001  # a deadline must be above 0


@attrs.frozen
class _GroupDue(Message[None]):
    """A batch of the group may be due."""

    group: Group


@attrs.frozen
class _CombinedEnded(Message[None]):
    """A combined call has ended."""

    combined: Combined


@attrs.frozen
class _OthersPay(Message[None]):
    """The budget of one caller has refused the call of a member that others wait for."""

    member: BatchMember


class BatcherActor(Actor):
    """Combines requests into fewer calls; each member keeps its own result (L5).

    Identical requests that are declared cacheable share one call while it is under way. Other
    requests share a call if a strategy can combine them: only these wait for each other, and only
    while waiting pays. Every other request is forwarded at once.

    A member whose callers have gone leaves its batch before the batch is sent. A call is cancelled
    when none of its callers is left. Each caller keeps its own deadline; a call has the latest of
    them. The caller that came first pays for a shared call. If a budget of that caller refuses it,
    the next one that has other budgets pays. Usage and cost of a call are divided among its members
    exactly.

    Args:
        to: the next stage.
        batching: when a batch is sent; by default `Batching()`.
        strategies: ways to combine requests, tried in this order.
        patient_to: the next stage for requests with a deadline; None sends them to `to` as well.
        prices: prices of models, from which it estimates whether a combined call is cheaper; None
            if they are not known.
        agreements: remembers across restarts which requests are not combined any more.
        beginning_share: what prompts that begin alike cost, as for `CombinedCost`.
        observer: receives an event for each call that joins another one, and for the start and the
            end of each combined call.
    """

    def __init__(
        self,
        to: Ref,
        batching: Batching | None = None,
        strategies: Iterable[BatchStrategy] = (),
        patient_to: Ref | None = None,
        *,
        prices: PriceBook | None = None,
        agreements: Agreements | None = None,
        beginning_share: Callable[[Request, int], float] | None = None,
        observer: Observer = ignore,
    ) -> None:
        self._to = to
        self._patient_to = patient_to or to
        self._batching = batching or Batching()
        self._single_flight = SingleFlight()
        self._calls: set[ReplySlot[Response]] = set()
        self._estimator = TokenEstimator()
        self._groups = Groups(
            self._batching,
            strategies,
            lambda strategy, checks: CombinedCost(
                strategy, checks, self._estimator, prices, beginning_share
            ),
            agreements,
        )
        self._reasons: Counter[Reason] = Counter()
        self._latest: deque[BatchRecord] = deque(maxlen=_MAX_RECORDS)
        self._combined = 0
        self._is_stopped = False
        self._events = SharingEvents(observer)

    @defers(Complete)
    async def accept(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Join a request to a call under way, add it to a batch, or forward it."""
        request, context = message.request, message.context
        key = sharing_key(request) if context.allows("join") else None
        if key is not None and self._single_flight.join(key, Waiter(message, slot)):
            self._events.joined(self._single_flight.find(key), message)
            return
        can_list = context.allows("lists")
        group = self._groups.use(request, context.lane, context.payer) if can_list else None
        is_alone = group is None or group.cost.full_share(request) >= 1
        if is_alone and key is None:
            await slot.forward(self._next(message), message)
            return
        waiter = Waiter(message, slot)
        if group is None or is_alone:
            await self._send_alone(self._single_flight.start(request, key, waiter))
            return
        pieces = group.strategy.pieces(request, partial(self._weigh, request.model))
        if len(pieces) == 1:
            self._add(group, self._single_flight.start(request, key, waiter))
        else:
            self._add_pieces(group, pieces, waiter)
        await self._send_due(group)

    @defers(Stream)
    async def forward_stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Forward a streamed call at once."""
        await slot.forward(self._to, message)

    @handles(_GroupDue)
    async def group_due(self, message: _GroupDue) -> None:
        """Send the batches of a group that are due."""
        message.group.timer = None
        await self._send_due(message.group)

    @handles(_CombinedEnded)
    async def combined_ended(self, message: _CombinedEnded) -> None:
        """Give each member of a combined call its share of the result."""
        await self._split(message.combined)

    @handles(_OthersPay)
    async def others_pay(self, message: _OthersPay) -> None:
        """Send a member again, for a caller that has other budgets."""
        await self._send_alone(message.member)

    @handles(GetBatchingStatistics, urgent=True)
    async def statistics(self, message: GetBatchingStatistics) -> BatchingStatistics:  # noqa: ARG002  # it has no fields
        """Return the counters."""
        return BatchingStatistics(
            batches=dict(self._reasons),
            latest=tuple(self._latest),
            combined=self._combined,
            waiting=sum(len(group.former) for group in self._groups),
            joined=self._single_flight.joined,
            agreement=self._groups.agreement(),
        )

    @handles(ExplainBatching, urgent=True)
    async def explain(self, message: ExplainBatching) -> SharedCall:
        """Return which call a request would share."""
        request = message.request
        member = self._single_flight.find(sharing_key(request))
        if member is not None and (member.request.deadline is None or request.deadline is not None):
            return SharedCall(is_joined=True)
        group = self._groups.find(request, message.lane)
        return SharedCall() if group is None else explain_sharing(group, request)

    async def draining(self) -> None:
        """Send all batches: no further member will arrive."""
        for group in self._groups:
            await self._send_due(group, draining=True)

    async def stopped(self) -> None:
        """Cancel all calls: their responses could not be delivered."""
        self._is_stopped = True
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()

    def _next(self, message: Complete) -> Ref:
        return self._to if message.request.deadline is None else self._patient_to

    # ---------------------------------------------------------------- collecting members

    def _weigh(self, model: str, text: str) -> BatchWeight:
        size = len(text.encode("utf-8", "surrogatepass"))
        return BatchWeight(1, self._estimator.tokens(model, text), size)

    def _add(self, group: Group, member: BatchMember) -> None:
        request, member.group = member.request, group
        weight = BatchWeight()
        for text in group.strategy.texts(request):
            weight = weight.plus(self._weigh(request.model, text))
        patience_s = self._batching.patience_s(request.deadline)
        least_s = min(waiter.message.context.patience_s for waiter in member.waiters)
        if least_s < (self._batching.max_wait_s if patience_s is None else patience_s):
            patience_s = least_s
        group.former.add(member, trio.current_time(), weight, patience_s)

    def _add_pieces(self, group: Group, pieces: Sequence[Request], waiter: Waiter) -> None:
        """Add a request that is too large for one call as several members."""
        waiters = waiters_of_pieces(group.strategy, len(pieces), waiter)
        for piece, own in zip(pieces, waiters, strict=True):
            self._add(group, self._single_flight.start(piece, None, own))

    async def _send_due(self, group: Group, *, draining: bool = False) -> None:
        while True:
            has_mail = self.ref.load > 1  # besides the message that is being handled
            now = trio.current_time()
            batch = group.former.take(now, draining=draining, has_mail=has_mail)
            if batch is None:
                break
            await self._send_batch(group, batch)
        due_at = group.former.due_at
        timer = group.timer
        if timer is not None and (due_at < timer.when or not len(group.former)):
            timer.cancel()
            timer = group.timer = None
        if timer is None and len(group.former):
            group.timer = self.send_at(due_at, _GroupDue(group))

    async def _send_batch(self, group: Group, batch: Batch[BatchMember]) -> None:
        self._reasons[batch.reason] += 1
        name = group.strategy.name
        self._latest.append(BatchRecord(name, batch.weight, batch.reason, batch.waited_s))
        await self._send(group, batch.members)

    async def _send(self, group: Group, members: Sequence[BatchMember]) -> None:
        """Send members in one call, or alone if that is cheaper or its responses do not agree."""
        members = [member for member in members if member.waiters]
        may_combine = len(members) > 1 and group.agreement.is_trusted
        if may_combine and group.cost.share([member.request for member in members]) < 1:
            await self._send_combined(group, members)
            return
        for member in members:
            await self._send_alone(member)

    async def _send_halves(self, group: Group, members: Sequence[BatchMember]) -> None:
        """Send members again in two halves, so that the one at fault ends up alone."""
        middle = len(members) // 2
        for half in (members[:middle], members[middle:]):
            await self._send(group, half)

    # ---------------------------------------------------------------- calls for one member

    async def _send_alone(self, member: BatchMember) -> None:
        if not member.waiters:
            return
        first = member.waiters[0]
        may_ask_again = first.message.may_ask_again and not member.is_second
        message = attrs.evolve(
            first.message,
            request=member.request,
            may_ask_again=may_ask_again,
            lanes=None if member.is_new else member.lanes,
        )
        if member.is_new:
            if member.group is not None:
                window = member.group.window
                first.slot.on_settled(partial(self._learn, window, trio.current_time()))
            await first.slot.forward(self._next(message), message)  # the reply skips this stage
            return
        call = await self._submit(message, member.deadline, (member,))
        if call is None:
            return
        member.call = call
        follow_waiters(call, (member,))
        call.on_settled(lambda call: self._single_ended(member, call, first.payer))

    @staticmethod
    def _learn(window: BatchWindow, sent_at: float, slot: ReplySlot[Response]) -> None:
        if slot.outcome is Outcome.REPLIED:
            window.served(trio.current_time() - sent_at)

    def _single_ended(
        self, member: BatchMember, call: ReplySlot[Response], payer: BudgetHolder
    ) -> None:
        if call.outcome is Outcome.REPLIED and call.value is not None:
            self._single_flight.reply(member, member.spent.on(call.value))
        elif isinstance(call.error, BudgetExceeded) and not self._is_stopped:
            if self._single_flight.refuse(member, call.error, payer):
                self.send_at(trio.current_time(), _OthersPay(member))
        else:
            self._single_flight.fail(member, error_of(call))

    async def _submit(
        self,
        message: Complete,
        deadline: float,
        members: Sequence[BatchMember],
        *,
        is_check: bool = False,
    ) -> ReplySlot[Response] | None:
        """Submit a call for members; None, and they fail unless it is a check, if that fails."""
        slots = [waiter.slot for member in members for waiter in member.waiters]
        try:
            with on_behalf_of(slots):
                call = await self._next(message).submit(message, deadline=deadline)
        except ActorStopped as error:
            for member in members if not is_check else ():
                self._single_flight.fail(member, error)
            return None
        for slot in slots:
            slot.start(call)
        self._calls.add(call)
        call.on_settled(self._calls.discard)
        return call

    # ---------------------------------------------------------------- combined calls

    async def _send_combined(self, group: Group, members: Sequence[BatchMember]) -> None:
        now = trio.current_time()
        request = group.strategy.combine([member.request for member in members])
        deadline = request.deadline
        if deadline is not None:  # the call can wait as long as its least patient member
            slots = [waiter.slot for member in members for waiter in member.waiters]
            deadline = max(_LEAST_DEADLINE_S, min(slot.deadline for slot in slots) - now)
        request = attrs.evolve(request, cacheable=False, deadline=deadline)
        payers = frozenset(member.waiters[0].payer for member in members)
        combined = Combined(group, members, request, payers)
        for member in members:
            member.combined, member.check = combined, None
            member.combined_response, member.is_split = None, False
        # What cannot be read is asked for once more, but each member alone (L11).
        message = Complete(request, combined.context, may_ask_again=False, lanes=combined.lanes)
        self._events.combined(message)
        call = await self._submit(message, combined.deadline, members)
        self._events.split(message, call)
        if call is None:
            return
        combined.call = call
        self._combined += 1
        follow_waiters(call, members)
        call.on_settled(lambda _: self._schedule_split(combined))
        await self._check_some(combined)

    def _schedule_split(self, combined: Combined) -> None:
        if not self._is_stopped:
            self.send_at(trio.current_time(), _CombinedEnded(combined))

    async def _check_some(self, combined: Combined) -> None:
        """Send some of the members alone as well, to compare the responses."""
        checks, members = combined.group.agreement.checks, combined.members
        must_check_last = checks.must_check_last
        for position in checks.choose(len(members), self.random):
            member = members[position]
            if not member.waiters:
                checks.without_result()
                continue
            first = member.waiters[0].message
            message = attrs.evolve(first, request=member.request, lanes=member.lanes)
            call = await self._submit(message, member.deadline, (member,), is_check=True)
            if call is None:
                return
            member.check = call
            follow_waiters(call, (member,))
            call.on_settled(lambda _, member=member: self._single_flight.conclude(member))  # type: ignore[misc]  # bound here
            if must_check_last and position == len(members) - 1:
                combined.last_check = call
                call.on_settled(lambda _: self._schedule_split(combined))

    async def _split(self, combined: Combined) -> None:
        call, group = combined.call, combined.group
        if call is None or not combined.may_be_split:
            return
        combined.call = None  # it is split once
        is_paid = False
        if call.outcome is Outcome.REPLIED and call.value is not None:
            missing, is_paid = self._distribute(combined, call.value), True
        elif isinstance(call.error, _CONCERNS_ONE) and call.error.status != _NOT_FOUND:
            combined.charge_failure(call.error)
            missing, is_paid = list(combined.members), isinstance(call.error, MalformedResponse)
        elif isinstance(call.error, BudgetExceeded) and call.error.billed == "no":
            missing = self._refused(combined, call.error)
        else:
            missing = []
            for member in combined.members:
                self._single_flight.use_check(member, error_of(call))
        unchecked = [member for member in missing if member.check is None]
        for member in missing:
            self._single_flight.use_check(member, None)
        if is_paid:
            for member in unchecked:
                member.is_second = True
                await self._send_alone(member)
        else:
            await self._send_halves(group, unchecked)

    def _refused(self, combined: Combined, error: BudgetExceeded) -> list[BatchMember]:
        """Return the members that the budget may have room for without the others."""
        members, (payer, *_) = combined.members, combined.payers
        if len(members) > 1:
            return list(members)
        refuse = self._single_flight.refuse
        return [member for member in members if member.check or refuse(member, error, payer)]

    def _distribute(self, combined: Combined, response: Response) -> list[BatchMember]:
        """Give each member its share of a response; return the members that have none."""
        group, members = combined.group, combined.members
        strategy = group.strategy
        group.window.served(response.seconds)
        group.cost.learn(combined.request, len(members), response.usage)
        found = strategy.split([member.request for member in members], response)
        if is_refuted := combined.is_refuted(found[-1]):
            group.agreement.check(agrees=False)
            found = [None] * len(members)
        shares = share_out(strategy, members, found, response)
        missing: list[BatchMember] = []
        for member, own, share in zip(members, found, shares, strict=True):
            if own is None:
                member.spent = member.spent.plus(share)
                missing.append(member)
                continue
            member.take_share(own, share)
            self._single_flight.conclude(member)
        if not is_refuted:
            group.agreement.count(len(members) - len(missing), len(missing))
        return missing
