"""Count what a run spends: known, unknown and maybe (L13). Pure (R14)."""

from decimal import Decimal
from typing import final

from ...actors import BudgetExceeded, CostBound, CostTotals, Request, Response, Usage
from ...wording import all_digits
from ..errors import RUN_AGAIN, RunEnding
from ..files.spend import RunSpend, UnpricedTokens


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
    """

    def __init__(self, before: RunSpend, bound: CostBound) -> None:
        self._before = before
        self._bound = bound
        self.lost = before.lost
        self.cost_usd = before.cost_usd
        self.unknown_usd = before.unknown_usd
        self.maybe_usd = before.maybe_usd
        self._unpriced = before.unpriced
        self._each_usd = Decimal(0)
        self._each_unpriced = UnpricedTokens()

    def admit(self, request: Request) -> None:
        """Note what a request that may be sent can cost."""
        usd, tokens = self._most(request)
        self._each_usd = max(self._each_usd, usd)
        if tokens:
            self._each_unpriced = self._each_unpriced.most(tokens)

    def pay(self, request: Request, response: Response) -> None:
        """Count what a response has cost; without a known cost, it is the most that it can be.

        Each row of a pack counts as a call of its own, until `count_exactly` corrects that.
        """
        if response.cost_usd is not None:
            self.cost_usd += response.cost_usd
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
            self._unpriced += tokens.times(attempts)

    def count_exactly(self, booked: CostTotals) -> None:
        """Replace the bounds of this run by what the ledger has of it.

        What a cancelled row has cost is known there alone, and counts as possibly billed here.

        Args:
            booked: the sums of the run's lane.
        """
        before, open_usd = self._before, booked.maybe_billed.usd + booked.reserved.usd
        self.unknown_usd = before.unknown_usd + booked.unknown.usd
        unseen = booked.spent.usd - (self.cost_usd - before.cost_usd)
        self.maybe_usd = before.maybe_usd + open_usd + max(unseen, Decimal(0))

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
            reason = f"the price of {model} is not known, so the limit of ${most} cannot be kept"
            return RunEnding("unpaid", reason, "give the price (--prices), or leave out --max-cost")
        left = f"{all_digits(error.left_usd)} of ${most} is left"
        open_usd = self.unknown_usd + self.maybe_usd
        if open_usd := min(open_usd, max(Decimal(0), most - error.left_usd - self.cost_usd)):
            left += f" (up to {all_digits(open_usd)} may have been billed for what told no cost)"
        return RunEnding(
            "unpaid",
            f"the next call may cost up to {all_digits(error.needs_usd)}, and {left}",
            f"raise --max-cost and {RUN_AGAIN}",
        )

    def _most(self, request: Request) -> tuple[Decimal, UnpricedTokens]:
        """Return the most that one attempt can cost, in USD or in tokens without a price."""
        usage, usd = self._bound.of(request, None)
        if usd is not None:
            return usd, UnpricedTokens()
        most = Usage(usage.input_tokens, usage.output_tokens)
        return Decimal(0), UnpricedTokens({(request.model, self._bound.tier_of(request)): most})
