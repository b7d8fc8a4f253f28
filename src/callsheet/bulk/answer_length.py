"""How long an answer is that matches a schema of short fields, such as labels. Pure (R14)."""

from collections.abc import Mapping, Sequence

import orjson

from ..actors import Json

_CHARS_PER_TOKEN = 4  # the providers' rule of thumb; of the marks around names, more
_LENGTHS = {
    "boolean": len("false"),
    "null": len("null"),
    "integer": len("-12345"),
    "number": len("-12.34"),
}
_MOST_DEPTH = 8  # parts inside each other; a schema that contains itself has no end


def answer_tokens(schema: Mapping[str, Json]) -> int | None:
    """Return the tokens of the longest answer that matches a schema, as a model usually writes it.

    A model may write more, such as spaces or its reasoning, so this is an estimate and no bound.

    Args:
        schema: the JSON schema of an answer.

    Returns:
        The tokens; None if the schema allows a text of any length, or many items.
    """
    chars = _chars(schema, schema, _MOST_DEPTH)
    return None if chars is None else -(-chars // _CHARS_PER_TOKEN)


def _chars(part: Json | Mapping[str, Json], root: Mapping[str, Json], depth: int) -> int | None:
    """Return the characters of the longest JSON value that matches a part of a schema."""
    if not isinstance(part, Mapping) or not depth:
        return None
    if isinstance(choices := part.get("enum", [part["const"]] if "const" in part else None), list):
        return max((_written(choice) for choice in choices), default=None)
    if (parts := _alternatives(part, root)) is not None:
        found = [_chars(one, root, depth - 1) for one in parts]
        known = [one for one in found if one is not None]
        return max(known, default=None) if len(known) == len(found) else None
    match part.get("type"):
        case "object":
            return _object(part, root, depth)
        case "array":
            return _array(part, root, depth)
        case kind:
            return _LENGTHS.get(kind) if isinstance(kind, str) else None


def _alternatives(
    part: Mapping[str, Json], root: Mapping[str, Json]
) -> Sequence[Json | Mapping[str, Json]] | None:
    """Return the parts of a schema of which one must match; None if it is not made of others."""
    if "$ref" in part:
        return [_referred(str(part["$ref"]), root)]
    if isinstance(kinds := part.get("type"), list):
        return [{**part, "type": kind} for kind in kinds]
    found = part.get("anyOf", part.get("oneOf"))
    return found if isinstance(found, list) else None


def _object(part: Mapping[str, Json], root: Mapping[str, Json], depth: int) -> int | None:
    members = part.get("properties")
    if not isinstance(members, dict) or part.get("additionalProperties", False) is not False:
        return None
    length = len("{}")
    for name, member in members.items():
        value = _chars(member, root, depth - 1)
        if value is None:
            return None
        length += _written(name) + len(": ") + value
    return length


def _array(part: Mapping[str, Json], root: Mapping[str, Json], depth: int) -> int | None:
    """Return the characters of an array of choices, which has each of them at most once."""
    items = part.get("items")
    choices = items.get("enum") if isinstance(items, dict) else None
    each = _chars(items, root, depth - 1)
    if not isinstance(choices, list) or each is None:
        return None
    return len("[]") + len(choices) * (each + len(","))


def _written(value: Json) -> int:
    return len(orjson.dumps(value))


def _referred(name: str, root: Mapping[str, Json]) -> Json:
    """Return the definition that a schema refers to, such as "#/$defs/Label"."""
    definitions = root.get(name.split("/")[1]) if name.count("/") == 2 else None  # noqa: PLR2004  # "#/$defs/Label"
    return definitions.get(name.rpartition("/")[2]) if isinstance(definitions, dict) else None
