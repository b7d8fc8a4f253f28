"""How much may be spent, by whom and on what. Pure (R14).

How the ledger of a troupe is kept.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import deep_iterable, gt, in_, instance_of

from .entries import CostLabel, LedgerEntry, Payer, add_usd, dollars, subtract_usd

__all__ = [
    "Budget",
    "BudgetCounter",
    "BudgetState",
    "Excess",
    "LedgerPolicy",
]


Per = Literal["call", "post", "tenant", "model", "day", "total"]
Period = Literal["ever", "month", "day"]
_NAMED = ("post", "tenant", "model")


def _dollars(value: Decimal | int | str) -> Decimal:
    if isinstance(value, float):
        raise TypeError(f"usd must be exact: Decimal({str(value)!r}) rather than {value!r}")
    return Decimal(value)


def _is_money(_: object, field: "attrs.Attribute[Decimal]", value: Decimal) -> None:
    if not value.is_finite() or value < 0:
        raise ValueError(f"{field.name} must be US dollars, at least 0, not {value}")


@attrs.frozen
class Budget:
    """So many US dollars, for each of something.

    Args:
        usd: how many; a Decimal, a whole number or a text, but no float.
        per: each call, post, tenant (the lane of `Origin`), model or UTC day has so much, or all
            of them together ("total").
        match: which posts, tenants or models have it, as a pattern such as "gpt-4o*".
        period: for how long: each UTC "day" or "month" anew, or for "ever", which is as far back as
            the ledger goes.
        allow_unknown: let calls pass whose price is not known; they count for nothing here.

    Raises:
        ValueError, TypeError: a value is out of its range, or does not go with the others.
    """

    usd: Decimal = attrs.field(converter=_dollars, validator=_is_money)
    per: Per = attrs.field(default="total", validator=in_((*_NAMED, "call", "day", "total")))
    match: str = attrs.field(default="*", validator=instance_of(str))
    period: Period = attrs.field(default="ever", validator=in_(("ever", "month", "day")))
    allow_unknown: bool = False

    def __attrs_post_init__(self) -> None:
        if self.match != "*" and self.per not in _NAMED:
            raise ValueError(f"match goes with per post, tenant or model, not with {self.per!r}")
        if self.period != "ever" and self.per in ("call", "day"):
            raise ValueError(f"period goes with a budget that lasts, not with per {self.per!r}")

    @property
    def name(self) -> str:
        """In words, such as "$5 per tenant (team-*) and day"."""
        words = f"{dollars(self.usd)} "
        words += "in total" if self.per == "total" else f"per {self.per}"
        if self.match != "*":
            words += f" ({self.match})"
        return words if self.period == "ever" else f"{words} and {self.period}"

    def key(self, heading: CostLabel, reservation: str) -> str | None:
        """Which of the budgets that it makes an amount counts for; None if for none of them."""
        if self.per in _NAMED:
            name: str = getattr(heading, self.per)
            if not fnmatchcase(name, self.match):
                return None
        else:
            name = {"call": reservation, "day": heading.day, "total": ""}[self.per]
        if self.period == "ever":
            return name
        when = heading.day if self.period == "day" else heading.day[:7]
        return f"{name} {when}".strip()


@attrs.frozen
class BudgetState:
    """How a budget stands.

    Args:
        budget: which.
        name: of whom or when it is, such as "team-a 2026-11-26"; "" for one in total.
        used: USD spent, reserved and perhaps billed.
        left: USD that are left; below 0 if calls have cost more than could be known beforehand.
    """

    budget: Budget
    name: str
    used: Decimal
    left: Decimal


class Excess(Exception):
    """Something may not be reserved.

    Attributes:
        state: of the budget in the way.
        needs: USD that were to be reserved; None if no price is known.
        model: that the call is for.
    """

    def __init__(self, state: BudgetState, needs: Decimal | None, model: str) -> None:
        super().__init__(state.budget.name)
        self.state = state
        self.needs = needs
        self.model = model


class BudgetCounter:
    """How much of a budget is used, for each whose it is."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._used: dict[str, Decimal] = {}  # {key: USD spent, reserved, perhaps billed}

    def check(self, lines: Sequence[Payer], reservation: str) -> None:
        """Whether one attempt more can be paid.

        Raises:
            Excess: it cannot.
        """
        needs: dict[str, Decimal] = {}
        for line in lines:
            key = self.budget.key(line.heading, reservation)
            if key is None:
                continue
            if line.bound.unpriced_calls and not self.budget.allow_unknown:
                raise Excess(self._state(key), None, line.heading.model)
            needs[key] = add_usd(needs.get(key, Decimal(0)), line.bound.usd)
        for key, usd in needs.items():
            state = self._state(key)
            if usd > state.left:
                raise Excess(state, usd, lines[0].heading.model)

    def post(self, entry: LedgerEntry, reservation: str) -> None:
        """Take an entry into account."""
        if self.budget.per == "call" and not reservation:
            return  # of an earlier run, whose calls have ended
        key = self.budget.key(entry.heading, reservation)
        if key is not None and entry.account != "available":
            self._used[key] = add_usd(self._used.get(key, Decimal(0)), entry.amount.usd)

    def close(self, reservation: str) -> None:
        """A reservation has ended: a budget of its own is of no interest any more."""
        if self.budget.per == "call":
            self._used.pop(reservation, None)

    def states(self) -> Iterator[BudgetState]:
        """How it stands, for each whose it is."""
        return map(self._state, self._used)

    def _state(self, key: str) -> BudgetState:
        used = self._used.get(key, Decimal(0))
        return BudgetState(self.budget, key, used, subtract_usd(self.budget.usd, used))


def _path(value: str | PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value)


@attrs.frozen(kw_only=True)
class LedgerPolicy:
    """How money is kept.

    Args:
        budgets: what may be spent; a call that might go beyond any of them is not sent.
        path: of the file; None keeps the books in memory only.
        most_output_tokens: what an answer may have, for what is reserved, if the request says
            nothing (`Request.max_tokens`).

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    budgets: tuple[Budget, ...] = attrs.field(
        default=(), converter=tuple[Budget, ...], validator=deep_iterable(instance_of(Budget))
    )
    path: Path | None = attrs.field(default=None, converter=_path)
    most_output_tokens: int = attrs.field(default=4096, validator=[instance_of(int), gt(0)])
