"""Members of JSON objects that strangers wrote: each may be missing, or something else.

JSON to and from bytes, fast where it is as it should be and forgiving where it is not.

Answers as they are put together: each in its place, none twice, none missing (L5).
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import orjson

from ..messages import Choice, Json
from .format import ApiError, BrokeOff, Malformed

__all__ = [
    "Collector",
    "checked_index",
    "count_of",
    "dumps",
    "in_order",
    "loads",
    "object_of",
    "read_error",
    "read_event",
    "text_of",
]


def loads(text: bytes) -> Json:
    """The value that a JSON text says.

    What is not whole Unicode (half a surrogate pair, broken UTF-8) is read as "?" or U+FFFD, and
    numbers beyond all bounds as infinity. Whole numbers beyond 64 bits lose their last digits.

    Raises:
        ValueError: it is not JSON, or too deep.
    """
    try:
        return cast("Json", orjson.loads(text))
    except orjson.JSONDecodeError:
        pass
    try:  # the standard library takes what orjson is too strict for
        return _whole(cast("Json", json.loads(text.decode("utf-8-sig", errors="replace"))))
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def dumps(value: Mapping[str, Json]) -> bytes:
    """The JSON text of an object, in UTF-8.

    Text that is not whole Unicode, such as what a shell makes of a file name, is written with "?".

    Raises:
        ValueError: it has NaN or infinity in it, which JSON cannot say, or is too deep.
        TypeError: it has something in it that is no JSON value.
    """
    try:
        text = orjson.dumps(value, default=_plain)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits; or really no JSON
        text = b"null"
    if b"null" not in text:  # which orjson also writes for NaN
        return bytes(memoryview(text))  # a copy: orjson's keeps 4 KiB, however short it is
    try:
        exact = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except RecursionError:
        raise ValueError("the value is nested too deep for JSON") from None
    return exact.encode(errors="replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Json]", value))
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _whole(value: Json) -> Json:
    """The same with "?" for every half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {cast("str", _whole(name)): _whole(item) for name, item in value.items()}
    return value


def object_of(members: Mapping[str, Json], name: str) -> dict[str, Json]:
    """A member that is an object; an empty one for anything else."""
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def text_of(members: Mapping[str, Json], name: str) -> str:
    """A member that is a text or a whole number, as a text; "" for anything else."""
    value = members.get(name)
    if isinstance(value, str):
        return value
    # Error codes come as numbers, too (vLLM, llama.cpp, OpenRouter).
    return str(value) if isinstance(value, int) and abs(value) < 1 << 64 else ""


def count_of(members: Mapping[str, Json], name: str) -> int | None:
    """A number of tokens; None for what is none, such as 1e999, which JSON can say."""
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(value))


def read_error(body: Json) -> ApiError:
    """The error in a body in any of its shapes: an object, a text, or nothing known."""
    if isinstance(body, list) and body:  # Gemini puts its error into a list of one
        body = body[0]
    error: Json = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, str):
        return ApiError(message=error)
    if not isinstance(error, dict):
        return ApiError()
    more = error.get("details") or error.get("metadata")
    return ApiError(
        text_of(error, "message"),
        text_of(error, "type"),
        text_of(error, "code"),
        text_of(error, "status"),
        _json_text(more) if more else "",
    )


def read_event(data: bytes) -> dict[str, Json]:
    """The object in an event of a stream.

    Raises:
        Malformed: it is none.
    """
    try:
        said = loads(data)
    except ValueError as error:
        raise Malformed(f"an event of the stream is not whole JSON ({error})") from None
    if not isinstance(said, dict):
        raise Malformed("an event of the stream is JSON, but not an object")
    return said


def _json_text(value: Json) -> str:
    try:
        return dumps(cast("Mapping[str, Json]", value)).decode()
    except (ValueError, TypeError):
        return ""


T = TypeVar("T")


def in_order(numbered: Iterable[tuple[Json, T]], expected: int) -> tuple[T, ...]:
    """Items in the order of their numbers.

    Args:
        numbered: each item after its number; None stands for its position.
        expected: how many there must be.

    Raises:
        Malformed: a number is missing, there twice or not one of theirs.
    """
    found: dict[int, T] = {}
    for position, (number, item) in enumerate(numbered):
        place = checked_index(position if number is None else number, expected)
        if place in found:
            raise Malformed(f"the answer has two of index {place}")
        found[place] = item
    if len(found) != expected:
        raise Malformed(f"{expected} answers were asked for, and {len(found)} came")
    return tuple(found[place] for place in range(expected))


def checked_index(number: Json, expected: int) -> int:
    """A number that is the index of one of the answers.

    Raises:
        Malformed: it is not.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < expected:
        raise Malformed(
            f"the answer has an index {number!r:.40}, and {expected} answers were asked for"
        )
    return number


class Collector:
    """The answers of one stream, piece by piece.

    Args:
        expected: how many there will be.
    """

    def __init__(self, expected: int) -> None:
        self._pieces: list[list[str]] = [[] for _ in range(expected)]
        self._reasons: list[str | None] = [None] * expected

    def place(self, number: Json) -> int:
        """Which answer an index in an event means; None stands for the first.

        Raises:
            Malformed: none of them.
        """
        # The usual case costs one comparison: this is done for every token.
        return 0 if number == 0 or number is None else checked_index(number, len(self._pieces))

    def add(self, place: int, text: str) -> None:
        """An answer goes on."""
        self._pieces[place].append(text)

    def finish(self, place: int, reason: str) -> None:
        """An answer has ended; what ended it first, counts."""
        self._reasons[place] = self._reasons[place] or reason

    @property
    def is_finished(self) -> bool:
        """Whether every answer has ended."""
        return None not in self._reasons

    def choices(self) -> tuple[Choice, ...]:
        """The answers, whole.

        Raises:
            BrokeOff: one of them has not ended.
        """
        missing = self._reasons.count(None)
        if missing:
            raise BrokeOff(
                f"the stream ended before the answer was finished ({missing} of "
                f"{len(self._reasons)} without a finish reason)"
            )
        return tuple(
            Choice("".join(pieces), reason)
            for pieces, reason in zip(self._pieces, self._reasons, strict=True)
        )
