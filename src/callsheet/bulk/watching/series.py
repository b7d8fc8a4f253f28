"""What the report of a run is made of, in constant memory over any number of rows."""

import heapq
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

import attrs

from ...actors import BucketState, Dimension, Usage, redact_secrets
from ..progress import Progress, RowEnded
from .histogram import Histogram
from .strip import Strip

__all__ = ["Series", "SlowRow"]

_MOST_KINDS = 20  # of errors, and of routes
_OTHER = "other"
_MOST_SLOW = 20
_MOST_SIGNS = 200  # of a custom id, and of what an error says


@attrs.frozen(order=True)
class SlowRow:
    """An answer that took long.

    Args:
        seconds: from being asked for to its end.
        number: which row of the input it is, from 1.
        custom_id: of the row, or the beginning of it.
        attempts: HTTP requests that it took.
        route: by which it went.
    """

    seconds: float
    number: int
    custom_id: str
    attempts: int
    route: str


class Series:
    """Adds up a run; its `observe` is a `RowObserver`.

    Args:
        started_at: when the run began, in seconds on Trio's clock.

    Attributes:
        strip: what happened when.
        latency: how long the answers of this run took.
        errors: rows that failed, by kind; kinds beyond the first 20 are "other".
        examples: what the first error of each kind said, without what looks like a secret (L8).
        routes: answers of this run, by route.
        answered: rows that were answered in this run.
        failed: rows that ended with an error.
        reused: rows whose answer was there already.
        attempts: HTTP requests that all of them took.
        usage: the tokens that they took.
        cost_usd: USD that they cost, as far as prices are known.
        unpriced: answers of this run whose price is not known.
    """

    def __init__(self, started_at: float) -> None:
        self.strip = Strip(started_at)
        self.latency = Histogram()
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.routes: Counter[str] = Counter()
        self.answered = self.failed = self.reused = self.attempts = self.unpriced = 0
        self.usage = Usage()
        self.cost_usd = Decimal(0)
        self._slowest: list[SlowRow] = []  # a heap: the fastest of them first

    def __repr__(self) -> str:
        return f"<Series of {self.answered} answered, {self.failed} failed, {self.reused} reused>"

    @property
    def slowest(self) -> tuple[SlowRow, ...]:
        """The slowest 20 answers of this run, the slowest first."""
        return tuple(sorted(self._slowest, reverse=True))

    def observe(self, row: RowEnded) -> None:
        """Take in how a row has ended; a `RowObserver`."""
        bucket = self.strip.at(row.at)
        if row.is_reused:
            self.reused += 1
            bucket.reused += 1
            return
        self.attempts += row.attempts
        bucket.attempts += row.attempts
        self.usage += row.usage
        bucket.tokens += row.usage.total_tokens
        if row.cost_usd is not None:
            self.cost_usd += row.cost_usd
            bucket.cost_usd += row.cost_usd
        if row.error is not None:
            kind = _among(self.errors, row.error)
            self.failed += 1
            bucket.failed += 1
            self.errors[kind] += 1
            bucket.errors[kind] += 1
            self.examples.setdefault(kind, _clipped(row.message))
            return
        self.answered += 1
        bucket.answered += 1
        self.unpriced += row.cost_usd is None
        self.routes[_among(self.routes, row.route)] += 1
        self.latency.add(row.seconds)
        self._keep_if_slow(row)

    def sample(self, progress: Progress) -> None:
        """Take in the limits; a `ProgressObserver`."""
        buckets = () if progress.limits is None else progress.limits.buckets
        bucket = self.strip.at(progress.now)
        requests = _allowed(buckets, "requests")
        if requests is not None:
            bucket.request_limit = requests
        tokens = _allowed(buckets, "tokens")
        if tokens is not None:
            bucket.token_limit = tokens

    def _keep_if_slow(self, row: RowEnded) -> None:
        kept = self._slowest
        if len(kept) == _MOST_SLOW and row.seconds <= kept[0].seconds:
            return
        name = _clipped(row.custom_id)
        slow = SlowRow(row.seconds, row.number, name, row.attempts, row.route)
        if len(kept) < _MOST_SLOW:
            heapq.heappush(kept, slow)
        else:
            heapq.heapreplace(kept, slow)


def _allowed(buckets: Iterable[BucketState], dimension: Dimension) -> float | None:
    """How much a second all limits together allow: those of all, or the sum of each model's."""
    least: dict[str, float] = {}  # {scope: a second}
    for bucket in buckets:
        if bucket.dimension == dimension:
            per_s = bucket.limit / bucket.per_s
            least[bucket.scope] = min(per_s, least.get(bucket.scope, per_s))
    for_all = least.pop("", None)
    if not least:
        return for_all
    together = sum(least.values())
    return together if for_all is None else min(for_all, together)


def _among(known: Counter[str], name: str) -> str:
    """The name to count by: some sender may think of any number of them."""
    name = name[:_MOST_SIGNS]
    return name if name in known or len(known) < _MOST_KINDS else _OTHER


def _clipped(text: str) -> str:
    whole = redact_secrets(None, "", {"text": text[: 4 * _MOST_SIGNS]})["text"]
    shown = str(whole)
    return shown if len(shown) <= _MOST_SIGNS else f"{shown[: _MOST_SIGNS - 1]}…"
