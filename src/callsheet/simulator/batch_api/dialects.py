"""Format a batch as OpenAI does, or as Together does.

Source: docs/providers.md, OpenAI: batches; Together: batches.
"""

from collections.abc import Mapping

from ..durations import rfc3339
from ..jsontext import Json
from .lifecycle import Moment, Status
from .order import Order

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
