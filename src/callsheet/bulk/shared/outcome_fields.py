"""How responses and errors are as JSON, on the way from a worker to the holder of a run.

Fields that have their default value are left out. An error is the names of its classes, the most
special first, its text and its values, as far as they are JSON; a class that the other side does
not know becomes one with its name.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

import attrs

from ... import actors
from ...actors import (
    CallFailed,
    Choice,
    Json,
    Response,
    TokenLogprob,
    ToolCall,
    Usage,
)
from ...runtime import (
    ActorCrashed,
    ActorStopped,
    AskFailed,
    AskTimedOut,
    Deadlock,
    Dropped,
    MailboxFull,
    MailboxFunctionFailed,
    Verdict,
)

# ----------------------------------------------------------------------------------------- fields


def default_fields(
    kind: type[attrs.AttrsInstance], *left_out: str
) -> tuple[tuple[str, object], ...]:
    """Return the fields of a class with their default values.

    Args:
        kind: an attrs class.
        left_out: names of fields that are not among them.
    """
    return tuple(
        (field.name, _default_of(field.default))
        for field in attrs.fields(kind)
        if field.name not in left_out
    )


def _default_of(default: object) -> object:
    """Return a default value; for a field without one, a value that no field has."""
    factory: Callable[[], object] | None = getattr(default, "factory", None)
    return default if factory is None else factory()


def changed_fields(given: object, fields: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return the fields that do not have their default value.

    Args:
        given: an instance of the class.
        fields: what `default_fields` returned for the class.
    """
    found: dict[str, object] = {}
    for name, default in fields:
        value = getattr(given, name)
        if value is not default and value != default:
            found[name] = value
    return found


def plain_value(value: object) -> object:
    """Return a mapping as a dict, for JSON.

    Args:
        value: what JSON does not know.

    Raises:
        TypeError: it is no mapping.
    """
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Json]", value))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


_COSTS = ("cost_usd", "reported_cost_usd", "listed_cost_usd")
_RESPONSE_FIELDS = default_fields(Response, *_COSTS, "usage", "choices", "embeddings", "parsed")
_CHOICE_FIELDS = default_fields(Choice, "text", "finish_reason", "tool_calls", "logprobs", "parsed")


# -------------------------------------------------------------------------------------- responses


def response_fields(response: Response) -> dict[str, object]:
    """Return the JSON of a response, without the numbers of its vectors.

    Args:
        response: the response of a call.
    """
    fields = changed_fields(response, _RESPONSE_FIELDS)
    fields["usage"] = attrs.astuple(response.usage)
    for name in _COSTS:
        cost = getattr(response, name)
        fields[name] = None if cost is None else str(cost)
    if response.choices:
        fields["choices"] = [_choice_fields(choice) for choice in response.choices]
    if response.embeddings:
        fields["vectors"] = [len(vector) for vector in response.embeddings]
    return fields


def response_of(fields: dict[str, Any], rest: memoryview) -> Response:
    """Return the response that `response_fields` has made JSON of.

    Args:
        fields: the JSON of the object, which is used up.
        rest: the numbers of the vectors, as doubles with the lowest byte first.
    """
    vectors: list[tuple[float, ...]] = []
    at = 0
    for count in fields.pop("vectors", ()):
        vectors.append(struct.unpack_from(f"<{count}d", rest, at))
        at += 8 * count
    for name in _COSTS:
        cost = fields[name]
        fields[name] = None if cost is None else Decimal(cost)
    fields["usage"] = Usage(*fields["usage"])
    fields["choices"] = tuple(_choice(*one) for one in fields.pop("choices", ()))
    return Response(embeddings=tuple(vectors), **fields)


def _choice_fields(choice: Choice) -> tuple[object, ...]:
    """Return text and finish reason, and the other fields if there are any."""
    more = changed_fields(choice, _CHOICE_FIELDS)
    if choice.tool_calls:
        more["tool_calls"] = [attrs.astuple(call) for call in choice.tool_calls]
    if choice.logprobs:
        more["logprobs"] = [attrs.astuple(token) for token in choice.logprobs]
    return (choice.text, choice.finish_reason, *([more] if more else []))


def _choice(text: str, reason: str | None, more: dict[str, Any] | None = None) -> Choice:
    more = more or {}
    more["tool_calls"] = tuple(ToolCall(*one) for one in more.get("tool_calls", ()))
    more["logprobs"] = tuple(_token(*one) for one in more.get("logprobs", ()))
    more["annotations"] = tuple(more.get("annotations", ()))
    return Choice(text, reason, **more)


def _token(token: str, logprob: float | None, top: Iterable[tuple[str, float]]) -> TokenLogprob:
    return TokenLogprob(token, logprob, tuple((name, value) for name, value in top))


# ------------------------------------------------------------------------------------------ errors

_CALL_ERRORS = (
    *("AuthenticationFailed", "BadRequest", "BatchUnavailable", "BudgetExceeded", "CallFailed"),
    *("ConnectionFailed", "ContentFiltered", "DeadlineTooShort", "LedgerUnavailable"),
    *("MalformedResponse", "ProviderUnavailable", "QuotaExhausted", "RateLimited"),
    *("RequestTooLarge", "ResultNotValid", "SendTimedOut", "TurnTooLate", "UnreadableEndpoint"),
)
_ASK_ERRORS: tuple[type[Exception], ...] = (
    *(ActorCrashed, ActorStopped, AskFailed, AskTimedOut, Deadlock, Dropped, MailboxFull),
    *(MailboxFunctionFailed, TypeError, ValueError),
)


@lru_cache(maxsize=1)
def _known_errors() -> dict[str, type[Exception]]:
    found = {kind.__name__: kind for kind in _ASK_ERRORS}
    return found | {name: getattr(actors, name) for name in _CALL_ERRORS}


def error_fields(error: Exception) -> dict[str, object]:
    """Return the names of an error's classes, the most special first, its text and its values.

    Args:
        error: the error that a call ended with.
    """
    known = _known_errors()
    names: list[str] = []
    for kind in type(error).__mro__:
        names.append(kind.__name__)
        if known.get(kind.__name__) is kind:
            break
    else:  # the error of a bug
        names = [type(error).__name__, "CallFailed"]
    values = [
        (name, *found) for name, value in vars(error).items() if (found := _value_fields(value))
    ]
    return {"kinds": names, "text": str(error), "values": values}


def error_of(fields: dict[str, Any]) -> Exception:
    """Return the error that `error_fields` has made JSON of.

    Args:
        fields: the JSON of the object, which is used up.
    """
    name, *bases = fields["kinds"]
    kind = _known_errors().get(name) or _unknown_error(name, tuple(bases))
    error = kind.__new__(kind, fields["text"])
    error.args = (fields["text"],)
    if isinstance(error, CallFailed):
        CallFailed.__init__(error, fields["text"])  # a value may be missing
    for attribute, form, value in fields["values"]:
        setattr(error, attribute, _VALUES[form](value))
    return error


@lru_cache(maxsize=64)
def _unknown_error(name: str, bases: tuple[str, ...]) -> type[Exception]:
    """Return a class for an error of a stage of the worker's own."""
    known = _known_errors()
    base = next((known[one] for one in bases if one in known), CallFailed)
    return cast("type[Exception]", type(name, (base,), {"__doc__": "An error of a worker."}))


def _value_fields(value: object) -> tuple[str, object] | None:
    """Return how a value of an error is read and its JSON; None if it cannot travel."""
    if isinstance(value, Decimal):
        return "decimal", str(value)
    if isinstance(value, Usage):
        return "usage", attrs.astuple(value)
    if isinstance(value, Verdict):
        return "verdict", value.value
    if isinstance(value, Response):  # its text tells what it is about
        response = cast("Response", value)
        return "response", response_fields(attrs.evolve(response, embeddings=(), body=None))
    try:
        json.dumps(value, default=plain_value)
    except (TypeError, ValueError, RecursionError):
        return None
    return "json", value


_VALUES: Mapping[str, Callable[[Any], object]] = {
    "decimal": Decimal,
    "usage": lambda fields: Usage(*fields),
    "verdict": Verdict,
    "response": lambda fields: response_of(fields, memoryview(b"")),
    "json": lambda value: value,
}
