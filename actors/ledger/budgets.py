"""Budgets: how much may be spent, of what, and until when. Pure (R14)."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import optional

from ..money import AMOUNT, is_amount
from ..validation import as_path, deep_iterable, gt, has, in_, instance_of, listed
from .aside import SetAside
from .entries import CostLabel, dollars
from .unwritten import UnwrittenCosts

Per = Literal["call", "post", "tenant", "model", "day", "total"]
Period = Literal["ever", "month", "day"]
NAMED = ("post", "tenant", "model")
"""The values of `per` that mean something with a name, by which `match` selects."""

_WILDCARDS = frozenset("*?[")
_DAY_S = 24 * 3600


def _dollars(value: Decimal | int | str) -> Decimal:
    if isinstance(value, float):
        raise TypeError(f"usd must be exact: Decimal({str(value)!r}) rather than {value!r}")
    try:
        return Decimal(value)
    except (ArithmeticError, TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"usd must be US dollars, such as '2.50', not {value!r:.40}") from None


def _is_money(_: object, field: "attrs.Attribute[Decimal]", value: Decimal) -> None:
    if not is_amount(value):
        raise ValueError(f"{field.name} must be US dollars, {AMOUNT}, not {value!s:.40}")


@attrs.frozen(cache_hash=True)
class Budget:
    """A limit in USD. A call that may exceed it is not sent.

    Args:
        usd: the limit in USD: a Decimal, an int or a text, but not a float.
        per: what has this limit: each "call", "post", "tenant" (see `CallContext.payer`), "model"
            or UTC "day", or all calls together ("total").
        match: the names of the posts, tenants or models that the budget applies to, as a pattern
            such as "gpt-4o*".
        period: when the limit is available again: each UTC "day" or "month", or never ("ever",
            which counts as far back as the ledger goes).
        allow_unknown: whether calls without a known price are sent; they count as 0 USD.
        aside: what is set aside for calls that an earlier process has sent; None for nothing.

    Raises:
        ValueError, TypeError: a value is out of range, or does not fit the other values.
    """

    usd: Decimal = attrs.field(converter=_dollars, validator=_is_money)
    per: Per = attrs.field(default="total", validator=in_((*NAMED, "call", "day", "total")))
    match: str = attrs.field(default="*", validator=instance_of(str))
    period: Period = attrs.field(default="ever", validator=in_(("ever", "month", "day")))
    allow_unknown: bool = attrs.field(default=False, validator=instance_of(bool))
    aside: SetAside | None = attrs.field(default=None, eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.match != "*" and self.per not in NAMED:
            raise ValueError(f"match needs per='post', 'tenant' or 'model', not {self.per!r}")
        if self.period != "ever" and self.per in ("call", "day"):
            raise ValueError(f"period='ever' is the only one for per={self.per!r}")

    @property
    def name(self) -> str:
        """The budget in words, such as ``$5 per tenant (team-*) and day``."""
        return self._words(self.match)

    @property
    def scope(self) -> str:
        """The budget in words that name no single tenant: there may be thousands of them."""
        return self._words("*" if self.per == "tenant" and self.is_of_one else self.match)

    def _words(self, match: str) -> str:
        if self.per == "total":
            each = "in total" if self.period == "ever" else f"per {self.period}"
            return f"{dollars(self.usd)} {each}"
        words = f"{dollars(self.usd)} per {self.per}"
        if match != "*":
            words += f" ({match})"
        return words if self.period == "ever" else f"{words} and {self.period}"

    @property
    def is_of_one(self) -> bool:
        """Whether it is the budget of one post, tenant or model: `match` has no wildcard."""
        return self.per in NAMED and _WILDCARDS.isdisjoint(self.match)

    def resets_at(self, at: float) -> float | None:
        """Return when the limit is available again, in Unix seconds; None for never.

        Args:
            at: Unix time in seconds.
        """
        today = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.period == "month":
            return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
        if self.period == "day" or self.per == "day":
            return (today + timedelta(days=1)).timestamp()
        return None

    def key(self, label: CostLabel, reservation: str) -> str | None:
        """Return the name of what an amount counts against; None if it does not count here."""
        if self.per in NAMED:
            name: str = getattr(label, self.per)
            # A pattern is compiled when it is first used, which takes longer than all else.
            if name != self.match if self.is_of_one else not fnmatchcase(name, self.match):
                return None
        else:
            name = {"call": reservation, "day": label.day, "total": ""}[self.per]
        return name if self.period == "ever" else f"{name} {self.period_of(label)}".strip()

    def period_of(self, label: CostLabel) -> str:
        """Return the day or month in which an amount counts; "" if it counts for ever."""
        if self.period == "month":
            return label.day[:7]
        return label.day if "day" in (self.period, self.per) else ""

    @property
    def can_be_shared(self) -> bool:
        """Whether calls of several processes can count against it."""
        return self.per != "call"

    def cell(self, name: str) -> str:
        """Return the cell of shared budgets that it limits, whatever the limit is.

        Args:
            name: what an amount counts against; see `key`.
        """
        return _cell(self.per, self.match, self.period, name)

    @property
    def keep_s(self) -> int:
        """Seconds after its last change for which a shared store keeps what was used."""
        if self.per == "day" or self.period == "day":
            return 9 * _DAY_S
        if self.period == "month" or self.per == "post":
            return 40 * _DAY_S
        return 400 * _DAY_S


@lru_cache(10_000)
def _cell(*names: str) -> str:
    return sha256(json.dumps(names).encode()).hexdigest()[:32]


@attrs.frozen
class BudgetState:
    """How much of a budget is used by one tenant, model, day and so on.

    Args:
        budget: the budget as it was set.
        name: what it is for, such as "team-a 2026-11-26"; "" for a total.
        used: USD that are spent, reserved, set aside or possibly billed.
        left: USD that are left; below 0 if calls have cost more than was reserved.
        is_shared: whether `used` and `left` are those of all processes that share the budget.
        maybe: the part of `used`, in USD, that was reserved by processes which have not been heard
            of for the length of their lease; 0 if it is not shared.
    """

    budget: Budget
    name: str
    used: Decimal
    left: Decimal
    is_shared: bool = False
    maybe: Decimal = Decimal(0)


@attrs.frozen
class BudgetNeed:
    """What one attempt of a call needs of a budget.

    Args:
        budget: the budget as it was set.
        name: what it counts against; see `Budget.key`.
        usd: the most that the attempt costs, in USD.
    """

    budget: Budget
    name: str
    usd: Decimal


@attrs.frozen
class BudgetUse:
    """What a ledger has used of a budget.

    Args:
        budget: the budget as it was set.
        name: what it counts against; see `Budget.key`.
        used: USD that are spent, reserved or possibly billed.
        reserved: the part of them that is reserved for calls in flight.
    """

    budget: Budget
    name: str
    used: Decimal
    reserved: Decimal


def _path(value: str | PathLike[str] | None) -> Path | None:
    return as_path(value, "path")


def budgets_of(value: Iterable[Budget]) -> tuple[Budget, ...]:
    """Return budgets as a tuple.

    Args:
        value: budgets in any order.

    Raises:
        TypeError: it is no list.
    """
    return listed(value, "budgets")


@attrs.frozen(kw_only=True)
class LedgerPolicy:
    """Settings of the ledger.

    Args:
        budgets: limits in USD; a call that may exceed one of them is not sent.
        path: the ledger file, which several processes may share; it is created if it does not
            exist. None keeps the accounts in memory.
        max_output_tokens: tokens of a response that are reserved for, if the request sets no limit
            (`Request.max_tokens`).
        on_unwritten: is called when the ledger is closed, if entries could not be written to the
            file; None to only log it.
        shared_name: what the budgets are shared under, if processes share them
            (`TroupeSettings.shared`): processes with another name have budgets of their own.

    Raises:
        ValueError, TypeError: a value is out of range; the message names the field.
    """

    budgets: tuple[Budget, ...] = attrs.field(
        default=(), converter=budgets_of, validator=deep_iterable(instance_of(Budget))
    )
    path: Path | None = attrs.field(default=None, converter=_path)
    max_output_tokens: int = attrs.field(default=4096, validator=[instance_of(int), gt(0)])
    on_unwritten: Callable[[UnwrittenCosts], None] | None = attrs.field(
        default=None, eq=False, validator=optional(has("__call__", wanted="a function"))
    )
    shared_name: str = attrs.field(default="", validator=instance_of(str))
