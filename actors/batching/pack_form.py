"""The form of a pack: how items and answers are numbered. Pure (R14).

The shortest form whose numbers can be checked one by one. Tokens of a response for each entry
besides its answer, counted with o200k_base in packs of 100 reviews and labels (cl100k_base differs
by less than 0.05):

    text:   lines: 1 x                                 2.0   used for short answers
            lines: 1. x                                3.0   read as well
            {"answers":["1 x", ...]}                   2.0   used for other texts
            the same with spaces after the commas      3.0
            the same indented, as some models do it    4.1
            {"answers":[{"id":1,"answer":"x"}, ...]}   7.1
            lines, a number on each fifth              1.2   see below
            a line for each label: x 1,4,7             1.1   see below
    object: {"answers":[{"id":1,"answer":{"a":0}}]}    6.1   used if the object has an "id"
            {"answers":[{"id":1,"a":0}]}               3.1   used
            {"1":{"a":0}, ...}                         1.0   its schema grows with the pack
    item:   ["1 x", ...]                               1.0   used
            lines: 1 x                                 1.0   no item with line breaks

A number of up to three digits is one token, a letter or a check digit saves none, and a line break
is a token as the `","` of JSON is. A number on each fifth entry saves 0.8 tokens an entry, which
at 6 times the price of input is 2 percent of a call with 250 tokens. One pack in 50 that loses
count for the lack of numbers costs as much, and two errors between two numbers may hide each other.
Listing numbers by label makes the model leave the order of the items. Neither is used.

Lines need no schema, so that they work at every provider and cost no input, and no model indents
them. An answer on a line has no line breaks, and nothing closes the last one: so they are used
where answers are short, and a response that was cut off is not read. A schema does not depend on
the number of items, because providers compile and remember it, and bill it as input.
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
The user sends a JSON array of numbered items. Follow the instruction above for each item by \
itself. Answer all in order, """
_LINES = "each on a line: its number, a space, the answer. Write nothing else."
_TEXTS = "each with its number, a space and the answer."
_OBJECTS = "each with one object: its number as the id, and the answer."

MOST_SHORT = 32
"""The most tokens of a short answer: a label, a number, a name, a phrase."""

_NUMBERED = re.compile(r"([1-9][0-9]*)[.):]? (.*)", re.DOTALL)
_DEFINITIONS = ("$defs", "definitions")
_ANSWERS, _ID, _ANSWER = "answers", "id", "answer"

_Entry = tuple[int, Json]
"""A number, and the answer to the item with that number."""


@attrs.frozen
class PackForm:
    """How the responses to all items are written as one response.

    Args:
        note: tells the model about the form; it follows the instruction.
        schema: the JSON schema of the whole response; None for lines.
        tokens: the output tokens around each answer, no fewer than were counted above.
        entries: returns the entries of a text; none of a text in another form.
        read_entry: returns the number and the answer of an entry; None if it has another form.
        is_valid: returns whether an answer may be the response to an item.
        text_of: returns an answer as the text of a single call.
    """

    note: str
    schema: Mapping[str, Json] | None
    tokens: float
    entries: Callable[[str], Sequence[Json]]
    read_entry: Callable[[Json], _Entry | None]
    is_valid: Callable[[Json], bool]
    text_of: Callable[[Json], str]

    def read(self, text: str, size: int) -> list[Json | None]:
        """Return the answer to each item; None for an item without a valid one.

        The numbers must be those from 1 to `size`, in order. Otherwise the model counted in a way
        of its own, and no entry can be assigned to an item with certainty: where a number is
        missing, it may have left out that item, or numbered the answer to it as the next one.

        Args:
            text: the text of the response.
            size: the number of items.
        """
        entries = [self.read_entry(entry) for entry in self.entries(text)]
        answers: list[Json | None] = []
        for number, entry in enumerate(entries, 1):
            if entry is None or entry[0] != number:
                return [None] * size
            answers.append(entry[1] if self.is_valid(entry[1]) else None)
        return answers if len(answers) == size else [None] * size


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
    if answer is None and has_short_answer(request):
        return PackForm(_ITEMS + _LINES, None, 2.0, _lines, _read_text, _is_text, _stripped)
    if answer is None:
        schema = _array_of({"type": "string"})
        return PackForm(_ITEMS + _TEXTS, schema, 2.5, _listed, _read_text, _is_text, str)
    own = dict(answer.schema)
    # References lead to definitions at the root.
    shared: dict[str, Json] = {name: own.pop(name) for name in _DEFINITIONS if name in own}
    is_inline = _has_room_for_id(own)
    entry = _with_id(own) if is_inline else _beside_id(own)
    return PackForm(
        _ITEMS + _OBJECTS,
        {**shared, **_array_of(entry)},
        3.5 if is_inline else 6.5,
        _listed,
        _read_inline if is_inline else _read_beside,
        partial(_is_result, request),
        _dumped,
    )


def has_short_answer(request: Request) -> bool:
    """Return whether the answer to an item is a text of a few tokens.

    Args:
        request: one of the requests in the pack.
    """
    most = request.max_tokens
    return request.output_schema is None and most is not None and most <= MOST_SHORT


def _lines(text: str) -> Sequence[Json]:
    """Return the lines that begin with a number, of whatever form.

    A line without one may go on with the answer before it, or remark on all: so that answer is
    left out. Before the first answer, or as a fence around all of them, it changes nothing.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if lines and lines[-1].strip() == _FENCE and lines[0].startswith(_FENCE):
        lines.pop()
    entries: list[Json] = []
    for line in lines:
        if _BEGINS_WITH_DIGIT.match(line):
            entries.append(line)
        elif entries and (found := _NUMBERED.fullmatch(str(entries[-1]))):
            entries[-1] = f"{found[1]} "
    return entries


_FENCE = "```"
_BEGINS_WITH_DIGIT = re.compile(r"\W*\d")


def _listed(text: str) -> Sequence[Json]:
    """Return the members of the array of an object, read as a single response is (L10).

    A server that does not know the schema may return the array alone.
    """
    try:
        whole = typed.read_json(text)
    except typed.InvalidResult:
        return ()
    listed = whole.get(_ANSWERS) if isinstance(whole, dict) else whole
    return listed if isinstance(listed, list) else ()


def _array_of(entry: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {_ANSWERS: {"type": "array", "items": entry}},
        "required": [_ANSWERS],
        "additionalProperties": False,
    }


def has_own_root(schema: Json) -> bool:
    """Return whether a schema refers to itself by its place, which is another one in a pack.

    Args:
        schema: the schema of an answer.
    """
    if isinstance(schema, list):
        return any(map(has_own_root, schema))
    if not isinstance(schema, dict):
        return False
    reference = schema.get("$ref")
    if isinstance(reference, str) and not reference.startswith(_SHARED):
        return True
    return any(map(has_own_root, schema.values()))


_SHARED = tuple(f"#/{name}/" for name in _DEFINITIONS)


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


def _stripped(answer: Json) -> str:
    return str(answer).strip()


def _is_text(answer: Json) -> bool:
    return isinstance(answer, str) and bool(answer.strip())
