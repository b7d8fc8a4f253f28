"""What calls have cost, by tenant, model and day: from the ledger, or counted here. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal, final

import attrs

from ...actors import BudgetReading, CallContext, CostStatistics, CostTotals, Usage, shown

MAX_ROWS = 100
"""The tenants, and the models, that are listed; the others are summed up in one row."""

_MAX_DAYS = 31
_MAX_BUDGETS = 200
_MAX_COUNTED = 1000
OTHERS = "others"
"""The name of a row for everything that is not listed by name."""


@attrs.frozen(kw_only=True)
class SpendRow:
    """What the calls of one tenant, one model, or one day have cost.

    Args:
        name: the tenant, model or day; "" for calls without a tenant.
        calls: the number of responses.
        input_tokens: tokens of prompts.
        output_tokens: the tokens that models generated.
        known_usd: the cost in USD of responses with a known cost, with all digits.
        unpriced: responses whose cost is not known.
    """

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    known_usd: str
    unpriced: int


@attrs.frozen(kw_only=True)
class PageSpend:
    """What calls have cost.

    Args:
        source: "ledger": all that the ledger records, also of earlier processes; "calls": the calls
            of this process, which has no ledger.
        known_usd: the cost in USD of responses with a known cost.
        reserved_usd: the most that calls in flight can cost; null without a ledger.
        maybe_usd: the most that attempts without a response may have cost; null without a ledger.
        unknown_usd: the most that responses without a known usage may have cost; null without a
            ledger.
        unpriced: responses whose cost is not known.
        tenants: the cost by tenant, the dearest first.
        models: the cost by model, the dearest first.
        days: the cost of the latest UTC days, the latest first; empty without a ledger.
        budgets: the state of each budget.
    """

    source: Literal["ledger", "calls"]
    known_usd: str
    reserved_usd: str | None = None
    maybe_usd: str | None = None
    unknown_usd: str | None = None
    unpriced: int = 0
    tenants: Sequence[SpendRow] = ()
    models: Sequence[SpendRow] = ()
    days: Sequence[SpendRow] = ()
    budgets: Sequence[BudgetReading] = ()


def spend_of(costs: CostStatistics) -> PageSpend:
    """Return what a ledger has recorded.

    Args:
        costs: the sums of the ledger.
    """
    totals, days = costs.totals, costs.by["day"]
    latest = sorted(days, reverse=True)[:_MAX_DAYS]
    return PageSpend(
        source="ledger",
        known_usd=_usd(totals.spent.usd),
        reserved_usd=_usd(totals.reserved.usd),
        maybe_usd=_usd(totals.maybe_billed.usd),
        unknown_usd=_usd(totals.unknown.usd),
        unpriced=_unpriced(totals),
        tenants=_dearest(costs.by["tenant"]),
        models=_dearest(costs.by["model"]),
        days=[_row(day, days[day]) for day in latest],
        budgets=[
            BudgetReading(name=shown(one.name), used_usd=_usd(one.used), left_usd=_usd(one.left))
            for one in costs.budgets[:_MAX_BUDGETS]
        ],
    )


def _dearest(by_name: Mapping[str, CostTotals]) -> list[SpendRow]:
    names = sorted(by_name, key=lambda name: by_name[name].spent.usd, reverse=True)
    rows = [_row(name, by_name[name]) for name in names[:MAX_ROWS]]
    if rest := names[MAX_ROWS:]:
        rows.append(_row(OTHERS, sum((by_name[name] for name in rest), CostTotals())))
    return rows


def _row(name: str, totals: CostTotals) -> SpendRow:
    spent = totals.spent
    return SpendRow(
        name=shown(name),
        calls=spent.calls + totals.unknown.calls,
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        known_usd=_usd(spent.usd),
        unpriced=_unpriced(totals),
    )


def _unpriced(totals: CostTotals) -> int:
    return totals.spent.unpriced_calls + totals.unknown.calls


def _usd(amount: Decimal) -> str:
    return f"{amount:f}"


# ------------------------------------------------------------------------------ without a ledger


@attrs.define
class _Count:
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, usage: Usage, cost_usd: Decimal | None) -> None:
        self.calls += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if cost_usd is None:
            self.unpriced += 1
        else:
            self.usd += cost_usd

    def row(self, name: str) -> SpendRow:
        return SpendRow(
            name=shown(name),
            calls=self.calls,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            known_usd=_usd(self.usd),
            unpriced=self.unpriced,
        )


@final
class CallSpend:
    """Counts what calls cost by tenant and model, for a gateway without a ledger."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Count] = {}
        self._models: dict[str, _Count] = {}

    def __repr__(self) -> str:
        return f"<CallSpend of {len(self._tenants)} tenants, {len(self._models)} models>"

    def add(self, context: CallContext, model: str, usage: Usage, cost_usd: Decimal | None) -> None:
        """Count one response, or what a failed call has used.

        Args:
            context: the ids of the call, which name who pays.
            model: the model that responded.
            usage: the tokens used.
            cost_usd: their cost in USD; None if it is not known.
        """
        _counter(self._tenants, context.payer).add(usage, cost_usd)
        _counter(self._models, model).add(usage, cost_usd)

    def reading(self) -> PageSpend:
        """Return what was counted."""
        tenants = self._tenants.values()
        return PageSpend(
            source="calls",
            known_usd=_usd(sum((one.usd for one in tenants), Decimal(0))),
            unpriced=sum(one.unpriced for one in tenants),
            tenants=_rows(self._tenants),
            models=_rows(self._models),
        )


def _counter(counts: dict[str, _Count], name: str) -> _Count:
    count = counts.get(name)
    if count is None:
        if len(counts) >= _MAX_COUNTED:
            name = OTHERS
        count = counts.setdefault(name, _Count())
    return count


def _rows(counts: Mapping[str, _Count]) -> Sequence[SpendRow]:
    order = sorted(counts.items(), key=lambda item: item[1].usd, reverse=True)
    rows = [count.row(name) for name, count in order[:MAX_ROWS]]
    if rest := order[MAX_ROWS:]:
        rows.append(_sum(count for _, count in rest).row(OTHERS))
    return rows


def _sum(counts: Iterable[_Count]) -> _Count:
    whole = _Count()
    for one in counts:
        whole.calls += one.calls
        whole.input_tokens += one.input_tokens
        whole.output_tokens += one.output_tokens
        whole.usd += one.usd
        whole.unpriced += one.unpriced
    return whole
