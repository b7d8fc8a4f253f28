"""How much of each budget is used, and whether a call fits into what is left. Pure (R14)."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import attrs

from .budgets import NAMED, Budget, BudgetNeed, BudgetState, BudgetUse
from .entries import CostLabel, LedgerEntry, Payer, add_usd, subtract_usd

_MOST_PERIODS = 40  # days or months that a counter knows; a call ends within far fewer


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
            for per in NAMED:
                own = self._of_one.get((per, getattr(label, per)), ())
                found += [counter for counter in own if counter not in found]
        return found
