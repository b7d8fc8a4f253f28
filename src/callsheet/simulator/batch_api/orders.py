"""An OpenAI batch: its parameters, its output, and its format at OpenAI and at Together.

Source: docs/providers.md, OpenAI: batches; Together: batches.
"""

from collections.abc import Mapping

import attrs

from ..wire import Json, compact, rfc3339
from .engine import LineOutcome, SimulatedBatch
from .inputfile import ValidationProblem
from .lifecycle import Moment, Status

_UNDONE = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
}


@attrs.define(eq=False, kw_only=True)
class Order:
    """A batch, and the parameters of its creation.

    Args:
        batch: the simulated batch.
        input_file_id: the id of the input file.
        input_bytes: the size of the input file.
        endpoint: the endpoint of the lines.
        model: the model of the lines, if it is known.
        window: the requested completion window.
        metadata: the metadata of the client.
        flaws: the problems for which it fails, if any.
        tokens: the enqueued tokens that it occupies until it ends.
        output_life_s: seconds until its output expires.
        output_file_id: the id of the file of responses, after its end.
        error_file_id: the id of the file of failures, after its end.
        is_filed: True if these files were written.
    """

    batch: SimulatedBatch
    input_file_id: str
    input_bytes: int
    endpoint: str
    model: str | None
    window: str
    metadata: Mapping[str, Json] | None
    flaws: tuple[ValidationProblem, ...]
    tokens: int
    output_life_s: int
    output_file_id: str | None = None
    error_file_id: str | None = None
    is_filed: bool = False


def output_lines(batch: SimulatedBatch) -> bytes:
    """Return the lines of the output file, in the order of processing."""
    return b"".join(_line(outcome) for outcome in batch.outcomes if outcome.is_ok)


def error_lines(batch: SimulatedBatch, moment: Moment) -> bytes:
    """Return the lines of the error file: failures, and lines that were not processed."""
    failed = [_line(outcome) for outcome in batch.outcomes if not outcome.is_ok]
    if moment.status in _UNDONE:
        code, message = _UNDONE[moment.status]
        for i, line in enumerate(batch.undone):
            shown: dict[str, Json] = {
                "id": f"batch_req_{batch.id.removeprefix('batch_')[:16]}{i:08x}",
                "custom_id": line.custom_id,
                "response": None,
                "error": {"code": code, "message": message},
            }
            failed.append(compact(shown) + b"\n")
    return b"".join(failed)


def _line(outcome: LineOutcome) -> bytes:
    head: dict[str, Json] = {
        "id": f"batch_req_{outcome.hex[:24]}",
        "custom_id": outcome.line.custom_id,
    }
    response: dict[str, Json] = {
        "status_code": outcome.status,
        "request_id": outcome.request_id,
    }
    # The body is already JSON.
    return b'%b,"response":%b,"body":%b},"error":null}\n' % (
        compact(head)[:-1],
        compact(response)[:-1],
        outcome.body or b"null",
    )


_STAMPED: tuple[Status, ...] = (
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)
_TOGETHER: Mapping[Status, str] = {
    "validating": "VALIDATING",
    "in_progress": "IN_PROGRESS",
    "finalizing": "IN_PROGRESS",
    "completed": "COMPLETED",
    "failed": "FAILED",
    "expired": "EXPIRED",
    "cancelling": "CANCELING",
    "cancelled": "CANCELLED",
}


def openai_batch(order: Order, moment: Moment) -> dict[str, Json]:
    """Format a batch object of OpenAI."""
    batch = order.batch
    has_begun = "in_progress" in moment.since
    errors: Json = None
    if moment.status == "failed":
        errors = {"object": "list", "data": [flaw.as_json() for flaw in order.flaws]}
    found: dict[str, Json] = {
        "id": batch.id,
        "object": "batch",
        "endpoint": order.endpoint,
        "model": order.model,
        "errors": errors,
        "input_file_id": order.input_file_id,
        "completion_window": order.window,
        "status": moment.status,
        "output_file_id": order.output_file_id,
        "error_file_id": order.error_file_id,
        "created_at": int(batch.created.date),
        "expires_at": int(batch.created.date_of(batch.lifecycle.expires)),
    }
    for status in _STAMPED:
        when = moment.since.get(status)
        found[f"{status}_at"] = None if when is None else int(batch.created.date_of(when))
    found["request_counts"] = {
        "total": len(batch.lines) if has_begun else 0,
        "completed": batch.succeeded,
        "failed": moment.done - batch.succeeded,
    }
    found["usage"] = _usage(order)
    found["metadata"] = None if order.metadata is None else dict(order.metadata)
    return found


def together_batch(order: Order, moment: Moment) -> dict[str, Json]:
    """Format a batch job of Together."""
    batch = order.batch
    completed = moment.since.get("completed")
    return {
        "id": batch.id,
        "user_id": "user-callsheet",
        "input_file_id": order.input_file_id,
        "file_size_bytes": order.input_bytes,
        "status": _TOGETHER[moment.status],
        "job_deadline": rfc3339(batch.created.date_of(batch.lifecycle.expires)),
        "created_at": rfc3339(batch.created.date),
        "endpoint": order.endpoint,
        "progress": 100 * moment.done / len(batch.lines) if batch.lines else 0.0,
        "model_id": order.model,
        "output_file_id": order.output_file_id,
        "error_file_id": order.error_file_id,
        "error": order.flaws[0].message if moment.status == "failed" else None,
        "completed_at": None if completed is None else rfc3339(batch.created.date_of(completed)),
    }


def _usage(order: Order) -> dict[str, Json]:
    outcomes = order.batch.outcomes
    read = sum(outcome.input_tokens for outcome in outcomes)
    written = sum(outcome.output_tokens for outcome in outcomes)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
