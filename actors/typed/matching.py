"""Check whether a value matches a JSON schema. Pure (R14)."""

import operator
from collections.abc import Callable, Mapping
from typing import TypeGuard

from ..json_value import Json

_DEEPEST = 60  # levels of a value; deeper ones are not checked, because Python's stack is limited


def matches_schema(value: Json, schema: Mapping[str, Json]) -> bool:
    """Return whether a value matches a JSON schema.

    Types, enums, constants, members, items, choices, references inside the schema and bounds are
    checked. Other keywords, such as `format` and `pattern`, are ignored: a schema that is not
    understood refuses nothing.

    Args:
        value: the value to check.
        schema: the JSON schema, with its definitions.
    """
    whole = dict(schema)
    return _Check(whole).matches(value, whole, 0, frozenset())


class _Check:
    def __init__(self, root: dict[str, Json]) -> None:
        self._root = root

    def matches(self, value: Json, schema: Json, depth: int, followed: frozenset[str]) -> bool:
        """Return whether a value matches a part of the schema.

        Args:
            value: the value to check, or a part of it.
            schema: the part of the schema that it must match.
            depth: levels of the whole value above this one.
            followed: references that led here for the same value. None is followed again.
        """
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return True
        return (
            all(_KEYWORDS[name](value, it) for name, it in schema.items() if name in _KEYWORDS)
            and self._matches_reference(value, schema.get("$ref"), depth, followed)
            and self._matches_choices(value, schema, depth, followed)
            and self._matches_members(value, schema, depth)
            and self._matches_items(value, schema, depth)
        )

    def _matches_reference(
        self, value: Json, reference: Json, depth: int, followed: frozenset[str]
    ) -> bool:
        if not isinstance(reference, str) or reference in followed:
            return True
        return self.matches(value, _target(reference, self._root), depth, followed | {reference})

    def _matches_choices(
        self, value: Json, schema: dict[str, Json], depth: int, followed: frozenset[str]
    ) -> bool:
        for name in ("allOf", "anyOf", "oneOf"):
            parts = schema.get(name)
            if isinstance(parts, list):
                found = (self.matches(value, part, depth, followed) for part in parts)
                # Of "oneOf" any: what tells the choices apart may be a keyword that is ignored.
                if not (all(found) if name == "allOf" else any(found)):
                    return False
        return True

    def _matches_members(self, value: Json, schema: dict[str, Json], depth: int) -> bool:
        if not isinstance(value, dict):
            return True
        required, known = schema.get("required"), schema.get("properties")
        if isinstance(required, list) and not all(name in value for name in required):
            return False
        properties = known if isinstance(known, dict) else {}
        others = schema.get("additionalProperties", True)
        if "patternProperties" in schema:
            others = True
        return all(
            self.matches(one, properties.get(name, others), depth + 1, frozenset())
            for name, one in value.items()
        )

    def _matches_items(self, value: Json, schema: dict[str, Json], depth: int) -> bool:
        items = schema.get("items")
        if not isinstance(value, list) or items is None or "prefixItems" in schema:
            return True
        return all(self.matches(one, items, depth + 1, frozenset()) for one in value)


def _target(reference: str, root: dict[str, Json]) -> Json:
    """Return the part of a schema to which a reference leads; True, which allows all, if none."""
    if not reference.startswith("#"):
        return True
    part: Json = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, dict) or name not in part:
            return True
        part = part[name]
    return part


def _is_number(value: Json) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: Mapping[str, Callable[[Json], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value % 1 == 0,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _has_type(value: Json, names: Json) -> bool:
    wanted = names if isinstance(names, list) else [names]
    return any(
        _TYPES[name](value) if isinstance(name, str) and name in _TYPES else True for name in wanted
    )


def _same(one: Json, other: Json) -> bool:
    """Return whether two values are the same in JSON, where true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_one_of(value: Json, options: Json) -> bool:
    return not isinstance(options, list) or any(_same(value, option) for option in options)


def _bounded(
    size_of: Callable[[Json], float | None], is_within: Callable[[float, float], bool]
) -> Callable[[Json, Json], bool]:
    def check(value: Json, bound: Json) -> bool:
        size = size_of(value)
        return size is None or not _is_number(bound) or is_within(size, bound)

    return check


def _number(value: Json) -> float | None:
    return value if _is_number(value) else None


def _characters(value: Json) -> float | None:
    return len(value) if isinstance(value, str) else None


def _length(value: Json) -> float | None:
    return len(value) if isinstance(value, list) else None


_KEYWORDS: Mapping[str, Callable[[Json, Json], bool]] = {
    "type": _has_type,
    "enum": _is_one_of,
    "const": _same,
    "minimum": _bounded(_number, operator.ge),
    "maximum": _bounded(_number, operator.le),
    "exclusiveMinimum": _bounded(_number, operator.gt),
    "exclusiveMaximum": _bounded(_number, operator.lt),
    "minLength": _bounded(_characters, operator.ge),
    "maxLength": _bounded(_characters, operator.le),
    "minItems": _bounded(_length, operator.ge),
    "maxItems": _bounded(_length, operator.le),
}
