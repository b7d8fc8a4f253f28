"""Many items in one prompt: a JSON array of objects with an id, answered one by one.

A model that is given such an array, and a schema that wants an array of objects with an id, takes
the items for what they are. So does the author.
"""

import json
from collections.abc import Callable
from typing import cast

from ..jsontext import Json

__all__ = [
    "answer_items",
]


WriteAnswer = Callable[[str, dict[str, Json] | None], Json]

_ID = "id"


def answer_items(schema: dict[str, Json], user: str, answer: WriteAnswer) -> dict[str, Json] | None:
    """The answers to all items; None if the prompt, or the schema, is of another kind.

    Args:
        schema: of the whole answer.
        user: the last user turn.
        answer: answers one item's text; is given the schema of its answer, None for a text.
    """
    place, items = _place(schema), _items(user)
    if place is None or not items:
        return None
    array, name, own = place
    shape = None if own.get("type") == "string" and "enum" not in own else own
    entries: list[Json] = [{_ID: number, name: answer(text, shape)} for number, text in items]
    return {array: entries}


def _items(user: str) -> list[tuple[Json, str]]:
    """Id and text of each item."""
    try:
        found = cast("Json", json.loads(user))
    except (ValueError, RecursionError):
        return []
    items: list[tuple[Json, str]] = []
    for item in found if isinstance(found, list) else ():
        texts = [value for key, value in _object(item).items() if key != _ID]
        if len(texts) != 1 or not isinstance(texts[0], str) or _ID not in _object(item):
            return []
        items.append((_object(item)[_ID], texts[0]))
    return items


def _place(schema: dict[str, Json]) -> tuple[str, str, dict[str, Json]] | None:
    """Where the answers go: the array's name, the answer's name in an entry, its schema."""
    properties = _object(schema.get("properties"))
    if len(properties) != 1:
        return None
    array, shape = next(iter(properties.items()))
    entry = _object(_object(_object(shape).get("items")).get("properties"))
    others = [name for name in entry if name != _ID]
    if _ID not in entry or len(others) != 1:
        return None
    return array, others[0], _object(entry[others[0]])


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
