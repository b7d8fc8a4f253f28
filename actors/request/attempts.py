"""One call: its attempts, over the targets there are, paid from one budget (L2).

The wait between two attempts of a call.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import final

import attrs
import trio

from ...runtime import ActorCrashed, AskFailed, AskTimedOut
from ..calls import CallAccount, Complete, Stream
from ..errors import (
    BudgetExceeded,
    CallFailed,
    ConnectionFailed,
    LedgerUnavailable,
    ProviderUnavailable,
)
from ..events import CallEvent, Stage, ignore
from ..ledger import asked_tier
from ..messages import Delta, Request, Response, Usage
from ..permit import Permit
from ..vendors import tier_named
from .breaker import Ticket, is_outage
from .context import RequestContext, TargetContext
from .exchange import Exchanged, Prepared
from .failures import AttemptFailed
from .fallback import Target
from .hedging import race
from .retry import RetryDecision

__all__ = [
    "Attempts",
    "renew",
]


async def renew(
    permit: Permit | None, refusal: AttemptFailed, *, until: float, deadline: Callable[[], float]
) -> None:
    """Wait until then, and for the limiter to let one more attempt through.

    Args:
        permit: the call's; without one nobody limits it.
        refusal: what the last attempt failed with.
        until: on Trio's clock.
        deadline: of the call, on the same; it may be moved meanwhile (R4).

    Raises:
        Refusal: there is no other attempt. Its error is that of the last one, and says why.
    """
    error = refusal.error
    if permit is None:
        await trio.sleep_until(until)
    while permit is not None:
        delay = max(0.0, until - trio.current_time())
        try:
            await permit.renew(delay=delay, throttled=refusal.throttled)
            break
        except AskTimedOut:
            if deadline() <= trio.current_time():  # else it was postponed
                raise AttemptFailed(error.but("the deadline has passed")) from None
        except ActorCrashed:
            pass  # what waited there was not started; its next incarnation takes it up
        except AskFailed as stopped:
            text = f"there is no other attempt, because {stopped}"
            raise AttemptFailed(error.but(text)) from None


_KEEPS_STATE = ("store", "background")  # members of a body that make an answer more than an answer


@final
class Attempts:
    """The attempts of one call; `run` once.

    Args:
        shared: what it has in common with other calls.
        message: what is asked, and for whom.
        deadline: by when, on Trio's clock; it may be moved meanwhile (R4).
        deliver: is given each piece of the answer, if somebody wants them.
    """

    __slots__ = (
        "_budget",
        "_deadline",
        "_deliver",
        "_has_delivered",
        "_key",
        "_maybe_billed",
        "_message",
        "_sent",
        "_shared",
    )

    def __init__(
        self,
        shared: RequestContext,
        message: Complete | Stream,
        *,
        deadline: Callable[[], float],
        deliver: Callable[[Delta], Awaitable[None]] | None = None,
    ) -> None:
        self._shared = shared
        self._message = message
        self._deadline = deadline
        self._deliver = deliver
        self._budget = shared.new_budget()
        self._key = message.request.idempotency_key or f"{shared.random.getrandbits(128):032x}"
        self._sent = 0
        self._maybe_billed = 0  # attempts that may have been charged for nothing (L3)
        self._has_delivered = False

    async def run(self) -> Response:
        """Make the call.

        Raises:
            CallFailed: there is no answer; the subclass says why.
        """
        try:
            return await self._run()
        except AttemptFailed as refusal:
            error, cause = refusal.error, refusal.__cause__
            may_repeat = not refusal.is_final and self._may_repeat(error)
        error.attempts, error.maybe_billed = self._sent, self._maybe_billed
        error.is_transient = may_repeat and error.billed == "no"
        if self._maybe_billed:  # one attempt that may have been is enough (L3)
            error.billed = "maybe"
        raise error from cause  # here, where no context comes along that may quote the key (L8)

    async def _run(self) -> Response:
        target = self._shared.fallback.first
        while True:
            line = self._shared.lines[target]
            ticket = line.gate.try_enter()
            if ticket is None:
                following = self._shared.fallback.after(target, "breaker_open", left_s=self._left_s)
                if following is not None:
                    target = following
                    continue
                ticket = await self._wait_to_enter(line)
            try:
                return await self._at(line, ticket)
            except AttemptFailed as refusal:
                following = self._next(target, refusal)
                if following is None:
                    raise
                self._tell("retrying", refusal.error)
                target = following

    def _next(self, target: Target, refusal: AttemptFailed) -> Target | None:
        """Where the call goes on, and pays for it; None if it ends here."""
        following = self._after(target, refusal)
        if following is None or not self._budget.take("fallback", trio.current_time()):
            return None
        return following

    def _after(self, target: Target, refusal: AttemptFailed) -> Target | None:
        """Where the call could go on."""
        if not self._may_repeat(refusal.error):
            return None
        return self._shared.fallback.after(
            target,
            type(refusal.error),
            attempts_left=self._budget.left,
            left_s=self._left_s,
        )

    @property
    def _left_s(self) -> float:
        return self._deadline() - trio.current_time()

    # ---------------------------------------------------------------- one target

    async def _at(self, line: TargetContext, first: Ticket) -> Response:
        """Try at one target, until there is an answer or no use in trying."""
        request = self._message.request
        if line.target.model is not None:
            request = attrs.evolve(request, model=line.target.model)
        try:
            prepared = self._prepare(line, request)
        except AttemptFailed:
            line.gate.abandon(first)
            raise
        ticket = first
        while True:
            try:
                exchanged = await self._answer(line, prepared, ticket)
            except AttemptFailed as refusal:
                line.is_whole |= refusal.wants_whole
                if refusal.wants_whole and self._budget.take("retry", trio.current_time()):
                    prepared = self._prepare(line, request)
                    self._tell("retrying", refusal.error)
                    await self._renew(refusal, trio.current_time())
                else:
                    self._go_elsewhere_if_shut(line, refusal)
                    await self._pause(line, refusal)
                    self._go_elsewhere_if_shut(line, refusal)  # others may have failed meanwhile
                ticket = await self._wait_to_enter(line, refusal.error)
            else:
                await self._deliver_whole(exchanged)
                return self._response(line, request, exchanged)

    def _prepare(self, line: TargetContext, request: Request) -> Prepared:
        streams = self._deliver is not None or self._shared.streams
        try:
            return line.exchange.prepare(request, stream=streams and not line.is_whole)
        except CallFailed as error:
            raise AttemptFailed(error, is_final=True) from None

    def _go_elsewhere_if_shut(self, line: TargetContext, refusal: AttemptFailed) -> None:
        """Nobody waits for an endpoint that is out, where another target can be asked.

        Raises:
            Refusal: the given one: it is so.
        """
        if line.gate.opens_at() > trio.current_time() and self._after(line.target, refusal):
            raise refusal

    async def _wait_to_enter(self, line: TargetContext, error: CallFailed | None = None) -> Ticket:
        """Pass the circuit breaker of an endpoint (R10).

        Args:
            line: the way there.
            error: what the last attempt failed with, if there was one.

        Raises:
            Refusal: it does not close before the deadline.
        """
        ticket = await line.gate.wait(self._deadline)
        if ticket is not None:
            return ticket
        why = "its circuit breaker stays open beyond the deadline"
        if error is not None:
            raise AttemptFailed(error.but(why), is_final=True)
        host = line.exchange.host
        text = f"{host} was not asked, because it keeps failing: {why}"
        raise AttemptFailed(ProviderUnavailable(text, attempts=self._sent), is_final=True)

    async def _answer(self, line: TargetContext, prepared: Prepared, ticket: Ticket) -> Exchanged:
        """One attempt, and perhaps a second copy of it while it is under way."""
        hedger = self._shared.hedger
        if hedger is None or self._deliver is not None:
            return await self._attempt(line, prepared, ticket)
        key = _hedge_key(line, prepared)
        after_s = hedger.begin(key)
        start = trio.current_time()
        if after_s is None:
            exchanged = await self._attempt(line, prepared, ticket)
        else:
            exchanged = await self._race(line, prepared, ticket, after_s)
        hedger.observe(key, trio.current_time() - start)
        return exchanged

    async def _race(
        self, line: TargetContext, prepared: Prepared, ticket: Ticket, after_s: float
    ) -> Exchanged:
        """The first answer of two copies, the second sent when the first is late."""

        async def let_through() -> bool:
            try:
                if self._message.permit is not None:
                    await self._message.permit.renew(delay=0.0, throttled=None)
            except AskFailed:
                return False  # it can be done without
            return True

        refused: list[AttemptFailed] = []

        async def make_first() -> Exchanged:
            try:
                return await self._attempt(line, prepared, ticket)
            except AttemptFailed as refusal:
                refused.append(refusal)
                raise

        def enter() -> Callable[[], Awaitable[Exchanged]] | None:
            second = line.gate.try_enter()
            return None if second is None else partial(self._attempt, line, prepared, second)

        try:
            return await race(
                make_first,
                after_s=after_s,
                pay=partial(self._may_hedge, line, prepared),
                let_through=let_through,
                enter=enter,
            )
        except AttemptFailed as refusal:
            if refused and isinstance(refusal.error, BudgetExceeded | LedgerUnavailable):
                raise refused[0] from refused[0].__cause__  # no second copy was sent at all
            raise

    def _may_hedge(self, line: TargetContext, prepared: Prepared) -> bool:
        """Whether a second copy may go; if so, it is paid for."""
        hedger, reserve = self._shared.hedger, self._shared.fallback.behind(line.target)
        return (
            hedger is not None
            and not self._keeps_state
            and self._budget.left > reserve  # asked first: a share that is taken is gone
            and hedger.take(_hedge_key(line, prepared))
            and self._budget.take("hedge", trio.current_time(), reserve=reserve)
        )

    async def _attempt(self, line: TargetContext, prepared: Prepared, ticket: Ticket) -> Exchanged:
        """Send one request, and tell the breaker how it ended."""
        gate, account = line.gate, self._message.account
        try:
            headers = line.exchange.headers()
            if account is not None:
                await self._pay(account)
        except BaseException:  # nothing was sent, which says nothing of the endpoint
            gate.abandon(ticket)
            raise
        self._sent += 1
        if self._message.permit is not None:
            self._message.permit.use()
        self._tell("sent")
        has_ended = False
        try:
            exchanged = await line.exchange.ask(
                prepared,
                headers=headers,
                idempotency_key=self._key,
                attempt=self._sent,
                permit=self._message.permit,
                take=None if self._deliver is None else self._take,
            )
            has_ended = True
        except AttemptFailed as refusal:
            has_ended = True
            self._maybe_billed += refusal.error.billed == "maybe"
            if account is not None and refusal.error.billed == "no":
                account.refund()
            if is_outage(type(refusal.error)):
                gate.fail(ticket)
            raise
        finally:
            if not has_ended:  # cancelled: nobody knows how far it came (L3)
                self._maybe_billed += 1
            if has_ended:
                gate.succeed(ticket)  # a no-op if it has failed
            else:  # impatience says nothing of the endpoint; silence has time-outs of its own
                gate.abandon(ticket)
        return exchanged

    async def _pay(self, account: CallAccount) -> None:
        """Have what one attempt may cost reserved (L3): at the latest now, and before it is sent.

        Raises:
            Refusal: no budget has so much left.
        """
        try:
            await account.take()
        except CallFailed as error:
            raise AttemptFailed(error, is_final=True) from None

    async def _deliver_whole(self, exchanged: Exchanged) -> None:
        """Whoever wanted to see the answer being written sees it at once if nobody streamed it."""
        if self._deliver is None or self._has_delivered:
            return
        for index, choice in enumerate(exchanged.answer.choices):
            await self._take(Delta(choice.text, index))

    async def _take(self, delta: Delta) -> None:
        self._has_delivered = True
        if self._deliver is not None:
            await self._deliver(delta)

    # ---------------------------------------------------------------- between two attempts

    async def _pause(self, line: TargetContext, refusal: AttemptFailed) -> None:
        """Return when the next attempt may be made, or raise what the last one failed with."""
        error, permit = refusal.error, self._message.permit
        if refusal.is_final or not self._may_repeat(error):
            raise refusal
        now = trio.current_time()
        decision = self._budget.retry(
            now,
            self._shared.random,
            server_s=refusal.server_s,
            left_s=self._left_s,
            reserve=self._shared.fallback.behind(line.target),
        )
        if decision.gives_up is not None:
            if permit is not None and refusal.throttled is not None and decision.pause_s > 0:
                pause_s = min(decision.pause_s, self._shared.retry.max_server_s)
                permit.park(delay=pause_s, throttled=refusal.throttled)
            raise self._given_up(refusal, decision)
        self._tell("retrying", error, decision.pause_s)
        await self._renew(refusal, now + decision.pause_s)

    async def _renew(self, refusal: AttemptFailed, until: float) -> None:
        await renew(self._message.permit, refusal, until=until, deadline=self._deadline)

    def _may_repeat(self, error: CallFailed) -> bool:
        """Whether asking again, here or elsewhere, does no harm but what it may cost.

        What was handed out cannot be taken back, and an answer that the provider keeps, or works
        on by itself, would be there twice.
        """
        return not (self._has_delivered or (self._keeps_state and error.billed == "maybe"))

    @property
    def _keeps_state(self) -> bool:
        """Whether the provider keeps the answer, or works on it by itself."""
        extra = self._message.request.extra_body
        return any(extra.get(name) for name in _KEEPS_STATE)

    @staticmethod
    def _given_up(refusal: AttemptFailed, decision: RetryDecision) -> AttemptFailed:
        if decision.gives_up == "deadline":
            more = f"the deadline leaves no time for another attempt in {decision.pause_s:.1f} s"
        elif decision.gives_up == "throttle":
            more = "all calls together are retried too often for another attempt"
        else:
            return refusal
        return attrs.evolve(refusal, error=refusal.error.but(more))

    # ---------------------------------------------------------------- the end

    def _response(self, line: TargetContext, request: Request, exchanged: Exchanged) -> Response:
        answer = exchanged.answer
        model = answer.model or request.model
        usage = Usage() if answer.usage is None else answer.usage
        tier = tier_named(asked_tier(request) if answer.tier is None else answer.tier)
        cost = None  # without the tokens nobody knows it
        if answer.usage is not None:
            prices = self._shared.prices
            cost = prices.cost(model, usage, tier)
            if cost is None and prices.price(model) is None:
                cost = prices.cost(request.model, usage, tier)
        permit = self._message.permit
        if permit is not None:
            usd = None if cost is None else float(cost)
            permit.settle(answer.usage, usd, exchanged.first_byte_s)
        first = answer.choices[0] if answer.choices else None
        response = Response(
            text="" if first is None else first.text,
            model=model,
            finish_reason=None if first is None else first.finish_reason,
            usage=usage,
            cost_usd=cost,
            http_requests=self._sent,
            seconds=exchanged.seconds,
            choices=answer.choices,
            embeddings=answer.embeddings,
            first_byte_s=exchanged.first_byte_s,
            maybe_billed=self._maybe_billed,
            host=line.exchange.host,
            tier=tier,
            body=answer.body,
            request_id=exchanged.request_id,
        )
        if self._message.account is not None:
            self._message.account.answer = response
        return response

    def _tell(self, stage: Stage, error: CallFailed | None = None, delay: float = 0.0) -> None:
        if self._shared.observer is ignore:
            return
        self._shared.observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=self._message.context,
                model=self._message.request.model,
                attempt=self._sent,
                error=None if error is None else str(error),
                delay=None if error is None else delay,
                is_unreachable=isinstance(error, ConnectionFailed) and error.billed == "no",
                is_billed=error is not None and error.billed == "maybe",
            )
        )


def _hedge_key(line: TargetContext, prepared: Prepared) -> str:
    """What takes the same time: a model at an endpoint."""
    return f"{prepared.request.model} at {line.exchange.host}"
