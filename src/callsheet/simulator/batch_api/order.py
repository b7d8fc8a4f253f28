"""An OpenAI batch: its parameters and its output."""

from collections.abc import Mapping

import attrs

from ..jsontext import Json, compact
from .inputfile import ValidationProblem
from .lifecycle import Moment
from .work import LineOutcome, SimulatedBatch

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
