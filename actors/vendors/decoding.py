"""What all wire formats share when they decode: JSON, members, errors, choices in order (L5).

Any member of a provider's JSON may be missing or have another type. The functions here return a
default then, or raise `Malformed`.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import orjson

from ..json_value import Json
from .error_words import parameters_in, words_of
from .format import ApiError, Malformed, StreamFailed
from .sse import ServerSentEvent

_MOST_TOKENS = 10**12  # no response has as many
EVENT = "an event of the stream"  # for `read_object`


def loads(text: bytes) -> Json:
    """Parse a JSON text.

    Invalid Unicode (half a surrogate pair, invalid UTF-8) becomes "?" or U+FFFD, numbers that are
    too large become infinity, and integers beyond 64 bits lose their last digits.

    Args:
        text: the JSON text in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        return cast("Json", orjson.loads(text))
    except orjson.JSONDecodeError:
        pass
    try:  # the standard library accepts what orjson is too strict for
        return _whole(cast("Json", json.loads(text.decode("utf-8-sig", errors="replace"))))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def dumps(value: Mapping[str, Json]) -> bytes:
    """Return the JSON text of an object, in UTF-8.

    Invalid Unicode, such as a file name in another encoding, is written with "?".

    Args:
        value: the JSON object to encode.

    Raises:
        ValueError: it contains NaN or infinity, which JSON has not, or is nested too deeply.
        TypeError: it contains a value that JSON has not.
    """
    try:
        text = orjson.dumps(value, default=_plain)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, or not a JSON value
        text = b"null"
    if b"null" not in text:  # orjson also writes it for NaN
        return bytes(memoryview(text))  # a copy: orjson's object keeps 4 KiB for any length
    try:
        exact = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None
    return exact.encode(errors="replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Json]", value))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _whole(value: Json) -> Json:
    """Return the value with "?" for every half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {cast("str", _whole(name)): _whole(item) for name, item in value.items()}
    return value


def object_of(members: Mapping[str, Json], name: str) -> dict[str, Json]:
    """Return a member that is an object; an empty object for any other value."""
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def text_of(members: Mapping[str, Json], name: str) -> str:
    """Return a member that is a text or an integer, as a text; "" for any other value."""
    value = members.get(name)
    if isinstance(value, str):
        return value
    # vLLM, llama.cpp and OpenRouter send error codes as numbers.
    return str(value) if isinstance(value, int) and abs(value) < 1 << 64 else ""


def count_of(members: Mapping[str, Json], name: str) -> int | None:
    """Return a member that is a number of tokens; None for any other value.

    A number that no response has, such as 1e30, is cut: the request's own bound replaces it. A part
    of a token counts as a whole one.
    """
    value = members.get(name)
    if type(value) is int and 0 <= value <= _MOST_TOKENS:  # nearly always
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124  # NaN
        return None
    return None if value < 0 else math.ceil(min(value, _MOST_TOKENS))


def has_error(members: Mapping[str, Json]) -> bool:
    """Return whether the member "error" is one. Some servers always send it, without values."""
    error = members.get("error")
    return any(error.values()) if isinstance(error, dict) else bool(error)


def read_error(body: Json) -> ApiError:
    """Read the error in a body, in any of the usual shapes; an empty error if it has none.

    Args:
        body: the decoded JSON, or the text of a body that is no JSON.
    """
    if isinstance(body, list) and body:  # Gemini sends its error in a list
        body = body[0]
    outer = body if isinstance(body, dict) else {}
    error = outer.get("error") or body
    if isinstance(error, list) and error:
        error = error[0]
    members = error if isinstance(error, dict) else outer
    more = members.get("details") or members.get("metadata")
    quoted = members.get("headers") or (more.get("headers") if isinstance(more, dict) else None)
    return ApiError(
        # A text beside other words is a title: {"error": "Bad Request", "message": ...}
        words_of(outer if isinstance(error, str) and outer else error) or words_of(body),
        text_of(members, "type"),
        text_of(members, "code"),
        text_of(members, "status"),
        json_text(more) if more else "",
        parameters_in(body),
        {
            name.lower(): value
            for name, value in (quoted if isinstance(quoted, dict) else {}).items()
            if isinstance(value, str)
        },
    )


def read_object(data: bytes, what: str) -> dict[str, Json]:
    """Read a JSON object.

    Args:
        data: the JSON text.
        what: what it is, for the error: "a line".

    Raises:
        Malformed: it is not a JSON object.
    """
    try:
        value = loads(data)
    except ValueError as error:
        raise Malformed(f"{what} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise Malformed(f"{what} is JSON, but not an object")
    return value


def parsed(value: Json) -> Json:
    """Return a value, or what it contains if it is a JSON text."""
    if isinstance(value, str):
        try:
            return loads(value.encode(errors="replace"))
        except ValueError:
            pass
    return value


def json_text(value: Json) -> str:
    """Return the JSON text of a value; "" if it is nested too deeply for one."""
    try:
        return dumps(cast("Mapping[str, Json]", value)).decode()
    except (ValueError, TypeError):
        return ""


def is_end_mark(data: bytes) -> bool:
    """Return whether the data of an event only mark the end of the stream: ``[DONE]``."""
    return not data.startswith(b"{") and data.strip(b' \t\r\n"')[:6].upper() == b"[DONE]"


def read_event(event: ServerSentEvent) -> dict[str, Json]:
    """Read the object in an event; an empty one for an event without data, or with null.

    Raises:
        StreamFailed: the event is named "error", and is no object.
        Malformed: it is anything else than an object.
    """
    data = event.data
    try:
        value: Json = orjson.loads(data)
        if isinstance(value, list) and len(value) == 1:  # as Gemini may send its errors
            value = value[0]
        if isinstance(value, dict):
            return value
    except orjson.JSONDecodeError:
        pass
    if data.strip() in (b"", b"null"):
        return {}
    try:
        return read_object(data, EVENT)
    except Malformed:
        if event.name == "error":
            words = data.decode(errors="replace").strip().strip('"')
            raise StreamFailed(ApiError(words)) from None
        raise


_WRAPPERS = ("result", "data", "response", "output", "body")
# "base_resp" is MiniMax's; it is there in every response.
_FAILURES = ("errors", "detail", "message", "msg", "code", "error_msg", "base_resp")


def read_members(body: Json, needed: str) -> dict[str, Json] | ApiError:
    """Return the members of a response, or the error that it is.

    Some gateways put the response into a list, or into a member of another object.

    Args:
        body: the whole body.
        needed: the member that a response has and an error has not.

    Raises:
        Malformed: the body is not an object.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise Malformed("the response is JSON, but not an object")
    if has_error(body) or "error" in (body.get("object"), body.get("type")):
        return read_error(body)  # "object" in old versions of vLLM
    if body.get(needed):
        return body
    for name in _WRAPPERS:
        inner = body.get(name)
        if isinstance(inner, dict) and inner.get(needed):
            return inner
    if any(body.get(name) for name in _FAILURES):
        error = read_error(body)
        if error.message or error.code:
            return error
    return body


P = ParamSpec("P")
R = TypeVar("R")


def within_depth(read: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise `Malformed` for JSON that is nested too deeply to read."""

    @wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except RecursionError:
            raise Malformed("the response is nested too deeply") from None

    return checked


T = TypeVar("T")


def in_order(
    numbered: Iterable[tuple[Json, T]], expected: int, *, is_list: bool = True
) -> tuple[T, ...]:
    """Sort items by their indices, which start at 0 or, on some servers, at 1.

    Args:
        numbered: pairs of index and item; the index None stands for the position.
        expected: number of items that there must be.
        is_list: whether the items belong to different prompts or texts. If not, any indices will
            do: the items cannot be confused.

    Raises:
        Malformed: the number is wrong, or an index is missing, repeated or out of range (L5).
    """
    items = list(numbered)
    if len(items) != expected:
        raise Malformed(f"the response has {len(items)} items instead of {expected}")
    if expected == 1 and not is_list:
        return (items[0][1],)
    indices = [index_of(number, position) for position, (number, _) in enumerate(items)]
    order = sorted(range(expected), key=indices.__getitem__)
    first = indices[order[0]] if order else 0
    is_sound = first in (0, 1) and all(
        indices[at] == first + position for position, at in enumerate(order)
    )
    if not is_sound and is_list:
        named = ", ".join(f"{number!r:.40}" for number, _ in items[:5])
        raise Malformed(f"the response has the indices {named} for {expected} items")
    return tuple(items[at][1] for at in (order if is_sound else range(expected)))


def index_of(number: Json, position: int) -> int:
    """Return an index as a number; -1 if it is none.

    Args:
        number: the index; a text of digits will do, and None stands for the position.
        position: the position of the item.
    """
    if number is None:
        return position
    if isinstance(number, str) and number.isdecimal() and len(number) < 10:  # noqa: PLR2004  # digits
        return int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) else -1
