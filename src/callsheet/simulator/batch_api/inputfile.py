"""Parse and validate the input file of an OpenAI batch. Pure (R14)."""

import json
from collections.abc import Callable, Iterator
from typing import cast

import attrs

from ..body import RequestBody, RequestRefused
from ..call import ModelCall
from ..service import Parse
from ..settings import ProviderSettings
from ..wire import Json
from .engine import SimulatedLine

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
