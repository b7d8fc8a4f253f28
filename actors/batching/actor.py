"""Gathers requests that can share a call, and lets identical ones share an answer."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import partial

import attrs
import trio

from ...runtime import (
    Actor,
    ActorStopped,
    AskFailed,
    Message,
    Outcome,
    Ref,
    ReplySlot,
    defers,
    handles,
)
from ..call_plan import SharedCall
from ..calls import Complete, Stream
from ..errors import BadRequest, CallFailed, MalformedAnswer, RequestTooLarge
from ..identity import sharing_key
from ..messages import Request, Response
from ..rate_limit import TokenEstimator
from ..vendors import BatchWeight
from .cost_shares import free_of_charge, join_pieces, share_out
from .former import Batch, BatchFormer, Batching, BatchWindow, Reason
from .members import (
    BatchingStatistics,
    BatchMember,
    BatchRecord,
    Combined,
    ExplainBatching,
    GetBatchingStatistics,
    Group,
    GroupKey,
    Spent,
    Waiter,
)
from .packing import Agreement, AgreementStatistics, answers_agree
from .strategy import BatchStrategy

__all__ = [
    "BatcherActor",
]


_MOST_GROUPS = 1000  # to remember; each knows how its members come, and whether to trust it
_CONCERNS_ONE = (BadRequest, RequestTooLarge, MalformedAnswer)
"""Errors of a call with several members that a part of them may not have."""
_NOT_FOUND = 404  # there is no such model, which concerns everybody
_MOST_RECORDS = 100


@attrs.frozen
class _GroupDue(Message[None]):
    """It is time to look at a group."""

    group: Group


@attrs.frozen
class _Ended(Message[None]):
    """A call for several members has ended."""

    combined: Combined


class BatcherActor(Actor):
    """Makes fewer calls of the same requests, each member for itself (L5).

    Requests that are declared cacheable and are identical share one call while it is under way.
    Others share a call if a strategy knows how: these, and only these, wait for each other, for as
    long as that pays. Everything else goes on at once.

    A member whose asker has gone leaves its batch before it is sent; a call is cancelled when the
    last of those who wait for it has gone. Each keeps a deadline of its own; the call has the
    latest of them. What a call took is split among its members, to the token.

    Args:
        to: where the calls go next.
        batching: when a batch goes.
        strategies: how several requests become one call, tried in this order.
        patient_to: where requests with a deadline go next; None for where all go.
    """

    def __init__(
        self,
        to: Ref,
        batching: Batching | None = None,
        strategies: Iterable[BatchStrategy] = (),
        patient_to: Ref | None = None,
    ) -> None:
        self._to = to
        self._patient_to = patient_to or to
        self._batching = batching or Batching()
        self._strategies = tuple(strategies)
        self._groups: dict[GroupKey, Group] = {}
        self._parts: dict[str, BatchMember] = {}  # {sharing key: what is under way}
        self._calls: set[ReplySlot[Response]] = set()
        self._estimator = TokenEstimator()
        self._reasons: Counter[Reason] = Counter()
        self._latest: deque[BatchRecord] = deque(maxlen=_MOST_RECORDS)
        self._combined = self._joined = 0
        self._is_over = False

    @defers(Complete)
    async def gather(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Take one request in."""
        seat = Waiter(message, slot)
        key = sharing_key(message.request)
        if key is not None and self._join(key, seat):
            return
        group = self._group_for(message)
        if group is None:
            if key is None:
                await slot.forward(self._next(message), message)
            else:
                await self._send_alone(self._new_part(message.request, key, seat))
            return
        pieces = group.strategy.pieces(message.request, partial(self._weigh, message.request.model))
        if len(pieces) == 1:
            self._add(group, self._new_part(message.request, key, seat))
        else:
            self._add_pieces(group, pieces, seat)
        await self._send_due(group)

    @defers(Stream)
    async def pass_on(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Hand on at once a call whose asker wants to see it being written."""
        await slot.forward(self._to, message)

    @handles(_GroupDue)
    async def due(self, message: _GroupDue) -> None:
        """Send what is due."""
        message.group.timer = None
        await self._send_due(message.group)

    @handles(_Ended)
    async def ended(self, message: _Ended) -> None:
        """Give each member its own."""
        await self._split(message.combined)

    @handles(GetBatchingStatistics, urgent=True)
    async def count(self, message: GetBatchingStatistics) -> BatchingStatistics:  # noqa: ARG002  # it only asks
        """Say what was done."""
        trust: dict[str, tuple[AgreementStatistics, ...]] = {}
        for group in self._groups.values():
            name = group.strategy.name
            trust[name] = (*trust.get(name, ()), group.trust.statistics())
        return BatchingStatistics(
            batches=dict(self._reasons),
            latest=tuple(self._latest),
            combined=self._combined,
            waiting=sum(len(group.former) for group in self._groups.values()),
            joined=self._joined,
            trust=trust,
        )

    @handles(ExplainBatching, urgent=True)
    async def explain(self, message: ExplainBatching) -> SharedCall:
        """Say with whom a request would share a call."""
        request = message.request
        key = sharing_key(request)
        part = None if key is None else self._parts.get(key)
        if part is not None and (part.request.deadline is None or request.deadline is not None):
            return SharedCall(is_joined=True)
        found = self._group_key(request, message.lane)
        group = None if found is None else self._groups.get(found[0])
        if group is None or not len(group.former) or not group.trust.is_trusted:
            return SharedCall()
        members = len(group.former) + 1
        alone = self._estimator.estimate(request).input_tokens
        together = self._estimator.estimate(group.strategy.combine([request] * members))
        share = together.input_tokens / (members * alone)
        return SharedCall(strategy=group.strategy.name, members=members, share=share)

    async def draining(self) -> None:
        """Send what is left: nothing more will come."""
        for group in list(self._groups.values()):
            await self._send_due(group, draining=True)

    async def stopped(self) -> None:
        """Pay for nothing that nobody will be told."""
        self._is_over = True
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()

    def _next(self, message: Complete) -> Ref:
        return self._to if message.request.deadline is None else self._patient_to

    # ---------------------------------------------------------------- who shares with whom

    def _join(self, key: str, seat: Waiter) -> bool:
        part = self._parts.get(key)
        if part is None or not part.may_join(seat):
            return False
        self._joined += 1
        self._sit_down(part, seat)
        combined = None if part.combined is None else part.combined.call
        for call in (part.call, part.check, combined):
            if call is not None:
                call.postpone(seat.slot.deadline)
        return True

    def _new_part(self, request: Request, key: str | None, seat: Waiter) -> BatchMember:
        part = BatchMember(request, key, [])
        if key is not None:
            self._parts[key] = part
        self._sit_down(part, seat)
        return part

    def _sit_down(self, part: BatchMember, seat: Waiter) -> None:
        part.seats.append(seat)
        seat.slot.on_settled(lambda _: self._leave(part, seat))

    def _leave(self, part: BatchMember, seat: Waiter) -> None:
        if seat not in part.seats:
            return  # it was answered, and with it everybody
        part.seats.remove(seat)
        if part.seats:
            return
        self._forget(part)
        if part.group is not None:
            part.group.former.discard(part)
        for call in (part.call, part.check):
            if call is not None:
                call.cancel()  # nobody waits for it any more: stop paying for it
        combined = part.combined
        if combined is not None and combined.call is not None and not combined.has_askers:
            combined.call.cancel()

    def _forget(self, part: BatchMember) -> None:
        if part.key is not None and self._parts.get(part.key) is part:
            del self._parts[part.key]

    def _group_key(self, request: Request, lane: str) -> tuple[GroupKey, BatchStrategy] | None:
        """With whom a request may share a call: never with those of another lane."""
        for number, strategy in enumerate(self._strategies):
            common = strategy.key(request)
            if common is not None:
                return (number, common, lane, request.deadline is not None), strategy
        return None

    def _group_for(self, message: Complete) -> Group | None:
        found = self._group_key(message.request, message.context.lane)
        if found is None:
            return None
        key, strategy = found
        group = self._groups.pop(key, None)
        if group is None:
            group = self._new_group(strategy)
        self._groups[key] = group  # the latest is the last
        return group if group.trust.is_trusted else None

    def _new_group(self, strategy: BatchStrategy) -> Group:
        if len(self._groups) >= _MOST_GROUPS:
            idle = next((key for key, it in self._groups.items() if not len(it.former)), None)
            if idle is not None:
                del self._groups[idle]
        window = BatchWindow(self._batching.max_wait_s)
        former = BatchFormer[BatchMember](strategy.bounds.within(self._batching), window)
        return Group(strategy, former, window, Agreement(strategy.least_agreement))

    # ---------------------------------------------------------------- gathering

    def _weigh(self, model: str, text: str) -> BatchWeight:
        size = len(text.encode("utf-8", "surrogatepass"))
        return BatchWeight(1, self._estimator.tokens(model, text), size)

    def _add(self, group: Group, part: BatchMember) -> None:
        request, part.group = part.request, group
        weight = BatchWeight()
        for text in group.strategy.texts(request):
            weight = weight.plus(self._weigh(request.model, text))
        patience_s = self._batching.patience_s(request.deadline)
        group.former.add(part, trio.current_time(), weight, patience_s)

    def _add_pieces(self, group: Group, pieces: Sequence[Request], seat: Waiter) -> None:
        """Gather the pieces of a request that is too large for one call."""
        whole, request = seat.slot, seat.message.request
        answers: dict[int, Response] = {}

        def settled(place: int, slot: ReplySlot[Response]) -> None:
            if slot.outcome is Outcome.REPLIED and slot.value is not None:
                answers[place] = slot.value
                if len(answers) == len(pieces):
                    ordered = [answers[at] for at in range(len(pieces))]
                    whole.reply(join_pieces(group.strategy, request, ordered))
            elif slot.error is not None:
                whole.fail(slot.error)

        for place, piece in enumerate(pieces):
            own: ReplySlot[Response] = ReplySlot()
            own.deadline = whole.deadline
            own.on_settled(partial(settled, place))
            whole.on_settled(lambda _, own=own: own.cancel())  # type: ignore[misc]  # bound here
            self._add(group, self._new_part(piece, None, Waiter(seat.message, own)))

    async def _send_due(self, group: Group, *, draining: bool = False) -> None:
        while True:
            has_mail = self.ref.load > 1  # besides what is in hand
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

    async def _send(self, group: Group, parts: Sequence[BatchMember]) -> None:
        """Send parts together, or one by one if that is not to be trusted."""
        parts = [part for part in parts if part.seats]
        if len(parts) > 1 and group.trust.is_trusted:
            await self._send_combined(group, parts)
            return
        for part in parts:
            await self._send_alone(part)

    async def _send_again(self, group: Group, parts: Sequence[BatchMember]) -> None:
        """By halves, so that what is at fault is alone at last."""
        middle = len(parts) // 2
        for half in (parts[:middle], parts[middle:]):
            await self._send(group, half)

    # ---------------------------------------------------------------- alone

    async def _send_alone(self, part: BatchMember) -> None:
        if not part.seats:
            return
        seat = part.seats[0]
        message = attrs.evolve(seat.message, request=part.request)
        if part.is_new:
            if part.group is not None:
                seat.slot.on_settled(partial(self._learn, part.group.window, trio.current_time()))
            await seat.slot.forward(self._next(message), message)  # the answer goes straight back
            return
        call = await self._submit(message, part.deadline, (part,))
        if call is None:
            return
        part.call = call
        self._watch(call, (part,))
        call.on_settled(lambda call: self._answered_alone(part, call))

    @staticmethod
    def _learn(window: BatchWindow, sent_at: float, slot: ReplySlot[Response]) -> None:
        if slot.outcome is Outcome.REPLIED:
            window.served(trio.current_time() - sent_at)

    def _answered_alone(self, part: BatchMember, call: ReplySlot[Response]) -> None:
        if call.outcome is Outcome.REPLIED and call.value is not None:
            self._answer(part, part.spent.on(call.value))
        else:
            self._fail(part, _error_of(call))

    async def _submit(
        self, message: Complete, deadline: float, parts: Sequence[BatchMember]
    ) -> ReplySlot[Response] | None:
        try:
            call = await self._next(message).submit(message, deadline=deadline)
        except ActorStopped as error:
            for part in parts:
                self._fail(part, error)
            return None
        self._calls.add(call)
        call.on_settled(self._calls.discard)
        return call

    @staticmethod
    def _watch(call: ReplySlot[Response], parts: Sequence[BatchMember]) -> None:
        """Some may have left, or come, while there was no room."""
        seats = [seat for part in parts for seat in part.seats]
        if not seats:
            call.cancel()
        for seat in seats:
            call.postpone(seat.slot.deadline)

    # ---------------------------------------------------------------- together

    async def _send_combined(self, group: Group, parts: Sequence[BatchMember]) -> None:
        now = trio.current_time()
        request = group.strategy.combine([part.request for part in parts])
        deadline = request.deadline
        if deadline is not None:  # as long as the least patient can wait
            left_s = min(seat.slot.deadline for part in parts for seat in part.seats) - now
            deadline = max(0.001, left_s)
        request = attrs.evolve(request, cacheable=False, deadline=deadline)
        combined = Combined(group, parts, request)
        for part in parts:
            part.combined, part.check, part.packed, part.is_split = combined, None, None, False
        message = Complete(request, combined.context)
        call = await self._submit(message, combined.deadline, parts)
        if call is None:
            return
        combined.call = call
        self._combined += 1
        self._watch(call, parts)
        call.on_settled(lambda _: self._has_ended(combined))
        await self._check_some(group, parts)

    def _has_ended(self, combined: Combined) -> None:
        if not self._is_over:
            self.send_at(trio.current_time(), _Ended(combined))

    async def _check_some(self, group: Group, parts: Sequence[BatchMember]) -> None:
        """Ask some of them alone as well."""
        share = group.strategy.check_share
        for part in parts if share else ():
            if not part.seats or self.random.random() >= share:
                continue
            message = attrs.evolve(part.seats[0].message, request=part.request)
            call = await self._submit(message, part.deadline, ())
            if call is None:
                return
            part.check = call
            self._watch(call, (part,))
            call.on_settled(lambda _, part=part: self._conclude(part))  # type: ignore[misc]  # bound here

    async def _split(self, combined: Combined) -> None:
        call, group = combined.call, combined.group
        if call is None:
            return
        if call.outcome is Outcome.REPLIED and call.value is not None:
            missing = self._hand_out(combined, call.value)
        elif isinstance(call.error, _CONCERNS_ONE) and call.error.status != _NOT_FOUND:
            self._note_failure(combined, call.error)
            missing = list(combined.parts)
        else:
            missing = []
            for part in combined.parts:
                self._go_by_check(part, _error_of(call))
        waiting = [part for part in missing if part.check is None]
        for part in missing:
            self._go_by_check(part, None)
        await self._send_again(group, waiting)

    def _hand_out(self, combined: Combined, response: Response) -> list[BatchMember]:
        """Give each part its share of what was answered and spent; returns those without answer."""
        group, parts = combined.group, combined.parts
        strategy = group.strategy
        group.window.served(response.seconds)
        self._estimator.learn(
            combined.request, self._estimator.estimate(combined.request), response.usage
        )
        found = strategy.split([part.request for part in parts], response)
        shares = share_out(strategy, parts, found, response)
        missing: list[BatchMember] = []
        for part, answer, share in zip(parts, found, shares, strict=True):
            if answer is None:
                part.spent = part.spent.plus(share)
                missing.append(part)
                continue
            part.packed = attrs.evolve(
                share,
                text=answer.text,
                finish_reason=answer.finish_reason,
                choices=answer.choices,
                embeddings=answer.embeddings,
                body=None if answer.body is response.body else answer.body,  # the whole call's
            )
            part.is_split = True
            self._conclude(part)
        group.trust.count(len(parts) - len(missing), len(missing))
        return missing

    @staticmethod
    def _note_failure(combined: Combined, error: CallFailed) -> None:
        """The first bears what a call took that answered nobody."""
        first = combined.parts[0]
        maybe = error.attempts if error.billed == "maybe" else 0
        spent = Spent(http_requests=error.attempts, maybe_billed=maybe)
        first.spent = attrs.evolve(
            first.spent,
            http_requests=first.spent.http_requests + spent.http_requests,
            maybe_billed=first.spent.maybe_billed + spent.maybe_billed,
        )
        # A list that is refused has a bad text in it, or is too large for a limit: its halves are
        # as good as ever. A pack may be what the model does not take at all.
        is_packed = combined.group.strategy.check_share > 0 and isinstance(error, BadRequest)
        if is_packed or isinstance(error, MalformedAnswer):
            combined.group.trust.count(0, len(combined.parts))

    def _go_by_check(self, part: BatchMember, error: Exception | None) -> None:
        """The shared call has no answer for it: that of its own counts, if there is one."""
        part.is_split = True
        if part.check is not None:
            self._conclude(part)
        elif error is not None:
            self._fail(part, error)

    def _conclude(self, part: BatchMember) -> None:
        """Answer a part, when all is known that is asked for it."""
        check, packed = part.check, part.packed
        if not part.is_split or (check is not None and not check.done):
            return
        own = part.own_answer()
        if packed is not None and own is not None and part.combined is not None:
            part.combined.group.trust.check(agrees=answers_agree(packed, own))
        if own is not None:
            spent = part.spent if packed is None else part.spent.plus(packed)
            self._answer(part, spent.on(own))
        elif packed is not None:
            self._answer(part, part.spent.on(packed))
        elif check is not None:
            self._fail(part, _error_of(check))

    # ---------------------------------------------------------------- the end of a part

    def _answer(self, part: BatchMember, response: Response) -> None:
        """Answer everybody who waits for it; the first bears what it took."""
        self._forget(part)
        seats, part.seats = part.seats, []
        for place, seat in enumerate(seats):
            seat.slot.reply(response if place == 0 else free_of_charge(response))
        part.let_go()

    def _fail(self, part: BatchMember, error: Exception) -> None:
        self._forget(part)
        seats, part.seats = part.seats, []
        for seat in seats:
            seat.slot.fail(error)
        part.let_go()


def _error_of(call: ReplySlot[Response]) -> Exception:
    """Why a call has no answer; whoever gave it up left no reason."""
    return call.error or AskFailed("the next stage", call.verdict, "gave the call up")
