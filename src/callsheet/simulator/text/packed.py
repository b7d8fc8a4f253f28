"""Respond to packed prompts: a JSON array of objects with an id, one response for each.

A prompt is treated as packed if it has such an array, and the schema asks for one.
"""

import json
from collections.abc import Callable
from typing import cast

from ..jsontext import Json

WriteAnswer = Callable[[str, dict[str, Json] | None], Json]

_ID = "id"


def answer_items(schema: dict[str, Json], user: str, answer: WriteAnswer) -> dict[str, Json] | None:
    """Return the responses to all items; None if the prompt or the schema is not packed.

    Args:
        schema: the schema of the whole response.
        user: the last user message.
        answer: writes the response to one item's text; its second argument is the schema of the
            response, None for text.
    """
    place, items = _place(schema), _items(user)
    if place is None or not items:
        return None
    array, name, own = place
    shape = None if own.get("type") == "string" and "enum" not in own else own
    entries: list[Json] = [{_ID: number, name: answer(text, shape)} for number, text in items]
    return {array: entries}


def _items(user: str) -> list[tuple[Json, str]]:
    """Return the id and the text of each item."""
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
    """Return the name of the array, the name of an entry's response, and its schema."""
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
