"""An OpenAI batch: its input file, its parameters, its output, and its formats.

Source: docs/providers.md, OpenAI: batches; Together: batches.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import attrs

from ..body import RequestBody, RequestRefused
from ..call import ModelCall
from ..service import Parse
from ..settings import ProviderSettings
from ..wire import Json, compact, rfc3339
from .engine import LineOutcome, Moment, SimulatedBatch, SimulatedLine, Status

# The maximum of problems reported for one file.
MAX_FLAWS = 100


@attrs.frozen
class ValidationProblem(Exception):
    """A problem for which a batch fails validation.

    Args:
        code: the machine-readable code.
        message: the text for a person.
        line: the line, from 1; None for the whole file.
        param: the member of the line that is invalid.
    """

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the problem as an item of the batch's errors."""
        return {
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "line": self.line,
        }


@attrs.frozen
class InputFile:
    """A parsed input file.

    Args:
        lines: the calls, in the order of the file.
        model: the model of all calls; None if it is not known.
        flaws: the problems; if there are any, no line is processed.
    """

    lines: tuple[SimulatedLine, ...] = ()
    model: str | None = None
    flaws: tuple[ValidationProblem, ...] = ()

    @property
    def tokens(self) -> int:
        """The enqueued tokens: those of all prompts, as limiters estimate them."""
        calls = (line.call for line in self.lines)
        return sum(call.estimated_tokens for call in calls if not isinstance(call, RequestRefused))


def read_input(
    data: bytes,
    endpoint: str,
    parse: Parse,
    settings: ProviderSettings,
    check_model: Callable[[str], None],
) -> InputFile:
    """Parse and validate a file.

    Args:
        data: the content of the file.
        endpoint: the endpoint of its lines.
        parse: parses a call to that endpoint.
        settings: the provider's settings.
        check_model: raises `RequestRefused` for an unknown model.
    """
    batches = settings.batches
    if len(data) > batches.max_bytes:
        return _flawed("file_too_large", f"The file has more than {batches.max_bytes} bytes.")
    rows = [(i, row) for i, row in enumerate(data.split(b"\n"), 1) if row.strip()]
    if not rows:
        return _flawed("empty_file", "The file has no lines.")
    if len(rows) > batches.max_lines:
        return _flawed("too_many_tasks", f"The file has more than {batches.max_lines} lines.")
    reader = _Reader(endpoint, parse, settings, check_model)
    lines: list[SimulatedLine] = []
    flaws: list[ValidationProblem] = []
    for number, row in rows:
        try:
            lines.append(reader.line(row))
        except ValidationProblem as flaw:
            flaws.append(attrs.evolve(flaw, line=number))
            if len(flaws) == MAX_FLAWS:
                break
    return InputFile(() if flaws else tuple(lines), reader.model, tuple(flaws))


def _flawed(code: str, message: str) -> InputFile:
    return InputFile(flaws=(ValidationProblem(code, message),))


@attrs.define
class _Reader:
    _endpoint: str
    _parse: Parse
    _settings: ProviderSettings
    _check_model: Callable[[str], None]
    model: str | None = None
    _ids: set[str] = attrs.field(factory=set[str])

    def line(self, row: bytes) -> SimulatedLine:
        """Parse one line, or raise `ValidationProblem`."""
        members = _object(row)
        custom_id = members.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id:
            raise _missing("custom_id")
        if custom_id in self._ids:
            raise ValidationProblem(
                "duplicate_custom_id",
                f"The custom_id '{custom_id}' is that of another line too.",
                param="custom_id",
            )
        self._ids.add(custom_id)
        for flaw in self._misdirected(members):
            raise flaw
        body = members.get("body")
        if not isinstance(body, dict):
            raise _missing("body")
        self._meet_model(body.get("model"))
        return SimulatedLine(custom_id, self._call(body))

    def _misdirected(self, members: dict[str, Json]) -> Iterator[ValidationProblem]:
        """Yield the problems of method and URL, which Together's lines may leave out."""
        for name, wanted, code in (
            ("method", "POST", "invalid_method"),
            ("url", self._endpoint, "url_mismatch"),
        ):
            given = members.get(name)
            if given is None and self._settings.batches.dialect == "together":
                continue
            if given is None:
                yield _missing(name)
            elif given != wanted:
                yield ValidationProblem(code, f"The {name} must be '{wanted}'.", param=name)

    def _meet_model(self, model: Json) -> None:
        if not isinstance(model, str) or not model:
            raise _missing("body.model")
        if self.model is None:
            self.model = model
        if model != self.model:
            raise ValidationProblem(
                "model_mismatch",
                f"The model '{model}' is not that of the first line, '{self.model}'.",
                param="body.model",
            )
        try:
            self._check_model(model)
        except RequestRefused as error:
            raise ValidationProblem("model_not_found", error.message, param="body.model") from None

    def _call(self, body: dict[str, Json]) -> ModelCall | RequestRefused:
        try:
            call = self._parse(RequestBody(body), self._settings)
        except RequestRefused as error:
            return error
        if call.stream:
            return RequestRefused(400, "Streaming is not supported in batches.", param="stream")
        return call


def _object(row: bytes) -> dict[str, Json]:
    try:
        value = cast("Json", json.loads(row))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValidationProblem("invalid_json_line", "This line is not parseable as valid JSON.")
    return value


def _missing(name: str) -> ValidationProblem:
    return ValidationProblem(
        "missing_required_parameter", f"Missing required parameter: '{name}'.", param=name
    )


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
