"""What a run would take, before a cent is spent: rows, tokens, money and time."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal

import attrs

from ..actors import Limits, PriceBook, Request, TokenEstimator, Usage, sharing_key
from .files.known import KnownKeys
from .row import BadRow, Row
from .settings import RunRoute

__all__ = ["Forecast", "ModelForecast", "forecast"]

_MINUTE_S = 60.0


@attrs.define
class ModelForecast:
    """What the rows for one model would take.

    Args:
        rows: that would be asked for.
        usage: tokens, as estimated.
        live_usd: USD at the usual price; None if the price is not known.
        batch_usd: USD by the Batch API; None if the price is not known.
    """

    rows: int = 0
    usage: Usage = attrs.field(factory=Usage)
    live_usd: Decimal | None = None
    batch_usd: Decimal | None = None


@attrs.define
class Forecast:
    """What a run would take.

    Args:
        read: rows, bad lines included.
        bad: lines that are no request.
        answered: rows that have an answer from an earlier run.
        doubles: rows that ask for the same as an earlier one, under another id.
        spent_usd: USD that the answers of earlier runs have cost, as far as it is known.
        first_bad: the first of the bad lines.
        models: what is to be asked, by model.
    """

    read: int = 0
    bad: int = 0
    answered: int = 0
    doubles: int = 0
    spent_usd: Decimal = Decimal(0)
    first_bad: BadRow | None = None
    models: dict[str, ModelForecast] = attrs.field(factory=dict[str, ModelForecast])

    @property
    def to_ask(self) -> int:
        """Rows that would be asked for."""
        return sum(model.rows for model in self.models.values())

    @property
    def tokens(self) -> int:
        """Of all that would be asked for, and of the answers."""
        return sum(model.usage.total_tokens for model in self.models.values())

    @property
    def unpriced(self) -> list[str]:
        """Models whose price is not known."""
        return sorted(name for name, model in self.models.items() if model.live_usd is None)

    def usd(self, route: RunRoute) -> Decimal | None:
        """What would be asked for costs, in USD; None if a price is not known.

        Args:
            route: by which it goes; what "auto" and "pack" save is not known beforehand.
        """
        found = Decimal(0)
        for model in self.models.values():
            usd = model.batch_usd if route == "batch" else model.live_usd
            if usd is None:
                return None
            found += usd
        return found

    def least_s(self, limits: Limits) -> float | None:
        """Seconds that the limits make it last, at least; None if none is known."""
        least: list[float] = []
        if limits.rpm is not None:
            least.append(self.to_ask / limits.rpm * _MINUTE_S)
        if limits.tpm is not None:
            least.append(self.tokens / limits.tpm * _MINUTE_S)
        return max(least, default=None)


def forecast(rows: Iterable[Row | BadRow], prices: PriceBook, known: KnownKeys) -> Forecast:
    """See what a run would take. It blocks, and takes no more memory for more rows.

    Args:
        rows: of the input.
        prices: what models cost.
        known: which rows have an answer.
    """
    found, estimator = Forecast(spent_usd=known.cost_usd), TokenEstimator()
    with closing(sqlite3.connect("", isolation_level=None)) as seen:  # a temporary file
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (what BLOB PRIMARY KEY) WITHOUT ROWID")
        for row in rows:
            found.read += 1
            if isinstance(row, BadRow):
                found.bad += 1
                found.first_bad = found.first_bad or row
            elif known.has(row.key):
                found.answered += 1
            else:
                found.doubles += not _is_new(seen, row.request)
                estimate = estimator.estimate(row.request)
                model = found.models.setdefault(row.request.model, ModelForecast())
                model.rows += 1
                model.usage += Usage(estimate.input_tokens, estimate.output_tokens)
        for name, model in found.models.items():
            model.live_usd = prices.cost(name, model.usage)
            model.batch_usd = prices.cost(name, model.usage, "batch")
    return found


def _is_new(seen: sqlite3.Connection, request: Request) -> bool:
    what = sharing_key(attrs.evolve(request, cacheable=True))
    if what is None:
        return True
    cursor = seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (bytes.fromhex(what),))
    return cursor.rowcount > 0
