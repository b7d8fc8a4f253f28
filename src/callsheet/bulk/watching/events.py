"""The events of a run, as `callsheet run --events` writes them: one JSON object a line."""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from ...actors import BucketState
from ...wording import usd_text
from ..progress import Progress, RowEnded


class StartEvent(TypedDict):
    """The run has started.

    Args:
        event: the kind of the event.
        at: seconds since the start of the run.
        time: the time of the start, ISO 8601 in UTC.
        total: the rows of the input; null if the number is not known.
    """

    event: Literal["start"]
    at: float
    time: str
    total: int | None


class KnownLimit(TypedDict):
    """One rate limit: an amount in a period.

    Args:
        scope: the model, or group of models, that it applies to; "" for all.
        dimension: what it limits: requests, tokens of one side or both, or USD.
        limit: the amount in `per_s` seconds.
        per_s: the period in seconds.
        source: "set" by the user, or "learned" from the provider's responses.
        member: which one of several keys or hosts it belongs to; this member is there only if
            there are several.
    """

    scope: str
    dimension: str
    limit: float
    per_s: float
    source: str
    member: NotRequired[str]


class LimitsEvent(TypedDict):
    """The rate limits are known, or have changed.

    Args:
        event: the kind of the event.
        at: seconds since the start of the run.
        limits: all limits that are known now.
    """

    event: Literal["limits"]
    at: float
    limits: Sequence[KnownLimit]


class RowEvent(TypedDict):
    """A row has ended, and its result is on disk.

    Args:
        event: the kind of the event.
        at: seconds since the start of the run.
        number: the number of the row in the input, from 1.
        custom_id: the custom id of the row.
        seconds: the duration in seconds of the request that brought the response; for a failed
            row, the seconds from its dispatch to its end.
        attempts: HTTP requests for the row; 0 for a response that was shared or reused.
        route: the route of the response, such as "live"; "" for an error.
        input_tokens: the tokens of the prompt, as billed.
        output_tokens: the tokens of the response, as billed.
        cost_usd: the cost in USD; null if it is not known.
        error: the kind of error, such as "RateLimited"; null for a response.
        is_reused: true for a response of an earlier run.
    """

    event: Literal["row"]
    at: float
    number: int
    custom_id: str
    seconds: float
    attempts: int
    route: str
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    error: str | None
    is_reused: bool


class ControlEvent(TypedDict):
    """The run pauses, resumes, or drains: it sends no more rows, and waits for those it has sent.

    Args:
        event: the kind of the event.
        at: seconds since the start of the run.
    """

    event: Literal["pause", "resume", "drain"]
    at: float


class EndEvent(TypedDict):
    """The run has ended. Its sums are those of the summary that `--json` writes.

    Args:
        event: the kind of the event.
        at: seconds since the start of the run.
        time: the time of the end, ISO 8601 in UTC.
        total: the rows of the input; null if the number is not known.
        answered: rows with a response, those of earlier runs included.
        reused: rows with a response from an earlier run.
        failed: rows that were sent and have no response.
        bad: rows that are no valid requests.
        in_flight: rows whose calls were cancelled.
        input_tokens: the tokens of the prompts, as billed in this run.
        output_tokens: the tokens of the responses, as billed in this run.
        cost_usd: the cost of this run's responses in USD, as far as prices are known.
        unpriced: responses of this run whose cost is not known.
        unknown_usd: the most USD that responses without a known cost can have cost, in all runs.
        maybe_usd: the most USD that the requests in `maybe_billed` can have cost.
        maybe_billed: requests that may have been billed without a response, in all runs.
        errors: the number of failed rows by kind of error.
    """

    event: Literal["end"]
    at: float
    time: str
    total: int | None
    answered: int
    reused: int
    failed: int
    bad: int
    in_flight: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    unpriced: int
    unknown_usd: str
    maybe_usd: str
    maybe_billed: int
    errors: Mapping[str, int]


RunEvent = StartEvent | LimitsEvent | RowEvent | ControlEvent | EndEvent
"""An event of a run."""


def row_event(row: RowEnded, at: float) -> RowEvent:
    """Return the event of a row, without the text of an error.

    Args:
        row: the end of the row.
        at: seconds since the start of the run.
    """
    return {
        "event": "row",
        "at": at,
        "number": row.number,
        "custom_id": row.custom_id,
        "seconds": round(row.seconds, 6),
        "attempts": row.attempts,
        "route": row.route,
        "input_tokens": row.usage.input_tokens,
        "output_tokens": row.usage.output_tokens,
        "cost_usd": None if row.cost_usd is None else usd_text(row.cost_usd),
        "error": row.error,
        "is_reused": row.is_reused,
    }


def known_limit(bucket: BucketState) -> KnownLimit:
    """Return the limit of a bucket.

    Args:
        bucket: the state of the limit.
    """
    found: KnownLimit = {
        "scope": bucket.scope,
        "dimension": bucket.dimension,
        "limit": bucket.limit,
        "per_s": bucket.per_s,
        "source": bucket.source,
    }
    if bucket.member:
        found["member"] = bucket.member
    return found


def end_event(progress: Progress, at: float, time: str) -> EndEvent:
    """Return the event of the end of a run.

    Args:
        progress: where the run stood.
        at: seconds since the start of the run.
        time: the time of the end, ISO 8601 in UTC.
    """
    return {
        "event": "end",
        "at": at,
        "time": time,
        "total": progress.total,
        "answered": progress.answered,
        "reused": progress.reused,
        "failed": progress.failed,
        "bad": progress.bad,
        "in_flight": progress.in_flight,
        "input_tokens": progress.usage.input_tokens,
        "output_tokens": progress.usage.output_tokens,
        "cost_usd": usd_text(progress.cost_usd),
        "unpriced": progress.unpriced,
        "unknown_usd": usd_text(progress.unknown_usd),
        "maybe_usd": usd_text(progress.maybe_usd),
        "maybe_billed": progress.maybe_billed,
        "errors": dict(progress.errors),
    }
