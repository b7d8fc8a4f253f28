"""Cost reports written as CSV and as JSON, with every digit."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from ..actors import Amount
from ..wording import usd_text
from .report import By, CostReport, CostRow


@attrs.frozen(kw_only=True)
class CostFigures:
    """The costs of some calls: a row, or the sums of rows. USD are texts with all their digits.

    Args:
        model: the name of the model; in rows by model only.
        tenant: the name of the tenant, "" for calls without one; in rows by tenant only.
        post: the topic of the post, "" for calls without one; in rows by post only.
        day: the day in UTC, such as "2026-11-26"; in rows by day only.
        route: the route, such as "live"; in rows by route only.
        endpoint: the name of the endpoint; in rows by endpoint only.
        call: the id of the call; in rows by call only.
        calls: the calls that have ended or are in flight.
        saved_usd: the difference in USD to the usual tier without the provider's cache; with a
            minus, what a dearer tier has cost in addition.
        spent_usd: what is known to be spent in USD.
        spent_input_tokens: the tokens of prompts of which this is the cost.
        spent_cached_tokens: those of them that were read from the provider's cache.
        spent_output_tokens: the tokens of responses of which this is the cost.
        spent_unpriced_tokens: tokens whose price is not known; they are in no sum of USD.
        spent_unpriced_calls: the calls that used such tokens.
        unknown_usd: the most USD that responses without a known cost can have cost.
        unknown_input_tokens: the tokens of prompts of which this is the cost.
        unknown_cached_tokens: those of them that were read from the provider's cache.
        unknown_output_tokens: the tokens of responses of which this is the cost.
        unknown_unpriced_tokens: tokens whose price is not known; they are in no sum of USD.
        unknown_unpriced_calls: the calls that used such tokens.
        maybe_billed_usd: the most USD that attempts without a response can have cost.
        maybe_billed_input_tokens: the tokens of prompts of which this is the cost.
        maybe_billed_cached_tokens: those of them that were read from the provider's cache.
        maybe_billed_output_tokens: the tokens of responses of which this is the cost.
        maybe_billed_unpriced_tokens: tokens whose price is not known; they are in no sum of USD.
        maybe_billed_unpriced_calls: the calls that used such tokens.
        reserved_usd: the most USD that calls in flight can cost.
        reserved_input_tokens: the tokens of prompts of which this is the cost.
        reserved_cached_tokens: those of them that were read from the provider's cache.
        reserved_output_tokens: the tokens of responses of which this is the cost.
        reserved_unpriced_tokens: tokens whose price is not known; they are in no sum of USD.
        reserved_unpriced_calls: the calls that used such tokens.
    """

    model: str | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    post: str | UnsetType = UNSET
    day: str | UnsetType = UNSET
    route: str | UnsetType = UNSET
    endpoint: str | UnsetType = UNSET
    call: str | UnsetType = UNSET
    calls: int
    saved_usd: str
    spent_usd: str
    spent_input_tokens: int
    spent_cached_tokens: int
    spent_output_tokens: int
    spent_unpriced_tokens: int
    spent_unpriced_calls: int
    unknown_usd: str
    unknown_input_tokens: int
    unknown_cached_tokens: int
    unknown_output_tokens: int
    unknown_unpriced_tokens: int
    unknown_unpriced_calls: int
    maybe_billed_usd: str
    maybe_billed_input_tokens: int
    maybe_billed_cached_tokens: int
    maybe_billed_output_tokens: int
    maybe_billed_unpriced_tokens: int
    maybe_billed_unpriced_calls: int
    reserved_usd: str
    reserved_input_tokens: int
    reserved_cached_tokens: int
    reserved_output_tokens: int
    reserved_unpriced_tokens: int
    reserved_unpriced_calls: int

    @classmethod
    def of(cls, row: CostRow, by: By | None = None) -> "CostFigures":
        """Return the figures of a row.

        Args:
            row: a row of a report, or a total.
            by: the member that has the name of the row; None for none.
        """
        totals = row.totals
        name: dict[str, str | int] = {} if by is None else {by: row.name}
        figures = {
            **name,
            "calls": row.calls,
            "saved_usd": usd_text(totals.spent.saved_usd),
            **_amount("spent", totals.spent),
            **_amount("unknown", totals.unknown),
            **_amount("maybe_billed", totals.maybe_billed),
            **_amount("reserved", totals.reserved),
        }
        return msgspec.convert(figures, cls)


def _amount(account: str, amount: Amount) -> dict[str, str | int]:
    return {
        f"{account}_usd": usd_text(amount.usd),
        f"{account}_input_tokens": amount.input_tokens,
        f"{account}_cached_tokens": amount.cached_tokens,
        f"{account}_output_tokens": amount.output_tokens,
        f"{account}_unpriced_tokens": amount.unpriced_tokens,
        f"{account}_unpriced_calls": amount.unpriced_calls,
    }


@attrs.frozen(kw_only=True)
class CostDocument:
    """What `callsheet costs --format json` writes.

    Args:
        ledger: the file that was read.
        by: the member by which calls are grouped: each row has it.
        since: the first day in UTC, as `--since` has it; null for the first day in the ledger.
        until: the last day, as `--until` has it; null for the last day in the ledger.
        rows: the costs, sorted by name.
        total: the sums of these rows.
        simulated_rows: what endpoints on this machine would have cost, such as the built-in
            provider; it is not paid, and in no sum of `total`.
        simulated_total: the sums of these rows.
    """

    ledger: str
    by: By
    since: str | None
    until: str | None
    rows: Sequence[CostFigures]
    total: CostFigures
    simulated_rows: Sequence[CostFigures]
    simulated_total: CostFigures


def to_csv(report: CostReport) -> str:
    """Return the rows as CSV, with a header line and without the totals.

    Args:
        report: the costs to write.
    """
    text = io.StringIO()
    figures = _members(CostFigures.of(report.total))
    writer = csv.DictWriter(text, [report.by, "simulated", *figures], lineterminator="\n")
    writer.writeheader()
    for rows, simulated in ((report.rows, "no"), (report.simulated, "yes")):
        for row in rows:
            found = _members(CostFigures.of(row, report.by))
            writer.writerow({**found, "simulated": simulated})
    return text.getvalue()


def to_json(report: CostReport) -> str:
    """Return the report as one JSON object.

    Args:
        report: the costs to write.
    """
    document = CostDocument(
        ledger=str(report.ledger),
        by=report.by,
        since=report.since or None,
        until=report.until or None,
        rows=[CostFigures.of(row, report.by) for row in report.rows],
        total=CostFigures.of(report.total),
        simulated_rows=[CostFigures.of(row, report.by) for row in report.simulated],
        simulated_total=CostFigures.of(report.simulated_total),
    )
    return json.dumps(_members(document), indent=2)


def _members(value: CostDocument | CostFigures) -> dict[str, Any]:
    """Return what is written, in the order of the fields, which `to_builtins` does not keep."""
    return attrs.asdict(value, filter=lambda _, one: one is not UNSET)
