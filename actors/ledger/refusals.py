"""The errors of calls that a budget holds back, in words with a remedy. Pure (R14)."""

from datetime import UTC, datetime
from decimal import Decimal

import attrs

from ..errors import BudgetExceeded, LedgerUnavailable
from ..storage import StorageError
from .budget_counters import Excess
from .budgets import BudgetNeed, BudgetState
from .entries import dollars, subtract_usd

_RAISE = "; raise the budget"


def with_shorter(error: BudgetExceeded) -> BudgetExceeded:
    """Return the error of a call for which a lower `max_tokens` is enough.

    Args:
        error: the error, whose text does not say so.
    """
    return BudgetExceeded(
        str(error).replace(_RAISE, f"{_RAISE}, or lower max_tokens", 1),
        budget=error.budget,
        left_usd=error.left_usd,
        needs_usd=error.needs_usd,
        resets_s=error.resets_s,
        is_shared=error.is_shared,
        shorter_helps=True,
    )


def exceeded(excess: Excess, at: float, shared_used: Decimal | None = None) -> BudgetExceeded:
    """Return the error of a call that a budget has no room for.

    Args:
        excess: the budget, and what it lacks.
        at: Unix time in seconds.
        shared_used: what all processes have used of it, in USD, if they share it.
    """
    state, needs = excess.state, excess.needs
    if shared_used is not None:
        left_of_all = subtract_usd(state.budget.usd, shared_used)
        state = attrs.evolve(state, left=left_of_all, is_shared=True)
    resets_at = None if needs is None else state.budget.resets_at(at)
    whose = f" for {state.name}" if state.name and state.budget.per != "call" else ""
    budget = f"the {'shared ' if state.is_shared else ''}budget of {state.budget.name}{whose}"
    if needs is None:
        text = (
            f"held back: no price is known for {excess.model} at its tier, or for another model "
            f"that may answer, and {budget} allows only calls with a known price; add the price "
            "(PriceBook.load, or prices = FILE in the settings), or set allow_unknown on the budget"
        )
    else:
        left = dollars(max(state.left, Decimal(0)))
        text = (
            f"held back: {budget} has {left} left, and the call may cost {dollars(needs)}{_RAISE}"
        )
        if resets_at is not None:
            when = datetime.fromtimestamp(resets_at, UTC)
            text += f", or wait until {when:%Y-%m-%d %H:%M} UTC, when it is available again"
    return BudgetExceeded(
        text,
        budget=budget,
        left_usd=state.left,
        needs_usd=needs,
        resets_s=None if resets_at is None else resets_at - at,
        is_shared=state.budget.per not in ("call", "tenant"),
    )


def exceeded_by_all(need: BudgetNeed, used: Decimal, at: float) -> BudgetExceeded:
    """Return the error of a call that a budget of several processes has no room for.

    Args:
        need: what the call needs.
        used: what all processes have used, in USD.
        at: Unix time in seconds.
    """
    left = subtract_usd(need.budget.usd, used)
    state = BudgetState(need.budget, need.name, used, left, is_shared=True)
    return exceeded(Excess(state, need.usd, ""), at, used)


def unavailable(error: StorageError) -> LedgerUnavailable:
    """Return the error of a call whose reservation cannot be written, where there are budgets."""
    return LedgerUnavailable(f"held back, because a budget needs the ledger: {error}")


def store_unavailable(error: StorageError) -> LedgerUnavailable:
    """Return the error of a call whose budget is shared by a store that does not answer."""
    return LedgerUnavailable(f"held back, because processes share its budget: {error}")
