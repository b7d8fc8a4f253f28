"""Rows that have ended, and their lines in OUTPUT and in the errors file.

The lines are in the format of OpenAI's batch output files; those of rows from a batch file of
Anthropic or Gemini have the format of their provider. Each line begins with `id`, which names the
key of its row, and has a member `callsheet` besides.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast, final

import attrs
import orjson

from ...actors import CallFailed, Json, Response, Spent, Usage, dumps, loads
from ..progress import RowEnded
from ..row import ANTHROPIC_URL, BAD_ROW, BadRow, Row, chars_of
from ..shared.pending import AnswerEntries
from .body import (
    anthropic_error,
    gemini_error,
    id_member,
    is_vendors,
    made_body,
    own_body,
    read_body,
)
from .line_members import (
    AnswerDetails,
    AnswerLine,
    AnthropicAnswerLine,
    AnthropicFailureLine,
    BadRowLine,
    ErroredResult,
    ErrorLine,
    FailureDetails,
    FailureLine,
    GeminiAnswerLine,
    GeminiFailureLine,
    HttpAnswer,
    JsonObject,
    OutputLine,
    RowBilled,
    RowError,
    RowTokens,
    SucceededResult,
)

_LINE_ID = "batch_req_"
_MADE_ID = "callsheet-"
"""The prefix of request ids that Callsheet makes because the provider gave none."""


@attrs.frozen
class RowOutcome:
    """A row that has ended and is to be written to disk.

    Args:
        place: the index of the row in the input, from 0.
        line: the line for OUTPUT, or for the errors file.
        event: the event for the observers.
        key: the key to store the response by; None if it is stored already, or is an error.
        columns: the values of the input, if OUTPUT is a table.
        is_final: False for a response that is only stored, because the row is asked again.
        answers: the answers of a shared run that the queue may drop when the row is on disk.

    Attributes:
        size: the size of the line and of the columns, in bytes or characters.
    """

    place: int
    line: bytes
    event: RowEnded
    key: bytes | None = None
    columns: Mapping[str, object] | None = attrs.field(default=None, repr=False)
    is_final: bool = True
    answers: Sequence[AnswerEntries] = attrs.field(default=(), repr=False)
    size: int = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(
            lambda self: len(self.line) + chars_of(self.columns), takes_self=True
        ),
    )

    @property
    def is_answer(self) -> bool:
        """Whether the line is for OUTPUT."""
        return self.event.error is None


@final
@attrs.frozen
class Result:
    """The result of a row; it is on disk.

    Args:
        event: the end of the row, with attempts, tokens and cost.
        line: the line that was written, without its line end.
    """

    event: RowEnded
    line: bytes = attrs.field(repr=False)

    @property
    def number(self) -> int:
        """The number of the row in the input, from 1."""
        return self.event.number

    @property
    def custom_id(self) -> str:
        """The custom id of the row."""
        return self.event.custom_id

    @property
    def error(self) -> str | None:
        """The kind of error, such as "RateLimited"; None for a response."""
        return self.event.error

    @property
    def message(self) -> str:
        """The text of the error; "" for a response."""
        return self.event.message

    @property
    def response(self) -> Response:
        """The response, read from the line.

        Raises:
            ValueError: the row failed.
        """
        if self.error is not None:
            raise ValueError(f"{self.custom_id} has no response: {self.message}")
        return read_answer(self.line)


def answer_line(row: Row, response: Response, created: int) -> bytes:
    """Return the line of a response, with its line end.

    Args:
        row: the row of the request.
        response: the response to the request.
        created: the time of the response, in seconds of Unix time.
    """
    try:
        return _line(_answered(row, response, created))
    except ValueError:  # the provider's body is nested too deeply to write
        return _line(_answered(row, attrs.evolve(response, body=None), created))


def _answered(row: Row, response: Response, created: int) -> OutputLine:
    ours: AnswerDetails = {
        "route": response.route,
        "model": response.model,
        "attempts": response.http_requests,
        "cost_usd": _number(response.cost_usd),
        "latency_s": round(response.seconds, 4),
        "usage": _counts(response.usage),
        "maybe_billed": response.maybe_billed,
        "host": response.host,
        "tier": response.tier,
    }
    if response.reported_cost_usd is not None:
        ours["reported_cost_usd"] = float(response.reported_cost_usd)
        ours["listed_cost_usd"] = _number(response.listed_cost_usd)
    if response.usage_doubt:
        ours["usage_doubt"] = response.usage_doubt
    name = row.key.hex()[:24]
    body = own_body(row, response)
    if body is None:
        body = made_body(row, response, name, created)
        ours["provider_body"] = None if response.body is None else dict(response.body)
    line_id, custom_id = f"{_LINE_ID}{name}", row.custom_id
    request_id = response.request_id or f"{_MADE_ID}{name}"
    if not is_vendors(row.url):
        answer: HttpAnswer = {"status_code": 200, "request_id": request_id, "body": dict(body)}
        return AnswerLine(
            id=line_id, custom_id=custom_id, response=answer, error=None, callsheet=ours
        )
    ours["request_id"] = request_id
    if row.url == ANTHROPIC_URL:
        result: SucceededResult = {"type": "succeeded", "message": dict(body)}
        return AnthropicAnswerLine(id=line_id, custom_id=custom_id, result=result, callsheet=ours)
    return GeminiAnswerLine(id=line_id, key=custom_id, response=dict(body), callsheet=ours)


def _counts(usage: Usage) -> RowTokens:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
    }


def with_spent(line: bytes, response: Response) -> bytes:
    """Return the line of a response with what all calls for its row took.

    Args:
        line: a line of `answer_line`.
        response: the response, with the tokens, cost and requests of all calls.
    """
    answer = cast("OutputLine", loads(line))
    ours = answer["callsheet"]
    ours["attempts"] = response.http_requests
    ours["cost_usd"] = _number(response.cost_usd)
    ours["usage"] = _counts(response.usage)
    ours["maybe_billed"] = response.maybe_billed
    return _line(answer)


def _billed(took: Spent) -> RowBilled:
    if took.maybe_billed:
        return "maybe"
    return "yes" if took.cost_usd or took.usage != Usage() else "no"


def failure_line(row: Row, error: Exception, took: Spent | None = None) -> bytes:
    """Return the line of a failed row, with its line end.

    Args:
        row: the row of the request.
        error: why it has no response.
        took: what all calls for the row took; by default what the error has.
    """
    text = str(error)
    call = error if isinstance(error, CallFailed) else CallFailed(text)
    took = took or Spent().plus_failure(call)
    ours: FailureDetails = {
        "row": row.number,
        "kind": type(error).__name__,
        "message": text,
        "attempts": took.http_requests,
        "billed": _billed(took),
        "cost_usd": _number(took.cost_usd),
    }
    return _line(_failed(row, call, ours))


def _failed(row: Row, error: CallFailed, ours: FailureDetails) -> ErrorLine:
    line_id, custom_id = _line_id(row), row.custom_id
    if is_vendors(row.url):
        ours["request_id"] = error.request_id
    if row.url == ANTHROPIC_URL:
        result: ErroredResult = {"type": "errored", "error": anthropic_error(error)}
        return AnthropicFailureLine(id=line_id, custom_id=custom_id, result=result, callsheet=ours)
    if is_vendors(row.url):
        failure = gemini_error(error)
        return GeminiFailureLine(id=line_id, key=custom_id, error=failure, callsheet=ours)
    kind, text = ours["kind"], ours["message"]
    answer: HttpAnswer | None = None
    if error.status is not None:
        made: JsonObject = {"error": {"message": text, "type": kind, "param": None, "code": None}}
        answer = {
            "status_code": error.status,
            "request_id": error.request_id or f"{_MADE_ID}{row.key.hex()[:24]}",
            "body": made if error.body is None else dict(error.body),
        }
    without: RowError | None = {"code": kind, "message": text} if answer is None else None
    return FailureLine(
        id=line_id, custom_id=custom_id, response=answer, error=without, callsheet=ours
    )


def bad_line(bad: BadRow) -> bytes:
    """Return the line of a bad row, with its line end."""
    line: BadRowLine = {
        "id": None,
        "custom_id": bad.custom_id,
        "response": None,
        "error": {"code": BAD_ROW, "message": bad.reason},
        "callsheet": {"row": bad.number, "kind": BAD_ROW, "text": bad.text},
    }
    return _line(line)


def _number(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)


def with_id(line: object, row: Row) -> bytes:
    """Return the line with the custom id of this row; the id may depend on the row's number.

    Args:
        line: the line from the store: bytes, unless damage has changed its type.
        row: the row whose custom id the line gets.

    Raises:
        ValueError: the line is not a JSON object: the store is damaged.
    """
    head = _line(_ids(row)).removesuffix(b"}\n")
    answer: object = loads(line) if isinstance(line, bytes) else None
    if not isinstance(line, bytes) or not isinstance(answer, dict):
        raise ValueError("the line is not a JSON object")  # noqa: TRY004  # it is a value in a file
    if line.startswith(head + b","):
        return line
    return _line({**answer, id_member(row.url): row.custom_id})


_ID = re.compile(rb'\{"id":"[^"]*","(?:custom_id|key)":("(?:[^"\\]|\\.)*")')
_OWN_LINE = re.compile(rb'\{"id":"batch_req_([0-9a-f]{24})",')
_ERROR_LINE = (b'{"id":"batch_req_', b'{"id":null,"custom_id":')


def key_start(line: bytes) -> bytes | None:
    """Return the first bytes of the key of the row that a line of OUTPUT belongs to.

    Args:
        line: the line, or its beginning; None is returned for one that Callsheet did not write.
    """
    found = _OWN_LINE.match(line)
    return None if found is None else bytes.fromhex(found[1].decode())


def id_of(line: bytes) -> str:
    """Return the custom id of the row that a line of a response belongs to.

    Raises:
        ValueError: the line has none.
    """
    found = _ID.match(line)
    if found is None:
        raise ValueError("the line has no id")
    return str(loads(found[1]))


def is_error_line(line: bytes) -> bool:
    """Return whether a line is one of an errors file that Callsheet has written.

    Args:
        line: the line; without a line end, it is half of one.
    """
    is_whole = line.endswith(b"\n")
    return line.startswith(_ERROR_LINE) and (not is_whole or b'"callsheet":{' in line)


def read_answer(line: bytes) -> Response:
    """Read the response from a line of OUTPUT.

    Raises:
        ValueError: the line has none.
    """
    try:
        return _answer(cast("Any", loads(line)))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"the line has no valid response: {type(error).__name__}") from None


def _line_id(row: Row) -> str:
    return f"{_LINE_ID}{row.key.hex()[:24]}"


def _ids(row: Row) -> dict[str, Json]:
    return {"id": _line_id(row), id_member(row.url): row.custom_id}


def _line(value: OutputLine | ErrorLine | Mapping[str, Json]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which orjson rejects
        return dumps(cast("Mapping[str, Json]", value)) + b"\n"


def _answer(line: Any) -> Response:  # noqa: ANN401  # JSON; a missing member raises LookupError
    ours = line["callsheet"]
    if "result" in line:
        body, request_id = line["result"]["message"], ours["request_id"]
    elif "key" in line:
        body, request_id = line["response"], ours["request_id"]
    else:
        body, request_id = line["response"]["body"], line["response"]["request_id"]
    found, cost = read_body(body), ours["cost_usd"]
    first = found.choices[0] if found.choices else None
    return Response(
        text="" if first is None else first.text,
        model=ours.get("model") or body["model"],
        finish_reason=None if first is None else first.finish_reason,
        usage=Usage(**{it.name: ours["usage"].get(it.name, 0) for it in attrs.fields(Usage)}),
        cost_usd=None if cost is None else Decimal(str(cost)),
        http_requests=ours["attempts"],
        seconds=ours["latency_s"],
        choices=found.choices,
        embeddings=found.embeddings,
        maybe_billed=ours["maybe_billed"],
        host=ours["host"],
        route=ours["route"],
        tier=ours["tier"],
        usage_doubt=ours.get("usage_doubt", ""),
        body=ours.get("provider_body", body),
        request_id="" if request_id.startswith(_MADE_ID) else request_id,
    )
