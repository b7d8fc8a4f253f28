"""What a run has sent and spent: known, unknown and maybe (L13). Pure (R14)."""

from decimal import Decimal
from typing import final

import attrs

from ..actors import (
    BudgetExceeded,
    CallFailed,
    CostBound,
    CostTotals,
    Request,
    SetAside,
    Spent,
    Usage,
)
from ..wording import all_digits
from .answer_schema import answer_tokens
from .errors import RUN_AGAIN, RunEnding
from .unpriced import PriceTokens, UnpricedTokens

_AMPLE_TOKENS = 1000  # of a text
_SHORT_TOKENS = 200  # of fields, which a model may write with spaces
_AMPLE_FACTOR = 4


@attrs.frozen(kw_only=True)
class RunSpend:
    """What was sent and spent.

    Args:
        cost_usd: the cost in USD of all responses, as far as it is known.
        sent: rows of this run that may have been sent.
        ended: of these, rows that have ended, or were not sent after all.
        lost: HTTP requests of all runs that may have been billed without a response.
        unknown_usd: the most USD that responses without a known cost can have cost.
        maybe_usd: the most USD that the requests in `lost` can have cost.
        each_usd: the most USD that one request of this run can cost.
        unpriced: the most tokens of responses, and of the requests in `lost`, without a price.
        each_unpriced: the most tokens of one request of this run without a price.
    """

    cost_usd: Decimal = Decimal(0)
    sent: int = 0
    ended: int = 0
    lost: int = 0
    unknown_usd: Decimal = Decimal(0)
    maybe_usd: Decimal = Decimal(0)
    each_usd: Decimal = Decimal(0)
    unpriced: UnpricedTokens = attrs.field(factory=UnpricedTokens)
    each_unpriced: UnpricedTokens = attrs.field(factory=UnpricedTokens)

    @property
    def open_usd(self) -> Decimal:
        """The most USD of what is not known to have been billed, or by how much."""
        return self.unknown_usd + self.maybe_usd

    @property
    def at_most_usd(self) -> Decimal:
        """The most USD that everything can have cost, as far as prices are known (L13)."""
        return self.cost_usd + self.open_usd

    def after_death(self) -> "RunSpend":
        """Return what is spent if the process that has written this has died.

        What it has sent, and what has not ended, may have been charged.
        """
        lost = self.sent - self.ended
        return attrs.evolve(
            self,
            sent=0,
            ended=0,
            lost=self.lost + lost,
            maybe_usd=self.maybe_usd + lost * self.each_usd,
            each_usd=Decimal(0),
            unpriced=self.unpriced + self.each_unpriced.times(lost),
            each_unpriced=UnpricedTokens(),
        )

    def priced(self, price: PriceTokens) -> "RunSpend":
        """Return the same with USD for the tokens whose price is known now.

        Args:
            price: prices the tokens of a model.
        """
        usd, left = self.unknown_usd, dict[tuple[str, str], Usage]()
        for (model, tier), usage in self.unpriced.by_model.items():
            cost = price(model, tier, usage)
            if cost is None:
                left[model, tier] = usage
            else:
                usd += cost
        return attrs.evolve(self, unknown_usd=usd, unpriced=UnpricedTokens(left))


@attrs.frozen
class EarlierRounds:
    """The calls of a row before its last one.

    Args:
        rounds: the number of rounds of attempts that failed.
        spent: what all these calls took.
    """

    rounds: int = 0
    spent: Spent = attrs.field(factory=Spent)

    def plus(self, error: Exception, *, rounds: int = 0) -> "EarlierRounds":
        """Return these and one more call.

        Args:
            error: the error of the call.
            rounds: 1 if the call was a round of attempts.
        """
        spent = self.spent
        if isinstance(error, CallFailed):
            spent = spent.plus_failure(error)
        return EarlierRounds(self.rounds + rounds, spent)


@attrs.frozen
class BudgetRoom:
    """The room of a budget for calls in flight: each is reserved at the most that it can cost.

    Args:
        calls: the calls that may be in flight at a time.
        call_usd: the most that one of them can cost, in USD.
        max_tokens: a limit of tokens that would make room for more calls; None if the rows have
            one, or if it would not.
        calls_then: the calls that may be in flight with this limit.
    """

    calls: int
    call_usd: Decimal
    max_tokens: int | None = None
    calls_then: int = 0


@final
class Spending:
    """What a run and earlier runs have spent.

    Args:
        before: what earlier runs have spent.
        bound: bounds what one attempt of a request can cost.

    Attributes:
        lost: HTTP requests that may have been billed without a response.
        cost_usd: the cost in USD of all responses, as far as it is known.
        unknown_usd: the most USD that responses without a known cost can have cost.
        maybe_usd: the most USD that the requests in `lost` can have cost.
        left: rows that workers of a shared run may have, and whose calls were given up. They are
            not in `lost`: the next run takes their responses, and pays for them.
        left_usd: the most USD that these rows can cost, and those that are left in batches. The
            next run takes the results of these, too, and pays for them.
        aside: what is set aside for rows of an earlier holder, whose calls did not begin here.
    """

    def __init__(self, before: RunSpend, bound: CostBound) -> None:
        self._before = before
        self._bound = bound
        self.lost = before.lost
        self.cost_usd = before.cost_usd
        self.unknown_usd = before.unknown_usd
        self.maybe_usd = before.maybe_usd
        self.left = 0
        self.left_usd = self._lost_usd = self._beside_usd = Decimal(0)  # of this run
        self.aside = SetAside()
        self._leaves = False
        self._unpriced = before.unpriced
        self._each_usd = Decimal(0)
        self._each_unpriced = UnpricedTokens()
        self._noted: tuple[str, Usage] | None = None  # the model and tokens of a plain request

    @property
    def at_most_usd(self) -> Decimal:
        """The most USD that everything can have cost, as far as prices are known (L13)."""
        return self.cost_usd + self.unknown_usd + self.all_maybe_usd

    @property
    def maybe_billed(self) -> int:
        """The number of HTTP requests and rows that may have been billed without a response."""
        return self.lost + self.left + len(self.aside)

    @property
    def all_maybe_usd(self) -> Decimal:
        """The most USD that these can have cost."""
        return self.maybe_usd + self.left_usd + self.aside.usd

    def admit(self, request: Request) -> None:
        """Note what a request that may be sent can cost.

        Most rows of an input differ in their texts only. Then only a longer one can cost more, and
        the price is looked up for no other.
        """
        usage, noted = self._bound.usage_of(request), self._noted
        is_plain = _is_plain(request)
        if (
            is_plain
            and noted is not None
            and noted[0] == request.model
            and usage.input_tokens <= noted[1].input_tokens
            and usage.output_tokens <= noted[1].output_tokens
        ):
            return
        if is_plain:
            self._noted = request.model, usage
        usd, tokens = self._most(request, usage)
        self._each_usd = max(self._each_usd, usd)
        if tokens:
            self._each_unpriced = self._each_unpriced.most(tokens)

    def pay(self, request: Request, cost_usd: Decimal | None) -> None:
        """Count what a call has cost; without a known cost, it is the most that it can be.

        Each row of a pack counts as a call of its own, until `count_exactly` corrects that.

        Args:
            request: what was requested.
            cost_usd: the cost in USD; None if it is not known.
        """
        if cost_usd is not None:
            self.cost_usd += cost_usd
            return
        usd, tokens = self._most(request)
        self.unknown_usd += usd
        self._unpriced += tokens

    def lose(self, request: Request, count: int, of_packs: int = 0) -> None:
        """Count requests that may have been billed without a response.

        Args:
            request: what was requested.
            count: the number of HTTP requests.
            of_packs: the number of HTTP requests that may have been billed for this row and others.
        """
        self.lost += count
        if attempts := max(count, of_packs):
            usd, tokens = self._most(request)
            self.maybe_usd += attempts * usd
            self._lost_usd += attempts * usd
            self._unpriced += tokens.times(attempts)

    def pay_beside(self, cost_usd: Decimal | None) -> None:
        """Count a call whose response is not used, and which no reservation was for.

        Args:
            cost_usd: its cost in USD; None if it is not known.
        """
        usd = self._each_usd if cost_usd is None else cost_usd
        self.lost += 1
        self.maybe_usd += usd
        self._beside_usd += usd

    def leave(self, request: Request) -> None:
        """Count a row that a worker may have, and whose call was given up.

        Args:
            request: what was requested.
        """
        self.left += 1
        self.leave_in_batch(request)

    def leave_in_batch(self, request: Request) -> None:
        """Count a row that the provider has in a batch, and whose call was given up.

        Args:
            request: what was requested.
        """
        usd, _ = self._most(request)
        self.left_usd += usd
        self._leaves = True

    def count_exactly(self, booked: CostTotals) -> None:
        """Replace the bounds of this run by what the ledger has of it.

        What a cancelled row has cost is known there alone, and counts as possibly billed here.

        Args:
            booked: the sums of the run's lane.
        """
        before, open_usd = self._before, booked.maybe_billed.usd + booked.reserved.usd
        if self._leaves:
            lost_usd = min(open_usd, self._lost_usd)
            self.left_usd, open_usd = open_usd - lost_usd, lost_usd
        self.unknown_usd = before.unknown_usd + booked.unknown.usd
        unseen = booked.spent.usd - (self.cost_usd - before.cost_usd)
        self.maybe_usd = before.maybe_usd + open_usd + max(unseen, Decimal(0)) + self._beside_usd

    def so_far(self, *, sent: int, ended: int) -> RunSpend:
        """Return what was sent and spent.

        Args:
            sent: rows of this run that may have been sent.
            ended: of these, rows that have ended, or were not sent after all.
        """
        return RunSpend(
            cost_usd=self.cost_usd,
            sent=sent,
            ended=ended,
            lost=self.lost,
            unknown_usd=self.unknown_usd,
            maybe_usd=self.maybe_usd,
            each_usd=self._each_usd,
            unpriced=self._unpriced,
            each_unpriced=self._each_unpriced,
        )

    def unpaid(self, error: BudgetExceeded, most: Decimal | None, model: str) -> RunEnding:
        """Return the ending of a run whose budget is spent.

        Args:
            error: why the next call was not made.
            most: the budget of the run in USD; None if it has none.
            model: the model of that call.
        """
        if most is None or error.left_usd is None:  # a budget other than the run's own
            return RunEnding("unpaid", str(error), RUN_AGAIN)
        if error.needs_usd is None:
            limit = all_digits(most)
            reason = f"the price of {model} is not known, so the limit of {limit} cannot be kept"
            return RunEnding("unpaid", reason, "give the price (--prices), or leave out --max-cost")
        left = f"{all_digits(error.left_usd)} of {all_digits(most)} is left"
        open_usd = self.unknown_usd + self.all_maybe_usd
        if open_usd := min(open_usd, max(Decimal(0), most - error.left_usd - self.cost_usd)):
            left += f" (up to {all_digits(open_usd)} may have been billed for what told no cost)"
        return RunEnding(
            "unpaid",
            f"the next call may cost up to {all_digits(error.needs_usd)}, and {left}",
            f"raise --max-cost and {RUN_AGAIN}",
        )

    def room(
        self, error: BudgetExceeded, budget_usd: Decimal | None, request: Request
    ) -> BudgetRoom | None:
        """Return the room of the budget, after it had none for a call; None if it is another one.

        Args:
            error: why the call was not made.
            budget_usd: the budget of the run in USD; None if it has none.
            request: the request of the call.
        """
        if budget_usd is None or not error.needs_usd:
            return None
        left, each = budget_usd - self.at_most_usd, error.needs_usd
        calls = max(1, int(left // each))
        if request.max_tokens is not None or not request.messages:
            return BudgetRoom(calls, each)
        limited = attrs.evolve(request, max_tokens=_limit_for(request))
        each_then, _ = self._most(limited)
        calls_then = int(left // each_then) if each_then else 0
        if calls_then <= calls:
            return BudgetRoom(calls, each)
        return BudgetRoom(calls, each, limited.max_tokens, calls_then)

    def _most(self, request: Request, usage: Usage | None = None) -> tuple[Decimal, UnpricedTokens]:
        """Return the most that one attempt can cost, in USD or in tokens without a price."""
        usage = usage or self._bound.usage_of(request)
        usd = self._bound.usd_of(request, usage)
        if usd is not None:
            return usd, UnpricedTokens()
        most = Usage(usage.input_tokens, usage.output_tokens)
        return Decimal(0), UnpricedTokens({(request.model, self._bound.tier_of(request)): most})


def _limit_for(request: Request) -> int:
    """Return a `max_tokens` that hardly any answer needs."""
    schema = request.output_schema
    longest = None if schema is None else answer_tokens(schema.schema)
    return _AMPLE_TOKENS if longest is None else max(_SHORT_TOKENS, longest * _AMPLE_FACTOR)


def _is_plain(request: Request) -> bool:
    """Return whether the price of a request depends on its model and its tokens alone."""
    if request.extra_body:
        return False
    for message in request.messages:  # noqa: SIM110  # `any` takes twice as long
        if message.extra or message.native:
            return False
    return True
