"""Make values for a JSON schema, so that structured calls get valid JSON."""

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import cast

from ..wire import Json

WriteAnswer = Callable[[str, dict[str, Json] | None], Json]

_ID, _ANSWER = "id", "answer"
_MOST_DIGITS = 9
_DEFINITIONS = ("$defs", "definitions")


def answer_items(schema: dict[str, Json], user: str, answer: WriteAnswer) -> dict[str, Json] | None:
    """Return the responses to all items; None if the prompt or the schema is not packed.

    The items are strings that begin with a number. The schema has an array, either of strings, of
    objects with "id" and "answer", or of objects with "id" and the members of a response.

    Args:
        schema: the schema of the whole response.
        user: the last user message.
        answer: writes the response to one item's text; its second argument is the schema of the
            response, None for text.
    """
    items, properties = _items(user), _object(schema.get("properties"))
    if not items or len(properties) != 1:
        return None
    array, shape = next(iter(properties.items()))
    entry = _object(_object(shape).get("items"))
    if entry.get("type") == "string":
        return {array: [f"{number} {answer(text, None)}" for number, text in items]}
    members = {name: it for name, it in _object(entry.get("properties")).items() if name != _ID}
    if _ID not in _object(entry.get("properties")) or not members:
        return None
    # References lead to the definitions of the whole schema.
    shared = {name: schema[name] for name in _DEFINITIONS if name in schema}
    if members.keys() == {_ANSWER}:
        own = {**shared, **_object(members[_ANSWER])}
        return {array: [{_ID: number, _ANSWER: answer(text, own)} for number, text in items]}
    inline: dict[str, Json] = {**shared, **entry, "properties": members}
    return {array: [{_ID: number, **_object(answer(text, inline))} for number, text in items]}


def answer_lines(system: str, user: str, answer: Callable[[str], str]) -> str | None:
    """Return the responses to all items, each on a line; None if the prompt is not packed.

    Args:
        system: the text of the system messages, which asks for lines with numbers.
        user: the last user message.
        answer: writes the response to one item's text.
    """
    if _LINES.search(system) is None or not (items := _items(user)):
        return None
    return "\n".join(f"{number} {' '.join(answer(text).split())}" for number, text in items)


_LINES = re.compile(r"\bJSON array\b.*\bon a line\b.*\bnumber\b", re.DOTALL)


def _items(user: str) -> list[tuple[int, str]]:
    """Return the number and the text of each item."""
    try:
        found = cast("Json", json.loads(user))
    except (ValueError, RecursionError):
        return []
    items: list[tuple[int, str]] = []
    for item in found if isinstance(found, list) else ():
        number, space, text = item.partition(" ") if isinstance(item, str) else ("", "", "")
        if not (space and number.isdecimal() and len(number) <= _MOST_DIGITS):
            return []
        items.append((int(number), text))
    return items


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


Say = Callable[[str], str]
Schema = Mapping[str, Json]
DEEPEST = 6


def value_for(schema: Schema, say: Say, chance: random.Random) -> Json:
    """Return a value that a schema allows: simple, and the same for the same seed.

    Args:
        schema: a JSON schema for structured outputs: types, properties, items, enum, const, anyOf,
            bounds and references inside the schema.
        say: returns a text for a property, from the property's name.
        chance: the random source (R13).
    """
    return _Filler(schema, say, chance).fill(schema, "text", 0)


class _Filler:
    def __init__(self, root: Schema, say: Say, chance: random.Random) -> None:
        self._root = root
        self._say = say
        self._chance = chance

    def fill(self, schema: Schema, name: str, depth: int) -> Json:
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            said = self._say(name)
            return said if said in options else self._chance.choice(options)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind == "object" or "properties" in schema:
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        return self._scalar(kind, schema, name)

    def _scalar(self, kind: Json, schema: Schema, name: str) -> Json:
        match kind:
            case "integer" | "number":
                return self._number(_described(schema), whole=kind == "integer")
            case "boolean":
                return self._chance.choice((True, False))
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        """Resolve references and choices; deep down prefer a choice that ends recursion."""
        for _ in range(DEEPEST):
            if isinstance(reference := schema.get("$ref"), str):
                found: Json = dict(self._root)
                for step in reference.lstrip("#/").split("/") if reference != "#" else ():
                    found = found.get(step) if isinstance(found, dict) else None
                schema = found if isinstance(found, dict) else {}
                continue
            choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if not isinstance(choices, list):
                break
            objects = [choice for choice in choices if isinstance(choice, dict)]
            objects.sort(key=lambda choice: (choice.get("type") == "null") != (depth >= DEEPEST))
            schema = objects[0] if objects else {}
        return schema

    def _object(self, schema: Schema, depth: int) -> Json:
        properties = schema.get("properties")
        required = schema.get("required")
        if not isinstance(properties, dict):
            return {}
        if depth >= DEEPEST:  # required members only
            names = required if isinstance(required, list) else []
            properties = {name: sub for name, sub in properties.items() if name in names}
        if depth >= 4 * DEEPEST:
            return {}
        return {
            name: self.fill(sub, name, depth + 1)
            for name, sub in properties.items()
            if isinstance(sub, dict)
        }

    def _array(self, schema: Schema, name: str, depth: int) -> Json:
        items = schema.get("items")
        least = _integer(schema.get("minItems"), 0)
        most = _integer(schema.get("maxItems"), max(least, 3))
        count = least if depth >= DEEPEST else max(least, min(3, most))
        if not isinstance(items, dict):
            items = {"type": "string"}
        return [self.fill(items, name, depth + 1) for _ in range(min(count, 100))]

    def _number(self, schema: Schema, *, whole: bool) -> Json:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        least = float(low) if isinstance(low, int | float) else None
        most = float(high) if isinstance(high, int | float) else None
        start = least if least is not None else (min(0.0, most - 10) if most is not None else 0.0)
        end = most if most is not None else start + 10
        if whole:
            first = int(start) + ("minimum" not in schema and "exclusiveMinimum" in schema)
            last = int(end) - ("maximum" not in schema and "exclusiveMaximum" in schema)
            return self._chance.randint(first, max(first, last))
        return round(start + (end - start) * (0.1 + 0.8 * self._chance.random()), 4)

    def _string(self, schema: Schema, name: str) -> str:
        match schema.get("format"):
            case "date":
                return f"2026-{self._chance.randint(1, 12):02}-{self._chance.randint(1, 28):02}"
            case "date-time":
                return f"2026-01-{self._chance.randint(1, 28):02}T12:00:00Z"
            case "email":
                return "someone@example.com"
            case "uri":
                return "https://example.com/"
            case _:
                text = self._say(name)
        least = _integer(schema.get("minLength"), 0)
        most = _integer(schema.get("maxLength"), max(least, len(text)))
        return text.ljust(least, ".")[:most]


_BOUND = re.compile(r"\b((?:exclusiveM|m)(?:in|ax)imum): (-?\d+(?:\.\d+)?)\b")


def _described(schema: Schema) -> Schema:
    """Return a schema with the bounds that its description names, as a model would keep them."""
    words = schema.get("description")
    if not isinstance(words, str):
        return schema
    bounds = {
        name: float(text) if "." in text else int(text) for name, text in _BOUND.findall(words)
    }
    return {**bounds, **schema}


def _integer(value: Json, default: int) -> int:
    return value if type(value) is int else default
