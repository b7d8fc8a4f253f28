"""The actor of the ledger: reserves before a call is sent, and settles when it ends (L3)."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, cast

import attrs
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, Timer, defers, handles
from ..calls import CallAccount, Complete, Stream
from ..errors import BudgetExceeded, CallFailed
from ..rate_limit import TokenCounter, offline_counter
from ..responses import Response
from ..vendors import PriceBook, default_prices
from .accounts import Accounts
from .book import CallOutcome, CostStatistics
from .bound import CostBound, asked_tier
from .budgets import Budget, budgets_of
from .entries import NOTHING, Amount, Payer, cost_labels
from .refusals import with_shorter

_MAX_COUNTERS = 256  # models whose counter is cached
# Seconds for which the end of a call waits for the next reservation. Two transactions became one,
# and a process that is killed within them finds the call as possibly billed.
_SOON_S = 0.01
_ROUTES = ("flex", "batch")  # tiers that are routes of their own


@attrs.frozen
class GetCosts(Message[CostStatistics]):
    """Ask a `LedgerActor` for its `CostStatistics`."""


@attrs.frozen
class ChangeBudgets(Message[None]):
    """Replace the budgets of a `LedgerActor`. What was spent so far counts against new ones, too.

    Args:
        budgets: the budgets from now on.
    """

    budgets: tuple[Budget, ...] = attrs.field(converter=budgets_of)


@attrs.frozen
class _Work(Message[None]):
    """Calls wait for their reservation, or something is to be written."""


@attrs.define(eq=False)
class _OpenCall:
    """A call, its payers, and how many of its attempts may be billed."""

    message: Complete | Stream
    slot: ReplySlot[Any]
    account: CallAccount
    payers: tuple[Payer, ...]


class LedgerActor(Actor):
    """Forwards a call when its cost is reserved, and refuses it when a budget has too little left.

    The reservation is the most that one attempt can cost. When an earlier attempt may have been
    billed, the next one has a reservation of its own before it is sent (`CallAccount`). However a
    call ends, its reservation ends with it: as charged, as possibly billed, or as refunded.

    The `Accounts` outlive an incarnation: after a crash the next incarnation goes on with them.
    With a file, a reservation is on disk before the call is sent, and all calls that wait share one
    transaction. Spawn the actor with `max_deferred`: the number of calls that may wait here for the
    disk, or for room in the next stage.

    Args:
        to: the next stage.
        accounts: the accounts, in memory or in a file.
        prices: the prices of models; by default those of this release.
        fallbacks: the other targets that may serve a call: the model that is used there, None for
            the requested one, and the prices there.
        endpoint: the endpoint that is expected to respond, for the labels; "" if it is one of
            several.
        has_batches: whether calls with a deadline may wait for a batch.
        counter_for: returns what counts a model's tokens exactly, or None if nothing does.
    """

    def __init__(
        self,
        to: Ref,
        accounts: Accounts,
        prices: PriceBook | None = None,
        *,
        fallbacks: tuple[tuple[str | None, PriceBook], ...] = (),
        endpoint: str = "",
        has_batches: bool = False,
        counter_for: Callable[[str], TokenCounter | None] = offline_counter,
    ) -> None:
        self._to = to
        self._accounts = accounts
        self._prices = prices or default_prices()
        self._bound = CostBound(self._prices, fallbacks, accounts.policy.max_output_tokens)
        self._endpoint = endpoint
        self._has_batches = has_batches and accounts.policy.path is not None
        self._counter_for = counter_for
        self._counters: dict[str, TokenCounter | None] = {}
        self._waiting: list[_OpenCall] = []  # for their reservation
        self._ready: list[_OpenCall] = []  # for room in the next stage
        self._timer: Timer | None = None
        self._is_draining = False

    async def started(self) -> None:
        """Open the accounts.

        Raises:
            StorageError: the file, or the server that shares the budgets, cannot be used.
        """
        await self._accounts.open(self._wake_soon)
        link = self._accounts.link
        if link is not None:
            await self.enter_async_context(link.open())
            self.nursery.start_soon(link.keep)
        if self._accounts.has_work:  # calls that ended between two incarnations
            self._wake()

    async def stopped(self) -> None:
        """Write what is not written yet."""
        self._waiting.clear()
        self._ready.clear()  # the runtime has failed their asks, which ends the reservations
        await self._accounts.leave(is_final=self._is_draining)

    @defers(Complete)
    async def admit(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Forward a call when its cost is reserved."""
        await self._admit(message, slot)

    @defers(Stream)
    async def admit_stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """Forward a streaming call when its cost is reserved."""
        await self._admit(message, slot)

    @handles(GetCosts, urgent=True)
    async def count(self, message: GetCosts) -> CostStatistics:  # noqa: ARG002  # it has no fields
        """Return the sums and the state of the budgets."""
        return await self._accounts.statistics()

    @handles(ChangeBudgets, urgent=True)
    async def change_budgets(self, message: ChangeBudgets) -> None:
        """Replace the budgets."""
        await self._accounts.change_budgets(message.budgets)

    @handles(_Work)
    async def work(self, message: _Work) -> None:  # noqa: ARG002  # it has no fields
        """Write what is to be written, and forward the calls whose cost is reserved."""
        self._timer = None
        await self._work()

    async def draining(self) -> None:
        """Forward what waits: no more calls arrive."""
        self._is_draining = True
        await self._work()

    # ----------------------------------------------------------------

    async def _admit(self, message: Complete | Stream, slot: ReplySlot[Any]) -> None:
        accounts = self._accounts
        may_wait = self._has_batches and message.request.deadline is not None
        account = CallAccount(accounts.new_key(), accounts.extend, accounts, is_held=may_wait)
        self._waiting.append(_OpenCall(message, slot, account, self._payers(message)))
        if accounts.policy.path is None:
            await self._work()
        else:
            self._wake()  # later, so that calls which arrive together share a transaction

    def _payers(self, message: Complete | Stream) -> tuple[Payer, ...]:
        """Return who pays for a call, and the most that one attempt costs each payer."""
        request, accounts = message.request, self._accounts
        usage, usd = self._bound.of(request, self._counter(request.model))
        day = datetime.fromtimestamp(accounts.clock(), UTC).date().isoformat()
        tier = asked_tier(request)
        labels = cost_labels(
            message.context,
            request.model,
            day,
            tier if tier in _ROUTES else "live",
            self._endpoint,
        )
        shares = Amount.of(usage, usd).split(len(labels))
        return tuple(Payer(label, share) for label, share in zip(labels, shares, strict=True))

    def _counter(self, model: str) -> TokenCounter | None:
        if model not in self._counters:
            if len(self._counters) >= _MAX_COUNTERS:
                self._counters.clear()
            self._counters[model] = self._counter_for(model)
        return self._counters[model]

    def _wake(self) -> None:
        self._wake_at(trio.current_time())

    def _wake_soon(self) -> None:
        """Write what no caller waits for: with the next reservation, or a moment later."""
        self._wake_at(trio.current_time() + _SOON_S)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when <= due:
                return
            self._timer.cancel()
        self._timer = self.send_at(due, _Work())

    async def _work(self) -> None:
        accounts = self._accounts
        while self._waiting or accounts.has_work:
            calls = [call for call in self._waiting if not call.slot.done]
            self._waiting = []
            held = {call.account.key for call in calls if call.account.is_held}
            wanted = [(call.account.key, call.payers) for call in calls]
            refusals = await accounts.reserve(wanted, held)
            reserved: list[_OpenCall] = []
            for call, refusal in zip(calls, refusals, strict=True):
                if refusal is None:
                    # From here on the reservation ends with the call, even if this actor crashes.
                    call.slot.on_settled(partial(self._ended, call))
                    reserved.append(call)
                else:
                    call.slot.fail(self._advised(call, refusal))
            link = accounts.link
            if link is None or not link.is_needed:
                self._ready += reserved
            elif reserved:
                self.nursery.start_soon(self._confirm, reserved)
        await self._forward_ready()

    async def _confirm(self, calls: list[_OpenCall]) -> None:
        """Let calls go on when they are reserved for in all processes that share the budgets."""
        refusals = await self._accounts.confirm([call.account.key for call in calls])
        for call, refusal in zip(calls, refusals, strict=True):
            if call.slot.done:
                continue  # and its reservation has ended
            if refusal is None:
                self._ready.append(call)
            else:
                call.slot.fail(self._advised(call, refusal))  # which ends its reservation
        self._wake()

    def _advised(self, call: _OpenCall, error: CallFailed) -> CallFailed:
        """Say that a lower `max_tokens` helps, if what is left pays for more than the prompt."""
        if not isinstance(error, BudgetExceeded) or error.needs_usd is None:
            return error
        request, left = call.message.request, error.left_usd or Decimal(0)
        usage, _ = self._bound.of(request, self._counter(request.model))
        least = attrs.evolve(usage, output_tokens=min(1, usage.output_tokens))
        usd = self._bound.usd_of(request, least)
        is_long = usage.output_tokens > least.output_tokens
        return with_shorter(error) if is_long and usd is not None and usd <= left else error

    async def _forward_ready(self) -> None:
        """Forward the calls that the next stage has room for, without waiting for room."""
        while self._ready:
            if not self._to.has_room:
                self._to.when_room(self._has_room_ahead)
                return
            call = self._ready.pop(0)
            await call.slot.forward(self._to, attrs.evolve(call.message, account=call.account))

    def _has_room_ahead(self) -> None:
        if self._ready:
            self._wake()

    def _ended(self, call: _OpenCall, slot: ReplySlot[Any]) -> None:
        """Settle a call that has ended."""
        account = call.account
        account.close()
        self._accounts.settle(account.key, self._outcome(call, slot))

    def _outcome(self, call: _OpenCall, slot: ReplySlot[Any]) -> CallOutcome:
        account, error = call.account, slot.error
        response = account.response
        if response is None and slot.outcome is Outcome.REPLIED:
            value: object = slot.value
            response = cast("Response", value) if isinstance(value, Response) else None
        if response is None:
            may = isinstance(error, CallFailed) and error.billed == "maybe"
            maybe = max(account.taken, int(may))
            if isinstance(error, CallFailed) and account.taken:  # workers may have sent more
                maybe = max(maybe, error.maybe_billed)
            return CallOutcome(None, maybe, endpoint=account.endpoint or None)
        usage, cost = response.usage, response.cost_usd
        if response.http_requests <= response.maybe_billed and not usage.total_tokens:
            # No request of this call was answered: another call shares its response, and pays.
            return CallOutcome(None, max(account.taken, response.maybe_billed))
        others = max(account.taken - 1, response.maybe_billed)
        bound = sum((payer.bound for payer in call.payers), NOTHING)
        if not usage.total_tokens:  # not reported, and certainly not 0
            spent, is_unknown = None, True
        elif cost is None and not bound.unpriced_calls:  # another model or tier than was reserved
            spent, is_unknown = Amount.of(usage, bound.usd), True
        else:
            spent, is_unknown = Amount.of(usage, cost, self._usual_usd(call, response)), False
        return CallOutcome(
            spent,
            others,
            self._other_model(call, response.model),
            None if response.route == "live" else call.message.context.route_of(response.route),
            f"{response.host} {response.key_name}".strip() or None,
            is_unknown,
        )

    def _usual_usd(self, call: _OpenCall, response: Response) -> Decimal | None:
        """Return what the tokens of a response cost at the usual tier, and without a cache."""
        usage = attrs.evolve(
            response.usage, cached_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0
        )
        return self._prices.cost(response.model, usage, asked=call.message.request.model)

    def _other_model(self, call: _OpenCall, model: str) -> str | None:
        """Return the model that responded; None for the requested one and its dated names."""
        requested = call.message.request.model
        price = self._prices.price(model)
        is_same = (
            model.startswith(requested) if price is None else price is self._prices.price(requested)
        )
        return None if is_same else model
