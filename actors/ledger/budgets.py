"""Budgets: how much may be spent, and how much of it is used. Pure (R14)."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import deep_iterable

from ..money import AMOUNT, is_amount
from ..validation import gt, in_, instance_of
from .aside import SetAside
from .entries import CostLabel, LedgerEntry, Payer, add_usd, dollars, subtract_usd
from .unwritten import UnwrittenCosts

Per = Literal["call", "post", "tenant", "model", "day", "total"]
Period = Literal["ever", "month", "day"]
_NAMED = ("post", "tenant", "model")
_WILDCARDS = frozenset("*?[")
_DAY_S = 24 * 3600
_MOST_PERIODS = 40  # days or months that a counter knows; a call ends within far fewer


def _dollars(value: Decimal | int | str) -> Decimal:
    if isinstance(value, float):
        raise TypeError(f"usd must be exact: Decimal({str(value)!r}) rather than {value!r}")
    try:
        return Decimal(value)
    except ArithmeticError:
        raise ValueError(f"usd must be US dollars, such as '2.50', not {value!r:.40}") from None


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
    per: Per = attrs.field(default="total", validator=in_((*_NAMED, "call", "day", "total")))
    match: str = attrs.field(default="*", validator=instance_of(str))
    period: Period = attrs.field(default="ever", validator=in_(("ever", "month", "day")))
    allow_unknown: bool = False
    aside: SetAside | None = attrs.field(default=None, eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.match != "*" and self.per not in _NAMED:
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
        return self.per in _NAMED and _WILDCARDS.isdisjoint(self.match)

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
        if self.per in _NAMED:
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


class Excess(Exception):
    """A budget has too little left for a reservation.

    Attributes:
        state: the state of the budget.
        needs: USD that the reservation needs; None if no price is known.
        model: the model of the call.
    """

    def __init__(self, state: BudgetState, needs: Decimal | None, model: str) -> None:
        super().__init__(state.budget.name)
        self.state = state
        self.needs = needs
        self.model = model


class BudgetCounter:
    """Counts how much of a budget is used, by tenant, model, day and so on.

    Args:
        budget: the budget as it was set.
        is_shared: whether it notes what changes, for the other processes.
    """

    def __init__(self, budget: Budget, *, is_shared: bool = False) -> None:
        self.budget = budget
        # {day or month, "" for ever: {key: USD spent, reserved or possibly billed}}
        self._used: dict[str, dict[str, Decimal]] = {}
        # The part that is reserved, and the places that have changed; None if it is not shared.
        self._reserved: dict[tuple[str, str], Decimal] | None = None
        self._changed: dict[tuple[str, str], None] = {}
        if is_shared and budget.can_be_shared:
            self._reserved = {}

    def check(self, payers: Sequence[Payer], reservation: str) -> None:
        """Check that the budget has room for one more attempt.

        Raises:
            Excess: it has not.
        """
        aside = self.budget.aside
        own = Decimal(0)
        if aside is not None:
            own = sum((aside.of(call) for call in {one.label.call for one in payers}), own)
        for place, usd in self._needs(payers, reservation).items():
            state = self._state(*place)
            if own:
                state = attrs.evolve(state, left=add_usd(state.left, own))
            if usd > state.left:
                raise Excess(state, usd, payers[0].label.model)

    def reserved(self, payers: Sequence[Payer]) -> None:
        """Note that an attempt is reserved for: what is set aside for its call is free."""
        if (aside := self.budget.aside) is not None:
            for payer in payers:
                aside.take(payer.label.call, payer.bound.usd)

    def needs(self, payers: Sequence[Payer]) -> Iterator[BudgetNeed]:
        """Yield what one attempt needs of it, if the budget is shared."""
        if self._reserved is not None:
            for (_, key), usd in self._needs(payers, "").items():
                yield BudgetNeed(self.budget, key, usd)

    def post(self, entry: LedgerEntry, reservation: str) -> None:
        """Count an entry."""
        if self.budget.per == "call" and not reservation:
            return  # an entry of an earlier run, whose calls have ended
        key = self.budget.key(entry.label, reservation)
        if key is not None and entry.account != "available":
            period = self.budget.period_of(entry.label)
            used = self._used.setdefault(period, {})
            used[key] = add_usd(used.get(key, Decimal(0)), entry.amount.usd)
            if self._reserved is not None:
                self._note(period, key, entry, self._reserved)
            if len(self._used) > _MOST_PERIODS:
                self._forget(min(self._used))

    def close(self, reservation: str) -> None:
        """Forget the budget of one call, when its reservation has ended."""
        if self.budget.per == "call":
            self._used.get("", {}).pop(reservation, None)

    def states(self) -> Iterator[BudgetState]:
        """Return the state for each tenant, model and so on, in the latest day or month."""
        if self._used:
            latest = max(self._used)
            yield from (self._state(latest, key) for key in self._used[latest])

    def uses(self, *, has_all: bool) -> Iterator[BudgetUse]:
        """Yield what is used, if the budget is shared.

        Args:
            has_all: whether to yield everything in the latest two days or months, rather than what
                has changed since the last time.
        """
        if self._reserved is None:
            return
        changed, self._changed = self._changed, {}
        if has_all:
            periods = sorted(self._used)[-2:]
            changed = {(period, key): None for period in periods for key in self._used[period]}
        for place in changed:
            used = self._used.get(place[0], {}).get(place[1])
            if used is not None:
                reserved = self._reserved.get(place, Decimal(0))
                yield BudgetUse(self.budget, place[1], used, reserved)

    def _needs(self, payers: Sequence[Payer], reservation: str) -> dict[tuple[str, str], Decimal]:
        """Return what one attempt needs, by period and key.

        Raises:
            Excess: no price is known.
        """
        needs: dict[tuple[str, str], Decimal] = {}
        for payer in payers:
            key = self.budget.key(payer.label, reservation)
            if key is None:
                continue
            place = self.budget.period_of(payer.label), key
            if payer.bound.unpriced_calls and not self.budget.allow_unknown:
                raise Excess(self._state(*place), None, payer.label.model)
            needs[place] = add_usd(needs.get(place, Decimal(0)), payer.bound.usd)
        return needs

    def _note(
        self, period: str, key: str, entry: LedgerEntry, reserved: dict[tuple[str, str], Decimal]
    ) -> None:
        place = period, key
        self._changed[place] = None
        if entry.account == "reserved":
            left = add_usd(reserved.get(place, Decimal(0)), entry.amount.usd)
            if left:
                reserved[place] = left
            else:
                reserved.pop(place, None)

    def _forget(self, period: str) -> None:
        for key in self._used.pop(period):
            if self._reserved is not None:
                self._reserved.pop((period, key), None)

    def _state(self, period: str, key: str) -> BudgetState:
        used = self._used.get(period, {}).get(key, Decimal(0))
        if self.budget.aside is not None:
            used = add_usd(used, self.budget.aside.usd)
        return BudgetState(self.budget, key, used, subtract_usd(self.budget.usd, used))


class BudgetCounters:
    """The counters of all budgets. A call looks at those alone that may concern it.

    Budgets of one tenant, post or model are found by its name, so that a budget for each of 10,000
    tenants costs a call no more than one does.

    Args:
        budgets: the budgets that are there at first.
        is_shared: whether other processes share them.
    """

    def __init__(self, budgets: Iterable[Budget] = (), *, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        self._all: dict[Budget, BudgetCounter] = {}
        self._general: list[BudgetCounter] = []
        self._of_one: dict[tuple[str, str], list[BudgetCounter]] = {}  # {(per, name): counters}
        self._index({budget: self._counter(budget) for budget in budgets})

    def __iter__(self) -> Iterator[BudgetCounter]:
        return iter(self._all.values())

    def replace(self, budgets: Iterable[Budget]) -> "BudgetCounters":
        """Replace the budgets. One that was there before keeps its counter.

        Returns:
            The counters of the others, which have counted nothing.
        """
        former, new = self._all, BudgetCounters()
        self._index({one: former.get(one) or self._counter(one) for one in budgets})
        new._index(
            {one: found for one, found in self._all.items() if one not in former}
        )  # of this class
        return new

    def check(self, payers: Sequence[Payer], reservation: str) -> None:
        """Check that every budget has room for one more attempt.

        Raises:
            Excess: one has not.
        """
        for counter in self._of([payer.label for payer in payers]):
            counter.check(payers, reservation)

    def reserved(self, payers: Sequence[Payer]) -> None:
        """Note that an attempt is reserved for; see `BudgetCounter.reserved`."""
        for counter in self._of([payer.label for payer in payers]):
            counter.reserved(payers)

    def post(self, entry: LedgerEntry, reservation: str) -> None:
        """Count an entry."""
        for counter in self._of([entry.label]):
            counter.post(entry, reservation)

    def close(self, reservation: str) -> None:
        """Forget the budgets of one call, when its reservation has ended."""
        for counter in self._general:
            counter.close(reservation)

    def states(self) -> Iterator[BudgetState]:
        """Return the state of each budget for each tenant, model, day and so on."""
        for counter in self._all.values():
            yield from counter.states()

    def needs(self, payers: Sequence[Payer]) -> list[BudgetNeed]:
        """Return what one attempt needs of the shared budgets."""
        counters = self._of([payer.label for payer in payers])
        return [need for counter in counters for need in counter.needs(payers)]

    def uses(self, *, has_all: bool) -> Iterator[BudgetUse]:
        """Yield what is used of the shared budgets; see `BudgetCounter.uses`."""
        for counter in self._all.values():
            yield from counter.uses(has_all=has_all)

    def _counter(self, budget: Budget) -> BudgetCounter:
        return BudgetCounter(budget, is_shared=self._is_shared)

    def _index(self, counters: dict[Budget, BudgetCounter]) -> None:
        self._all, self._general, self._of_one = counters, [], {}
        for budget, counter in counters.items():
            if budget.is_of_one:
                self._of_one.setdefault((budget.per, budget.match), []).append(counter)
            else:
                self._general.append(counter)

    def _of(self, labels: Sequence[CostLabel]) -> Iterable[BudgetCounter]:
        """Return the counters that may concern calls."""
        if not self._of_one:
            return self._general
        found = list(self._general)
        for label in labels:
            for per in _NAMED:
                own = self._of_one.get((per, getattr(label, per)), ())
                found += [counter for counter in own if counter not in found]
        return found


def _path(value: str | PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value)


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
        default=(), converter=tuple[Budget, ...], validator=deep_iterable(instance_of(Budget))
    )
    path: Path | None = attrs.field(default=None, converter=_path)
    max_output_tokens: int = attrs.field(default=4096, validator=[instance_of(int), gt(0)])
    on_unwritten: Callable[[UnwrittenCosts], None] | None = attrs.field(default=None, eq=False)
    shared_name: str = attrs.field(default="", validator=instance_of(str))
