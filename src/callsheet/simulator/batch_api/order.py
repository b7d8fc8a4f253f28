"""A batch of OpenAI's: what was ordered, and what comes out of it."""

from collections.abc import Mapping

import attrs

from ..jsontext import Json, compact
from .inputfile import ValidationProblem
from .lifecycle import Moment
from .work import LineOutcome, SimulatedBatch

__all__ = [
    "Order",
    "error_lines",
    "output_lines",
]


_UNDONE = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
}


@attrs.define(eq=False, kw_only=True)
class Order:
    """A batch, and what its creator said of it.

    Args:
        batch: the work.
        input_file_id: where its lines are.
        input_bytes: how large that is.
        endpoint: where they go.
        model: whose they are, if that is known.
        window: how long it may take, as it was ordered.
        metadata: the client's own.
        flaws: why it fails, if it does.
        tokens: what of the model's limit it takes until it ends.
        output_life_s: how long its output is kept, seconds.
        output_file_id: where its answers are, once it has ended with any.
        error_file_id: where its failures are, once it has ended with any.
        is_filed: whether these were put where they are.
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
    """The answers there are, in the order in which they were made."""
    return b"".join(_line(outcome) for outcome in batch.outcomes if outcome.is_ok)


def error_lines(batch: SimulatedBatch, moment: Moment) -> bytes:
    """The failures, and the lines that were not done by the end."""
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
    # The body is JSON already.
    return b'%b,"response":%b,"body":%b},"error":null}\n' % (
        compact(head)[:-1],
        compact(response)[:-1],
        outcome.body or b"null",
    )
