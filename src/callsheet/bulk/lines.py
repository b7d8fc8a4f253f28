"""The lines of OUTPUT and of its errors, in the shape that Batch APIs write."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import attrs
import orjson

from ..actors.errors import CallFailed
from ..actors.messages import Choice, Json, Response, Usage
from ..actors.wire import dumps, loads
from .row import BadRow, Row

__all__ = ["answer_line", "bad_line", "failure_line", "read_answer", "with_id"]

BAD_ROW = "BadRow"
"""The kind of error of a line that is no request."""


def answer_line(row: Row, response: Response, seconds: float, created: int) -> bytes:
    """The line of an answer, with its end.

    Args:
        row: that was asked for.
        response: the answer.
        seconds: from being asked for to its end.
        created: when, in seconds of Unix time.
    """
    name = row.key.hex()[:24]
    usage, cost = response.usage, response.cost_usd
    return _line(
        {
            "id": _line_id(row),
            "custom_id": row.custom_id,
            "response": {
                "status_code": 200,
                "request_id": f"callsheet-{name}",
                "body": _body(row, response, name, created),
            },
            "error": None,
            "callsheet": {
                "route": response.route,
                "attempts": response.http_requests,
                "cost_usd": None if cost is None else float(cost),
                "latency_s": round(seconds, 4),
                "usage": {
                    "input_tokens": usage.input_tokens,
                    "output_tokens": usage.output_tokens,
                    "cached_tokens": usage.cached_tokens,
                    "cache_write_tokens": usage.cache_write_tokens,
                    "reasoning_tokens": usage.reasoning_tokens,
                },
                "maybe_billed": response.maybe_billed,
                "host": response.host,
                "tier": response.tier,
            },
        }
    )


def failure_line(row: Row, error: Exception) -> bytes:
    """The line of a row that has no answer, with its end."""
    name = row.key.hex()[:24]
    kind, text = type(error).__name__, str(error)
    call = error if isinstance(error, CallFailed) else CallFailed(text)
    answered: dict[str, Json] = {
        "status_code": call.status,
        "request_id": f"callsheet-{name}",
        "body": {"error": {"message": text, "type": kind, "param": None, "code": None}},
    }
    return _line(
        {
            "id": _line_id(row),
            "custom_id": row.custom_id,
            "response": None if call.status is None else answered,
            "error": {"code": kind, "message": text} if call.status is None else None,
            "callsheet": {
                "row": row.number,
                "kind": kind,
                "attempts": call.attempts,
                "billed": call.billed,
            },
        }
    )


def bad_line(bad: BadRow) -> bytes:
    """The line of what is no request, with its end."""
    return _line(
        {
            "id": None,
            "custom_id": bad.custom_id,
            "response": None,
            "error": {"code": BAD_ROW, "message": bad.reason},
            "callsheet": {"row": bad.number, "kind": BAD_ROW, "text": bad.text},
        }
    )


def with_id(line: bytes, row: Row) -> bytes:
    """The line of an answer as one to this row, whose id may be made of its place in the input."""
    head = _line({"id": _line_id(row), "custom_id": row.custom_id}).removesuffix(b"}\n")
    if line.startswith(head + b","):
        return line
    answer = cast("dict[str, Json]", loads(line))
    return _line({**answer, "custom_id": row.custom_id})


def read_answer(line: bytes) -> Response:
    """The answer that a line of OUTPUT has.

    Raises:
        ValueError: it has none.
    """
    try:
        return _answer(cast("Any", loads(line)))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no line of an answer: {type(error).__name__}") from None


def _line_id(row: Row) -> str:
    return f"batch_req_{row.key.hex()[:24]}"


def _line(value: Mapping[str, Json]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half a surrogate pair, which orjson is too strict for
        return dumps(value) + b"\n"


def _body(row: Row, response: Response, name: str, created: int) -> dict[str, Json]:
    """The answer as OpenAI would have given it, whoever did."""
    usage = response.usage
    tokens: dict[str, Json] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        tokens["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        tokens["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    task = row.request.task
    if task == "embedding":
        vectors: list[Json] = [
            {"object": "embedding", "index": at, "embedding": list(vector)}
            for at, vector in enumerate(response.embeddings)
        ]
        return {"object": "list", "data": vectors, "model": response.model, "usage": tokens}
    found = response.choices or (Choice(response.text, response.finish_reason),)
    choices: list[Json]
    if task == "completion":
        kind, prefix = "text_completion", "cmpl"
        choices = [
            {"index": at, "text": one.text, "logprobs": None, "finish_reason": one.finish_reason}
            for at, one in enumerate(found)
        ]
    else:
        kind, prefix = "chat.completion", "chatcmpl"
        choices = [
            {
                "index": at,
                "message": {"role": "assistant", "content": one.text, "refusal": None},
                "logprobs": None,
                "finish_reason": one.finish_reason,
            }
            for at, one in enumerate(found)
        ]
    return {
        "id": f"{prefix}-{name}",
        "object": kind,
        "created": created,
        "model": response.model,
        "choices": choices,
        "usage": tokens,
    }


def _answer(line: Any) -> Response:  # noqa: ANN401  # JSON; what is not there raises LookupError
    body, ours = line["response"]["body"], line["callsheet"]
    choices = tuple(
        Choice(one["text"] if "text" in one else one["message"]["content"], one["finish_reason"])
        for one in body.get("choices", ())
    )
    cost = ours["cost_usd"]
    return Response(
        text=choices[0].text if choices else "",
        model=body["model"],
        finish_reason=choices[0].finish_reason if choices else None,
        usage=Usage(**{field.name: ours["usage"][field.name] for field in attrs.fields(Usage)}),
        cost_usd=None if cost is None else Decimal(str(cost)),
        http_requests=ours["attempts"],
        seconds=ours["latency_s"],
        choices=choices,
        embeddings=tuple(tuple(one["embedding"]) for one in body.get("data", ())),
        maybe_billed=ours["maybe_billed"],
        host=ours["host"],
        route=ours["route"],
        tier=ours["tier"],
    )
