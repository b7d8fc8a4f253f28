"""Keeps the books of calls: reserved before they are sent, settled when they have ended (L3)."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs
import trio

from ...runtime import Actor, Message, Outcome, Ref, ReplySlot, Timer, defers, handles
from ..calls import CallAccount, Complete, Stream
from ..errors import CallFailed
from ..messages import Response
from ..rate_limit import TokenCounter, offline_counter
from ..vendors import PriceBook, default_prices
from .accounts import Accounts
from .book import CallOutcome, CostStatistics
from .bound import asked_tier, most_usage, most_usd
from .entries import Amount, Payer, cost_labels

__all__ = [
    "GetCosts",
    "LedgerActor",
]


_MOST_COUNTERS = 256  # models to remember
_ROUTES = ("flex", "batch")  # tiers that are a way of their own to be answered


@attrs.frozen
class GetCosts(Message[CostStatistics]):
    """Ask a `LedgerActor` what the books say."""


@attrs.frozen
class _Work(Message[None]):
    """There are calls to let through, or something to write."""


@attrs.define(eq=False)
class _OpenCall:
    """A call that is here."""

    message: Complete | Stream
    slot: ReplySlot[Any]
    account: CallAccount
    lines: tuple[Payer, ...]


class LedgerActor(Actor):
    """Lets a call through when what it might cost is reserved, and refuses it when it cannot be.

    Reserved is the most that one attempt can cost. An attempt that follows one which may have been
    billed is reserved for before it is sent (`CallAccount`). However a call ends, the runtime
    tells, and its reservation ends with it: as charged, as maybe billed, or as nothing.

    The books are outside, in `Accounts`: one incarnation may crash with calls under way, and the
    next one goes on with the same books. With a file, what is reserved is on disk before the call
    goes, all that wait together in one transaction. Give it a `max_deferred` when it is spawned:
    that many calls may wait here for the disk, or for room in the next stage.

    Args:
        to: where the calls go next.
        accounts: the books.
        prices: what models cost.
        other_models: that may answer if the one asked for cannot; see `Target`.
        counter_for: gives what counts a model's tokens exactly, or None where nothing does.
    """

    def __init__(
        self,
        to: Ref,
        accounts: Accounts,
        prices: PriceBook | None = None,
        *,
        other_models: tuple[str, ...] = (),
        counter_for: Callable[[str], TokenCounter | None] = offline_counter,
    ) -> None:
        self._to = to
        self._accounts = accounts
        self._prices = prices or default_prices()
        self._other_models = other_models
        self._counter_for = counter_for
        self._counters: dict[str, TokenCounter | None] = {}
        self._waiting: list[_OpenCall] = []  # for what they might cost to be reserved
        self._ready: list[_OpenCall] = []  # for room in the next stage
        self._timer: Timer | None = None

    async def started(self) -> None:
        """Open the books.

        Raises:
            LedgerUnusable: the file cannot be read or written.
        """
        await self._accounts.open(self._wake)
        if self._accounts.has_work:  # what ended while nobody was here
            self._wake()

    async def stopped(self) -> None:
        """Write what is not written yet."""
        self._waiting.clear()
        self._ready.clear()  # those who asked have been told, and their reservations ended
        await self._accounts.leave()

    @defers(Complete)
    async def admit(self, message: Complete, slot: ReplySlot[Response]) -> None:
        """Let a call through when it is paid for."""
        await self._admit(message, slot)

    @defers(Stream)
    async def admit_stream(self, message: Stream, slot: ReplySlot[None]) -> None:
        """The same for a call that is answered piece by piece."""
        await self._admit(message, slot)

    @handles(GetCosts, urgent=True)
    async def count(self, message: GetCosts) -> CostStatistics:  # noqa: ARG002  # it only asks
        """Say what the books say."""
        return await self._accounts.statistics()

    @handles(_Work)
    async def work(self, message: _Work) -> None:  # noqa: ARG002  # it only says when
        """Write what is to be written, and let through what is paid for."""
        self._timer = None
        await self._work()

    async def draining(self) -> None:
        """Let through what is left: nothing more will come."""
        await self._work()

    # ----------------------------------------------------------------

    async def _admit(self, message: Complete | Stream, slot: ReplySlot[Any]) -> None:
        accounts = self._accounts
        account = CallAccount(accounts.new_key(), accounts.extend)
        self._waiting.append(_OpenCall(message, slot, account, self._lines(message)))
        if accounts.policy.path is None:
            await self._work()
        else:
            self._wake()  # when those that came together with it are here, too

    def _lines(self, message: Complete | Stream) -> tuple[Payer, ...]:
        """Who pays for a call, and the most that one attempt costs each of them."""
        request, accounts = message.request, self._accounts
        counter, most_output = self._counter(request.model), accounts.policy.most_output_tokens
        usage = most_usage(request, counter, most_output=most_output)
        usd = most_usd(self._prices, request, usage, self._other_models)
        day = datetime.fromtimestamp(accounts.clock(), UTC).date().isoformat()
        tier = asked_tier(request)
        who = cost_labels(message.context, request.model, day, tier if tier in _ROUTES else "live")
        shares = Amount.of(usage, usd).split(len(who))
        return tuple(Payer(heading, share) for heading, share in zip(who, shares, strict=True))

    def _counter(self, model: str) -> TokenCounter | None:
        if model not in self._counters:
            if len(self._counters) >= _MOST_COUNTERS:
                self._counters.clear()
            self._counters[model] = self._counter_for(model)
        return self._counters[model]

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = self.send_at(trio.current_time(), _Work())

    async def _work(self) -> None:
        accounts = self._accounts
        while self._waiting or accounts.has_work:
            calls = [call for call in self._waiting if not call.slot.done]
            self._waiting = []
            refusals = await accounts.reserve([(call.account.key, call.lines) for call in calls])
            for call, refusal in zip(calls, refusals, strict=True):
                if refusal is None:
                    # From here on the reservation ends when the call does, whatever becomes of us.
                    call.slot.on_settled(partial(self._ended, call))
                    self._ready.append(call)
                else:
                    call.slot.fail(refusal)
        await self._let_through()

    async def _let_through(self) -> None:
        """Never stands at the door of the next stage: what ends meanwhile is to be written."""
        while self._ready:
            if not self._to.has_room:
                self._to.when_room(self._room_ahead)
                return
            call = self._ready.pop(0)
            await call.slot.forward(self._to, attrs.evolve(call.message, account=call.account))

    def _room_ahead(self) -> None:
        if self._ready:
            self._wake()

    def _ended(self, call: _OpenCall, slot: ReplySlot[Any]) -> None:
        """A call that was reserved for has its answer, or needs none any more."""
        account = call.account
        account.close()
        self._accounts.settle(account.key, self._outcome(call, slot))

    def _outcome(self, call: _OpenCall, slot: ReplySlot[Any]) -> CallOutcome:
        account, error = call.account, slot.error
        answer = account.answer
        if answer is None and slot.outcome is Outcome.REPLIED:
            answer = slot.value if isinstance(slot.value, Response) else None
        if answer is None:
            may = isinstance(error, CallFailed) and error.billed == "maybe"
            return CallOutcome(None, max(account.taken, int(may)))
        if not answer.http_requests:  # it was shared with another call, which pays
            return CallOutcome(None, account.taken)
        others = max(account.taken - 1, answer.maybe_billed)
        if not answer.usage.total_tokens:  # it does not say what it took, and surely took something
            return CallOutcome(None, others + 1)
        return CallOutcome(
            Amount.of(answer.usage, answer.cost_usd),
            others,
            self._other_model(call, answer.model),
            None if answer.route == "live" else answer.route,
        )

    def _other_model(self, call: _OpenCall, answered: str) -> str | None:
        """The model that is to pay, if it is another one than was asked for, and not its date."""
        asked = call.message.request.model
        price = self._prices.price(answered)
        is_same = (
            answered.startswith(asked) if price is None else price is self._prices.price(asked)
        )
        return None if is_same else answered
