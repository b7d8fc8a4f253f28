"""The provider's rate limits: buckets that refill continuously, one pair for each key and model.

A bucket is a GCRA: one instant, `_full_at`, at which it will be full again, says all about it
(PROVIDERS, section 3). Pure: the time is an argument (R14).
"""

import math
from typing import Literal

import attrs

__all__ = ["Admission", "Bucket", "Limiter", "Refusal", "go_duration"]

PERIOD_S = 60.0
# Floats: a cost that fits in less than a microsecond fits now.
INSTANT_S = 1e-6
MOST_IDLE_PAIRS = 1024
MS_PER_S = 1000


def go_duration(seconds: float) -> str:
    """Write a duration as Go does, truncated to milliseconds: "120ms", "8.64s", "6m0s"."""
    total_ms = int(seconds * MS_PER_S + INSTANT_S)
    if total_ms < MS_PER_S:
        return f"{total_ms}ms" if total_ms else "0s"
    total_s, ms = divmod(total_ms, MS_PER_S)
    minutes, s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{ms:03}".rstrip("0") if ms else ""
    return (
        f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{s}{fraction}s"
    )


@attrs.define
class Bucket:
    """One limit of so many a minute.

    Args:
        limit: how many a minute.
        burst_s: how many seconds' worth may be used at once.
    """

    limit: int
    burst_s: float = PERIOD_S
    _full_at: float = attrs.field(default=-math.inf, init=False)

    @property
    def capacity(self) -> float:
        """How many may be used at once; always at least one."""
        return max(1.0, self.limit * self.burst_s / PERIOD_S)

    def used(self, now: float) -> float:
        """How many are missing from a full bucket."""
        return max(0.0, self._full_at - now) * self.limit / PERIOD_S

    def is_full(self, now: float) -> bool:
        """Whether nothing is missing."""
        return self._full_at <= now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` fits; 0 when it fits now.

        A cost above the capacity, though not above the limit, fits when the bucket is full:
        otherwise a small `burst_s` would refuse it for ever.
        """
        excess = self.used(now) + cost - max(self.capacity, cost)
        wait = excess * PERIOD_S / self.limit
        return wait if wait > INSTANT_S else 0.0

    def debit(self, cost: float, now: float) -> None:
        """Take `cost`."""
        self._full_at = max(now, self._full_at) + cost * PERIOD_S / self.limit

    def headers(self, name: str, now: float) -> dict[str, str]:
        """The three `x-ratelimit-*` headers of this limit."""
        used = self.used(now)
        return {
            f"x-ratelimit-limit-{name}": str(self.limit),
            f"x-ratelimit-remaining-{name}": str(max(0, math.floor(self.limit - used + 1e-6))),
            f"x-ratelimit-reset-{name}": go_duration(used * PERIOD_S / self.limit),
        }


@attrs.frozen
class Refusal:
    """Why a request was not admitted.

    Args:
        what: the limit in the way.
        limit: how many a minute it allows.
        used: how many of them are in use.
        requested: how many the request needs.
        wait_s: seconds until it would be admitted; infinite when it never will.
    """

    what: Literal["requests", "tokens"]
    limit: int
    used: int
    requested: int
    wait_s: float


@attrs.frozen
class Admission:
    """What the limits say of a request: the headers, and the refusal if it is one."""

    headers: dict[str, str]
    refusal: Refusal | None = None


@attrs.frozen
class _Pair:
    requests: Bucket | None
    tokens: Bucket | None

    def is_full(self, now: float) -> bool:
        return all(b is None or b.is_full(now) for b in (self.requests, self.tokens))

    def headers(self, now: float) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.requests is not None:
            found |= self.requests.headers("requests", now)
        if self.tokens is not None:
            found |= self.tokens.headers("tokens", now)
        return found


def _refusal(
    what: Literal["requests", "tokens"], bucket: Bucket | None, cost: int, now: float
) -> Refusal | None:
    if bucket is None:
        return None
    used = min(math.ceil(bucket.used(now) - 1e-6), bucket.limit)
    if cost > bucket.limit:
        return Refusal(what, bucket.limit, used, cost, math.inf)
    wait = bucket.wait(cost, now)
    return Refusal(what, bucket.limit, used, cost, wait) if wait else None


class Limiter:
    """Admits requests by key and model: checks every limit, then takes from every one.

    Args:
        rpm: requests a minute, or None.
        tpm: tokens a minute, or None.
        burst_s: how many seconds' worth of a limit may be used at once.
    """

    def __init__(self, rpm: int | None, tpm: int | None, burst_s: float) -> None:
        self._rpm = rpm
        self._tpm = tpm
        self._burst_s = burst_s
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._prune_at = MOST_IDLE_PAIRS

    def admit(self, key: str, model: str, tokens: int, now: float) -> Admission:
        """Decide on one request.

        One that is refused takes no tokens, but it takes a request as long as there are any:
        failed requests count, so that tight retry loops lock themselves out.

        Args:
            key: whose request it is.
            model: for which model.
            tokens: how many it is charged.
            now: seconds on the provider's clock.
        """
        pair = self._pair(key, model, now)
        refusals = (
            _refusal("requests", pair.requests, 1, now),
            _refusal("tokens", pair.tokens, tokens, now),
        )
        refusal = max(
            (found for found in refusals if found), key=lambda found: found.wait_s, default=None
        )
        if pair.requests is not None and refusals[0] is None:
            pair.requests.debit(1, now)
        if pair.tokens is not None and refusal is None:
            pair.tokens.debit(tokens, now)
        return Admission(pair.headers(now), refusal)

    def refill(self) -> None:
        """Make every bucket full."""
        self._pairs.clear()

    def _pair(self, key: str, model: str, now: float) -> _Pair:
        pair = self._pairs.get((key, model))
        if pair is None:
            if len(self._pairs) >= self._prune_at:
                # A full pair is the same as none: names made up by clients must not fill memory.
                self._pairs = {k: pair for k, pair in self._pairs.items() if not pair.is_full(now)}
                self._prune_at = max(MOST_IDLE_PAIRS, 2 * len(self._pairs))
            pair = self._pairs[key, model] = _Pair(
                None if self._rpm is None else Bucket(self._rpm, self._burst_s),
                None if self._tpm is None else Bucket(self._tpm, self._burst_s),
            )
        return pair
