"""How a run stands, and what became of a row: for displays, logs and reports."""

from collections.abc import Callable, Mapping
from decimal import Decimal

import attrs

from ..actors import LimiterSnapshot, Usage

__all__ = ["Progress", "RowEnded", "RowObserver"]


@attrs.frozen(kw_only=True)
class RowEnded:
    """What became of one row. Told once it is on disk (L7).

    Args:
        at: when, in seconds on Trio's clock.
        number: which row of the input it is, from 1.
        custom_id: of the row.
        seconds: that the provider took for the answer, as in `Response.seconds`; of a row without
            one, from being asked for to its end.
        attempts: HTTP requests that it took; 0 for an answer that was shared or there already.
        route: as in `Response.route`; "" for an error.
        usage: the tokens that it took.
        cost_usd: USD; None when the price is not known.
        error: the kind of error, such as "RateLimited"; None for an answer.
        message: what the error says.
        is_reused: the answer was there from an earlier run.
    """

    at: float
    number: int
    custom_id: str
    seconds: float = 0.0
    attempts: int = 0
    route: str = ""
    usage: Usage = attrs.field(factory=Usage)
    cost_usd: Decimal | None = Decimal(0)
    error: str | None = None
    message: str = ""
    is_reused: bool = False


RowObserver = Callable[[RowEnded], None]


@attrs.frozen(kw_only=True)
class Progress:
    """How a run stands.

    Args:
        started_at: when it began, in seconds on Trio's clock.
        now: the time of all this.
        total: rows of the input; None while that is not known, as for a pipe.
        read: rows that were read.
        answered: rows with an answer, the reused ones included.
        reused: of them, those whose answer was there from an earlier run.
        failed: rows that ended with an error.
        bad: lines that are no request.
        in_flight: rows that are asked for, those aside that wait for another attempt.
        resting: those.
        requests: HTTP requests that were sent in this run, and lines of batches, for rows that have
            not ended as well.
        unwritten: rows that have ended and wait for an earlier one to be written before them.
        window: as many of these as there may be.
        usage: tokens that the answers of this run took.
        cost_usd: USD that they cost, as far as prices are known.
        unpriced: answers of this run whose price is not known.
        maybe_billed: HTTP requests that may have been charged for nothing, those of runs that died
            included.
        errors: rows that failed, by kind of error.
        slowest: custom ids and seconds of the slowest answers of this run, the slowest first.
        limits: what the limiter knows; None if it was not asked.
        trouble: what attempts fail with, if no answer has come for some seconds.
        is_paused: nobody is asked for now.
        is_draining: nothing more is begun.
    """

    started_at: float
    now: float
    total: int | None = None
    read: int = 0
    answered: int = 0
    reused: int = 0
    failed: int = 0
    bad: int = 0
    in_flight: int = 0
    resting: int = 0
    requests: int = 0
    unwritten: int = 0
    window: int = 0
    usage: Usage = attrs.field(factory=Usage)
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    maybe_billed: int = 0
    errors: Mapping[str, int] = attrs.field(factory=dict[str, int])
    slowest: tuple[tuple[str, float], ...] = ()
    limits: LimiterSnapshot | None = None
    trouble: str = ""
    is_paused: bool = False
    is_draining: bool = False

    @property
    def ended(self) -> int:
        """Rows that have ended, one way or the other."""
        return self.answered + self.failed + self.bad
