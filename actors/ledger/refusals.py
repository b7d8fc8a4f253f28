"""Why a call is held back, in words that one can act on."""

from decimal import Decimal

from ..errors import BudgetExceeded, LedgerUnavailable
from .budgets import Excess
from .money import dollars
from .schema import LedgerUnusable

__all__ = ["exceeded", "unavailable"]


def exceeded(excess: Excess) -> BudgetExceeded:
    """A budget has not so much left."""
    state, needs = excess.state, excess.needs
    whose = f" for {state.name}" if state.name and state.budget.per != "call" else ""
    budget = f"the budget of {state.budget.name}{whose}"
    if needs is None:
        text = (
            f"held back: no price is known for {excess.model}, and {budget} lets nothing pass that "
            "cannot be counted; add the price (PriceBook.load), or let the budget allow_unknown"
        )
    else:
        left = dollars(max(state.left, Decimal(0)))
        text = (
            f"held back: {budget} has {left} left, and the call might cost {dollars(needs)}; raise "
            "the budget, or lower max_tokens"
        )
    return BudgetExceeded(text, budget=budget, left_usd=state.left, needs_usd=needs)


def unavailable(trouble: LedgerUnusable) -> LedgerUnavailable:
    """There are budgets, and what is spent cannot be written down."""
    return LedgerUnavailable(f"held back, because there are budgets to keep: {trouble}")
