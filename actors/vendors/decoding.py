"""What all wire formats share when they decode: JSON, members, errors, choices in order (L5).

Any member of a provider's JSON may be missing or have another type. The functions here return a
default then, or raise `Malformed`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import orjson

from ..messages import Choice, Json
from .error_words import parameters_in, words_of
from .format import ApiError, BrokeOff, Malformed

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
    """Return a member that is a number of tokens; None for any other value, such as 1e999."""
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(value))


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
    return ApiError(
        words_of(error) or words_of(body),
        text_of(members, "type"),
        text_of(members, "code"),
        text_of(members, "status"),
        _json_text(more) if more else "",
        parameters_in(body),
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


def _json_text(value: Json) -> str:
    try:
        return dumps(cast("Mapping[str, Json]", value)).decode()
    except (ValueError, TypeError):
        return ""


T = TypeVar("T")


def in_order(numbered: Iterable[tuple[Json, T]], expected: int) -> tuple[T, ...]:
    """Sort items by their indices.

    Args:
        numbered: pairs of index and item; the index None stands for the position.
        expected: number of items that there must be.

    Raises:
        Malformed: an index is missing, repeated or out of range.
    """
    found: dict[int, T] = {}
    for position, (number, item) in enumerate(numbered):
        place = _checked_index(position if number is None else number, expected)
        if place in found:
            raise Malformed(f"the response has index {place} twice")
        found[place] = item
    if len(found) != expected:
        raise Malformed(f"the response has {len(found)} items instead of {expected}")
    return tuple(found[place] for place in range(expected))


def _checked_index(number: Json, expected: int) -> int:
    """Return `number` if it is an index below `expected`.

    Raises:
        Malformed: it is not.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < expected:
        raise Malformed(
            f"the response has the index {number!r:.40}, but {expected} items were requested"
        )
    return number


class Collector:
    """Collects the choices of one stream.

    Args:
        expected: number of choices.
    """

    def __init__(self, expected: int) -> None:
        self._pieces: list[list[str]] = [[] for _ in range(expected)]
        self._reasons: list[str | None] = [None] * expected

    def place(self, number: Json) -> int:
        """Return the position of the choice with that index; None stands for the first.

        Raises:
            Malformed: there is no such choice.
        """
        # The usual case costs one comparison: this is done for every token.
        return 0 if number == 0 or number is None else _checked_index(number, len(self._pieces))

    def add(self, place: int, text: str) -> None:
        """Append a text to a choice."""
        self._pieces[place].append(text)

    def finish(self, place: int, reason: str) -> None:
        """Set the finish reason of a choice; the first one counts."""
        self._reasons[place] = self._reasons[place] or reason

    def choices(self) -> tuple[Choice, ...]:
        """Return the complete choices.

        Raises:
            BrokeOff: a choice has no finish reason.
        """
        missing = self._reasons.count(None)
        if missing:
            raise BrokeOff(
                f"the stream ended before the response was complete ({missing} of "
                f"{len(self._reasons)} choices without a finish reason)"
            )
        return tuple(
            Choice("".join(pieces), reason)
            for pieces, reason in zip(self._pieces, self._reasons, strict=True)
        )
