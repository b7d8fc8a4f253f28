"""The progress of a run, and the end of a row: for displays, logs and reports."""

from collections.abc import Callable, Mapping
from decimal import Decimal

import attrs

from ..actors import LimiterSnapshot, Usage
from .spending import BudgetRoom


@attrs.frozen(kw_only=True)
class RowEnded:
    """The end of one row, reported when its result is on disk (L7).

    Args:
        at: the time, in seconds on Trio's clock.
        number: the number of the row in the input, from 1.
        custom_id: the custom id of the row.
        seconds: the duration of the request that brought the response, as in `Response.seconds`;
            for a failed row, the seconds from its dispatch to its end.
        attempts: HTTP requests for the row; 0 for a response that was shared or reused.
        route: the route, as in `Response.route`; "" for an error.
        usage: the tokens that were billed.
        cost_usd: the cost in USD; None if the price is not known.
        error: the kind of error, such as "RateLimited"; None for a response.
        message: the text of the error.
        is_reused: True if the response is from an earlier run.
        finish_reason: why the generation ended, as in `Response.finish_reason`; None if that is
            not known, as for a reused response.
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
    finish_reason: str | None = None


RowObserver = Callable[[RowEnded], None]


@attrs.frozen(kw_only=True)
class SharedProgress:
    """The workers of a shared run at one moment, as the server said last.

    Args:
        workers: how many work on the run, this process included.
        most_workers: the most that have worked on it at the same time.
        waiting: rows that no worker has.
        again: how many times a row was given to a further worker, because one had ended over it.
            Each is in `maybe_billed`.
        is_away: whether the server does not respond.
    """

    workers: int = 0
    most_workers: int = 0
    waiting: int = 0
    again: int = 0
    is_away: bool = False


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of a run at one moment.

    Args:
        started_at: the start of the run, in seconds on Trio's clock.
        now: the current time, in seconds on Trio's clock.
        total: the rows of the input; None if the number is not known, as for a pipe.
        read: rows that were read.
        answered: rows with a response, reused ones included.
        reused: rows whose response is from an earlier run.
        failed: rows that ended with an error.
        bad: lines that are not valid requests.
        in_flight: rows that are dispatched and do not wait for a retry.
        retrying: rows that wait for a retry.
        requests: HTTP requests and lines of batches sent in this run, also for rows that have not
            ended.
        rerouted: rows that were sent live in this run, and not in a batch.
        in_batches: rows that are in batches at the provider now.
        unwritten: rows that have ended and wait for an earlier row, because OUTPUT is ordered.
        window: the maximum of rows that are read and not written.
        usage: the tokens of this run's responses.
        cost_usd: the cost in USD of this run's responses, as far as prices are known.
        unpriced: responses of this run whose price is not known.
        maybe_billed: HTTP requests that may have been billed without a response, in this run and
            earlier ones.
        unknown_usd: the most USD that responses without a known cost can have cost, in this run and
            earlier ones; 0 where no price is known.
        maybe_usd: the most USD that the requests in `maybe_billed` can have cost; 0 where no price
            is known.
        spent_usd: what counts against the budget of the run, in USD: the cost of all responses in
            OUTPUT, those of earlier runs included, and `unknown_usd` and `maybe_usd`.
        budget_usd: the budget of the run in USD; None if it has none.
        budget_room: the room of the budget for calls in flight; None if it has held back no call.
        errors: {kind of error: number of failed rows}
        cut: {finish reason: number of this run's responses}, for "length" and "content_filter".
        slowest: custom ids and seconds of this run's slowest responses, the slowest first.
        limits: the limiter's state; None before it was asked for.
        trouble: the error of the last attempt, if no response has arrived for some seconds, or no
            connection was ever made; else "".
        shared: the workers of a shared run; None for another run. Then `in_flight` is the number of
            rows that workers have.
        is_paused: True if the run is paused.
        is_draining: True if no more rows are dispatched.
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
    retrying: int = 0
    requests: int = 0
    rerouted: int = 0
    in_batches: int = 0
    unwritten: int = 0
    window: int = 0
    usage: Usage = attrs.field(factory=Usage)
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    maybe_billed: int = 0
    unknown_usd: Decimal = Decimal(0)
    maybe_usd: Decimal = Decimal(0)
    spent_usd: Decimal = Decimal(0)
    budget_usd: Decimal | None = None
    budget_room: BudgetRoom | None = None
    errors: Mapping[str, int] = attrs.field(factory=dict[str, int])
    cut: Mapping[str, int] = attrs.field(factory=dict[str, int])
    slowest: tuple[tuple[str, float], ...] = ()
    limits: LimiterSnapshot | None = None
    trouble: str = ""
    shared: SharedProgress | None = None
    is_paused: bool = False
    is_draining: bool = False

    @property
    def is_read(self) -> bool:
        """Whether every row of the input was read. A run that ends early has not read all."""
        return self.total is not None and self.read >= self.total

    @property
    def ended(self) -> int:
        """The number of rows that have ended, with a response or an error."""
        return self.answered + self.failed + self.bad
