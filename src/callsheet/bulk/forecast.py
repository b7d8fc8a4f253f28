"""Estimate rows, tokens, cost and time of a run without sending anything."""

import re
import sqlite3
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from contextlib import closing
from decimal import Decimal
from random import Random
from typing import Literal

import attrs

from ..actors import (
    CacheForecast,
    CheckPlan,
    CombinedCost,
    CostBound,
    Limits,
    Packing,
    Price,
    PriceBook,
    Request,
    TierPrice,
    TokenEstimator,
    Usage,
    sharing_key,
)
from .answer_schema import answer_tokens
from .files.known import InputComparison, KnownKeys, RowComparer
from .row import BadRow, Row
from .settings import RetriedReason
from .spending import RunSpend

_MINUTE_S = 60.0
_MOST_KINDS = 20  # of reasons why rows are invalid
_SPECIFIC = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")  # what differs in reasons of the same kind

PricedRoute = Literal["live", "batch", "flex", "pack"]
"""A route whose cost is estimated."""

OutputBasis = Literal["responses", "schema", "max_tokens", "default"]
"""What the length of responses is estimated by: the latest ones in OUTPUT, the longest one that
the schema allows, `max_tokens` of the rows, or 256 tokens."""


@attrs.define
class ModelForecast:
    """The estimate for the rows of one model.

    Args:
        rows: the rows to send.
        usage: the estimated tokens.
        live_usd: the cost in USD at the usual price; None if the price is not known.
        batch_usd: the cost in USD by the Batch API; None if the price is not known.
        flex_usd: the cost in USD at the flex tier; None if the price is not known.
        pack_saves_usd: what packs save of `live_usd`, in USD.
        basis: what the length of responses is estimated by.
        output_tokens: the tokens that a response is taken to have, or fewer by `max_tokens`; None
            if nothing but `max_tokens` or the default is known.
    """

    rows: int = 0
    usage: Usage = attrs.field(factory=Usage)
    live_usd: Decimal | None = None
    batch_usd: Decimal | None = None
    flex_usd: Decimal | None = None
    pack_saves_usd: Decimal = Decimal(0)
    basis: OutputBasis = "default"
    output_tokens: int | None = None
    _live: TierPrice | None = attrs.field(default=None, alias="live", repr=False)
    _batch: TierPrice | None = attrs.field(default=None, alias="batch", repr=False)
    _flex: TierPrice | None = attrs.field(default=None, alias="flex", repr=False)

    @property
    def pack_usd(self) -> Decimal | None:
        """The cost in USD in packs; None if the price is not known."""
        return None if self.live_usd is None else self.live_usd - self.pack_saves_usd

    @classmethod
    def of(cls, price: Price | None) -> "ModelForecast":
        """Return the estimate for no rows of a model.

        Args:
            price: the prices of the model; None if they are not known.
        """
        live, batch, flex = (
            None if price is None else price.at(tier) for tier in ("default", "batch", "flex")
        )
        free = Decimal(0)
        return cls(
            live_usd=None if live is None else free,
            batch_usd=None if batch is None else free,
            flex_usd=None if flex is None else free,
            live=live,
            batch=batch,
            flex=flex,
        )

    def usd(self, route: PricedRoute) -> Decimal | None:
        """Return the cost in USD of a route; None if the price is not known.

        Args:
            route: the name of the route.
        """
        match route:
            case "live":
                return self.live_usd
            case "batch":
                return self.batch_usd
            case "flex":
                return self.flex_usd
            case "pack":
                return self.pack_usd

    def add(self, usage: Usage) -> Decimal:
        """Add a row, and return its cost in USD at the usual price; 0 if that is not known.

        Each has its own price, which depends on the size of its prompt.

        Args:
            usage: the estimated tokens of the row.
        """
        self.rows += 1
        self.usage += usage
        live_usd = Decimal(0)
        if self._live is not None:
            live_usd = self._live.cost(usage)
            self.live_usd = (self.live_usd or Decimal(0)) + live_usd
        if self._batch is not None:
            self.batch_usd = (self.batch_usd or Decimal(0)) + self._batch.cost(usage)
        if self._flex is not None:
            self.flex_usd = (self.flex_usd or Decimal(0)) + self._flex.cost(usage)
        return live_usd


@attrs.define
class Forecast:
    """The estimate for a run.

    Args:
        read: the rows of the input, invalid ones included.
        bad: lines that are not valid requests.
        comparison: how the rows compare with the responses of earlier runs.
        again: rows to send although they have a response, because of how it ended.
        duplicates: rows with the same request as an earlier row, under another custom id.
        unshared: of these, rows that may not share the response of the earlier one.
        misfits: why rows cannot be in a pack, with the number of them.
        spent: what earlier runs have spent.
        first_bad: the first of the invalid rows.
        bad_kinds: the first row with each kind of reason, and the number of rows with it; of at
            most 20 kinds.
        models: the estimates, by model.
        cache_saves_usd: what the provider's prompt cache saves of the cost of live calls, in USD.
        cache_reads: the rows whose prompts it reads in part.
    """

    read: int = 0
    bad: int = 0
    comparison: InputComparison = attrs.field(factory=InputComparison)
    again: int = 0
    duplicates: int = 0
    unshared: int = 0
    misfits: Counter[str] = attrs.field(factory=Counter[str])
    spent: RunSpend = attrs.field(factory=RunSpend)
    first_bad: BadRow | None = None
    bad_kinds: dict[str, tuple[BadRow, int]] = attrs.field(factory=dict[str, tuple[BadRow, int]])
    models: dict[str, ModelForecast] = attrs.field(factory=dict[str, ModelForecast])
    cache_saves_usd: Decimal = Decimal(0)
    cache_reads: int = 0

    def note_bad(self, row: BadRow) -> None:
        """Count an invalid row by the kind of its reason."""
        self.bad += 1
        self.first_bad = self.first_bad or row
        kind = _SPECIFIC.sub("", row.reason)
        first, count = self.bad_kinds.get(kind, (row, 0))
        if count or len(self.bad_kinds) < _MOST_KINDS:
            self.bad_kinds[kind] = first, count + 1

    @property
    def answered(self) -> int:
        """The number of rows with a response from an earlier run, and not asked again."""
        return self.comparison.matched - self.again

    @property
    def to_send(self) -> int:
        """The number of rows to send."""
        return sum(model.rows for model in self.models.values())

    @property
    def tokens(self) -> int:
        """The estimated tokens of all requests and responses."""
        return sum(model.usage.total_tokens for model in self.models.values())

    @property
    def unpriced(self) -> list[str]:
        """The models whose price is not known."""
        return sorted(name for name, model in self.models.items() if model.live_usd is None)

    def usd(self, route: PricedRoute) -> Decimal | None:
        """Return the estimated cost in USD; None if a price is not known.

        Args:
            route: the name of the route.
        """
        found = Decimal(0)
        for model in self.models.values():
            usd = model.usd(route)
            if usd is None:
                return None
            found += usd
        return found

    def cache_saves_of(self, route: PricedRoute) -> Decimal:
        """Return what the prompt cache saves of the cost of a route in USD; 0 of batches and packs.

        Args:
            route: the name of the route.
        """
        live, usd = self.usd("live"), self.usd(route)
        if route in ("batch", "pack") or not live or usd is None:
            return Decimal(0)
        return self.cache_saves_usd * usd / live  # the flex tier halves all prices alike

    def least_s(self, limits: Limits) -> float | None:
        """Return the shortest time in seconds that the limits allow; None without limits.

        Args:
            limits: the rate limits.
        """
        least: list[float] = []
        if limits.rpm is not None:
            least.append(self.to_send / limits.rpm * _MINUTE_S)
        if limits.tpm is not None:
            least.append(self.tokens / limits.tpm * _MINUTE_S)
        return max(least, default=None)


class _Packs:
    """Forms packs of rows, as a run with the route "pack" would, and adds up what they save."""

    def __init__(self, estimator: TokenEstimator, prices: PriceBook) -> None:
        self._packing = Packing()
        self._estimator = estimator
        self._prices = prices
        self._open: dict[Hashable, _OpenPack] = {}
        self.misfits = Counter[str]()

    def add(self, request: Request, live_usd: Decimal, model: ModelForecast) -> None:
        """Add a row.

        Args:
            request: the request of the row.
            live_usd: its cost in USD if it is sent alone.
            model: gets what the pack of the row saves, as soon as the pack is full.
        """
        request = attrs.evolve(request, packable=True)
        key = self._packing.key(request)
        if key is None:
            self.misfits[self._packing.misfit(request) or ""] += 1
            return
        pack = self._open.get(key)
        if pack is None:
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open))).close()
            checks = CheckPlan(self._packing.check_share)
            cost = CombinedCost(self._packing, checks, self._estimator, self._prices)
            most = self._packing.bounds_for(request).max_size
            pack = self._open[key] = _OpenPack(cost, checks, model, most)
        pack.requests.append(request)
        pack.live_usd += live_usd
        if len(pack.requests) == pack.max_items:
            pack.close()

    def close(self) -> None:
        """Add what the packs save that are not full."""
        for pack in self._open.values():
            pack.close()


_MAX_OPEN = 200  # instructions whose next pack is formed at the same time


_ANY = Random(0)  # noqa: S311  # which members are checked does not matter here


@attrs.define(eq=False)
class _OpenPack:
    cost: CombinedCost
    checks: CheckPlan
    model: ModelForecast
    max_items: int | None
    requests: list[Request] = attrs.field(factory=list[Request])
    live_usd: Decimal = Decimal(0)

    def close(self) -> None:
        if len(self.requests) > 1:
            share = Decimal(str(round(self.cost.share(self.requests), 6)))
            if share < 1:
                self.model.pack_saves_usd += self.live_usd * (1 - share)
                self.checks.choose(len(self.requests), _ANY)
        self.requests, self.live_usd = [], Decimal(0)


def forecast(
    rows: Iterable[Row | BadRow],
    prices: PriceBook,
    known: KnownKeys,
    cache: CacheForecast | None = None,
    retry_on: Sequence[RetriedReason] = (),
    *,
    is_detailed: bool = True,
) -> Forecast:
    """Estimate a run. Blocks; the memory it takes does not grow with the number of rows.

    Args:
        rows: the rows of the input.
        prices: the prices of models.
        known: the keys of rows that have a response, and how long the responses are.
        cache: adds up what the provider's prompt cache saves; None to leave that out.
        retry_on: the finish reasons of responses whose rows are asked again.
        is_detailed: False to leave out duplicates, and what packs save, which take most of the
            time.
    """
    spent = known.spend.priced(CostBound(prices).usd_of_tokens)
    found, estimator = Forecast(spent=spent), TokenEstimator()
    packs = _Packs(estimator, prices)
    with (
        closing(sqlite3.connect("", isolation_level=None)) as seen,  # a temporary file
        RowComparer(known) as comparer,
    ):
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("CREATE TABLE seen (what BLOB PRIMARY KEY) WITHOUT ROWID")
        for row in rows:
            found.read += 1
            if isinstance(row, BadRow):
                found.note_bad(row)
                continue
            is_known = comparer.is_known(row)
            is_again = is_known and bool(retry_on) and known.ended_by(row.key) in retry_on
            if not is_known or is_again:
                found.again += is_again
                if is_detailed and not _is_new(seen, row.request):
                    found.duplicates += 1
                    found.unshared += not row.request.cacheable
                name = row.request.model
                model = found.models.get(name)
                if model is None:
                    model = found.models[name] = ModelForecast.of(prices.price(name))
                    model.basis, usual = _length(row.request, known)
                    if usual is not None:
                        estimator.assume_output(name, usual)
                        model.output_tokens = round(usual)
                estimate = estimator.estimate(row.request)
                usd = model.add(Usage(estimate.input_tokens, estimate.output_tokens))
                if is_detailed:
                    packs.add(row.request, usd, model)
                if cache is not None:
                    cache.add(row.request)
        found.comparison = comparer.result()
    packs.close()
    found.misfits = packs.misfits
    if cache is not None:
        found.cache_saves_usd, found.cache_reads = cache.saved_usd, cache.calls
    return found


def _length(request: Request, known: KnownKeys) -> tuple[OutputBasis, float | None]:
    """Return what the length of a model's responses is estimated by, and their tokens.

    Args:
        request: the first request to the model.
        known: the responses of earlier runs.
    """
    latest = known.output_tokens(request.model)
    if latest is not None:
        return "responses", latest
    schema = request.output_schema
    longest = None if schema is None else answer_tokens(schema.schema)
    if longest is not None:
        return "schema", float(longest)
    return ("default" if request.max_tokens is None else "max_tokens"), None


def _is_new(seen: sqlite3.Connection, request: Request) -> bool:
    what = sharing_key(attrs.evolve(request, cacheable=True))
    if what is None:
        return True
    cursor = seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (bytes.fromhex(what),))
    return cursor.rowcount > 0
