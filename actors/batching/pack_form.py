"""The form of a pack: how items and answers are numbered. Pure (R14).

The shortest form whose numbers can be checked. Tokens per entry around its content, counted for 50
entries with o200k_base (cl100k_base differs by less than 0.1):

    text:   {"answers":[{"id":1,"answer":"x"}, ...]}   7.1
            {"1":"x", ...}                             3.0   its schema grows with the pack
            {"answers":["1 x", ...]}                   2.1   used
            lines: 1 x                                 2.0   no schema, no text with line breaks
    object: {"answers":[{"id":1,"answer":{"a":0}}]}    6.1   used if the object has an "id"
            {"answers":[{"id":1,"a":0}]}               3.1   used
            {"1":{"a":0}, ...}                         1.0   its schema grows with the pack
    item:   [{"id":1,"text":"x"}, ...]                 7.0
            ["1 x", ...]                               1.4   used

The schema does not depend on the number of items, because providers compile and remember a schema,
and bill it as input.
"""

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import cast

import attrs

from .. import typed  # its names are loaded with the first class of a result
from ..json_value import Json
from ..messages import Request

_ITEMS = """\
The user sends a JSON array of items. Each begins with its number and a space. Follow the \
instruction above for each item by itself, as if it were the only one. """
_TEXTS = "Answer each, in order, with its number, a space and the answer to it."
_OBJECTS = "Answer each, in order, with one object: its number as the id, and the answer to it."

_NUMBERED = re.compile(r"([1-9][0-9]*) (.*)", re.DOTALL)
_DEFINITIONS = ("$defs", "definitions")
_ANSWERS, _ID, _ANSWER = "answers", "id", "answer"

_Entry = tuple[int, Json]
"""A number, and the answer to the item with that number."""


@attrs.frozen
class PackForm:
    """How the responses to all items are written as one response.

    Args:
        note: tells the model about the form; it follows the instruction.
        schema: the JSON schema of the whole response.
        tokens: the output tokens around each answer, a little more than were counted above.
        read_entry: returns the number and the answer of an entry; None if it has another form.
        is_valid: returns whether an answer may be the response to an item.
        text_of: returns an answer as the text of a single call.
    """

    note: str
    schema: Mapping[str, Json]
    tokens: float
    read_entry: Callable[[Json], _Entry | None]
    is_valid: Callable[[Json], bool]
    text_of: Callable[[Json], str]

    def read(self, text: str, size: int) -> list[Json | None]:
        """Return the answer to each item; None for an item without a valid one.

        The numbers must ascend within 1 to `size`, and the last one must be `size`. Otherwise the
        model counted in a way of its own (from 0, or on past an item that it left out), or
        repeated itself. Then no entry can be assigned to an item with certainty, and none is.

        Args:
            text: the text of the response.
            size: the number of items.
        """
        nothing: list[Json | None] = [None] * size
        try:
            whole = cast("Json", json.loads(text))
        except (ValueError, RecursionError):
            return nothing
        listed = whole.get(_ANSWERS) if isinstance(whole, dict) else None
        entries = [self.read_entry(entry) for entry in listed] if isinstance(listed, list) else []
        answers = list[Json | None](nothing)
        last = 0
        for entry in entries:
            if entry is None or not last < entry[0] <= size:
                return nothing
            last, answer = entry
            answers[last - 1] = answer if self.is_valid(answer) else None
        return answers if last == size else nothing


def write_items(texts: Sequence[str]) -> str:
    """Return the items of a pack as the user's message, numbered from 1.

    Args:
        texts: the text of each item.
    """
    numbered = [f"{number} {text}" for number, text in enumerate(texts, 1)]
    return json.dumps(numbered, ensure_ascii=False, separators=(",", ":"))


def form_for(request: Request) -> PackForm:
    """Return the form of a pack.

    Args:
        request: one of the requests in the pack.
    """
    answer = request.output_schema
    if answer is None:
        schema = _array_of({"type": "string"})
        return PackForm(_ITEMS + _TEXTS, schema, 2.5, _read_text, _is_text, str)
    own = dict(answer.schema)
    # References lead to definitions at the root.
    shared: dict[str, Json] = {name: own.pop(name) for name in _DEFINITIONS if name in own}
    is_inline = _has_room_for_id(own)
    entry = _with_id(own) if is_inline else _beside_id(own)
    return PackForm(
        _ITEMS + _OBJECTS,
        {**shared, **_array_of(entry)},
        3.5 if is_inline else 6.5,
        _read_inline if is_inline else _read_beside,
        partial(_is_result, request),
        _dumped,
    )


def _array_of(entry: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {_ANSWERS: {"type": "array", "items": entry}},
        "required": [_ANSWERS],
        "additionalProperties": False,
    }


def _has_room_for_id(own: Mapping[str, Json]) -> bool:
    """Return whether a schema is that of an object with nothing but members, none named "id"."""
    properties = own.get("properties")
    plain = {"type", "properties", "required", "additionalProperties", "title", "description"}
    return (
        own.get("type") == "object"
        and own.keys() <= plain
        and isinstance(properties, dict)
        and _ID not in properties
    )


def _with_id(own: Mapping[str, Json]) -> dict[str, Json]:
    properties, required = own["properties"], own.get("required")
    return {
        **own,
        "properties": {_ID: {"type": "integer"}, **cast("dict[str, Json]", properties)},
        "required": [_ID, *(required if isinstance(required, list) else ())],
    }


def _beside_id(own: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {_ID: {"type": "integer"}, _ANSWER: own},
        "required": [_ID, _ANSWER],
        "additionalProperties": False,
    }


def _read_text(entry: Json) -> _Entry | None:
    found = _NUMBERED.fullmatch(entry) if isinstance(entry, str) else None
    if found is None or len(found[1]) > _MOST_DIGITS:
        return None
    return int(found[1]), found[2]


_MOST_DIGITS = 9  # Python refuses to convert thousands of digits


def _read_inline(entry: Json) -> _Entry | None:
    if not isinstance(entry, dict) or type(number := entry.get(_ID)) is not int:
        return None
    return number, {name: value for name, value in entry.items() if name != _ID}


def _read_beside(entry: Json) -> _Entry | None:
    if not isinstance(entry, dict) or type(number := entry.get(_ID)) is not int:
        return None
    return number, entry.get(_ANSWER)


def _is_result(request: Request, answer: Json) -> bool:
    """Return whether an answer is one of the request's class, or else matches its schema."""
    output = request.output_schema
    if answer is None or output is None:
        return False
    if request.returns is None:
        return typed.matches_schema(answer, output.schema)
    try:  # as its caller will: a server without a strict mode may leave optional members out
        typed.result_type(cast("Hashable", request.returns)).read(_dumped(answer))
    except typed.InvalidResult:
        return False
    return True


def _dumped(answer: Json) -> str:
    return json.dumps(answer, ensure_ascii=False)


def _is_text(answer: Json) -> bool:
    return isinstance(answer, str) and bool(answer.strip())
