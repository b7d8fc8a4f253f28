"""Leave out the nulls that stand for an absent member. Pure (R14).

In a strict schema, every member is required, and an optional one may be null (see `strict`). Where
the class itself accepts no null, null means that the member is absent, so that its default applies.
"""

from collections.abc import Iterator, Mapping
from typing import final

from ..json_value import Json
from .strict import REF, accepts_null


def without_nulls(value: Json, schema: Mapping[str, Json]) -> Json:
    """Return a JSON value without the nulls that its schema does not accept for optional members.

    Args:
        value: the decoded text of a model.
        schema: the JSON schema of the class, as `json_schema_of` returns it: not the strict one.
    """
    return _Pruner(schema).without_nulls(value, dict(schema))


@final
class _Pruner:
    def __init__(self, schema: Mapping[str, Json]) -> None:
        defs = schema.get("$defs")
        self._defs: Mapping[str, Json] = defs if isinstance(defs, dict) else {}

    def without_nulls(self, value: Json, node: Json) -> Json:
        if isinstance(value, list):
            return self._list(value, node)
        if not isinstance(value, dict):
            return value
        found = next((one for one in self._options(node) if self._fits(value, one)), None)
        if found is None:
            return value
        properties, required = _object(found, "properties"), _list(found, "required")
        rest = found.get("additionalProperties")
        return {
            name: self.without_nulls(member, properties.get(name, rest))
            for name, member in value.items()
            if member is not None
            or name not in properties
            or name in required
            or accepts_null(properties[name], self._defs)
        }

    def _list(self, value: list[Json], node: Json) -> Json:
        found = next((one for one in self._options(node) if one.get("type") == "array"), None)
        if found is None:
            return value
        first, rest = _list(found, "prefixItems"), found.get("items")
        return [
            self.without_nulls(one, first[at] if at < len(first) else rest)
            for at, one in enumerate(value)
        ]

    def _options(self, node: Json) -> Iterator[dict[str, Json]]:
        """Return the alternatives of a part of the schema, without references."""
        seen: set[str] = set()
        parts = [node]
        while parts:
            part = parts.pop(0)
            if not isinstance(part, dict):
                continue
            options = [*_list(part, "anyOf"), *_list(part, "oneOf"), *_list(part, "allOf")]
            if isinstance(ref := part.get("$ref"), str) and ref not in seen:
                seen.add(ref)
                options.append(self._defs.get(ref.removeprefix(REF)))
            parts[:0] = options
            if not options:
                yield part

    def _fits(self, value: Mapping[str, Json], node: Mapping[str, Json]) -> bool:
        """Return whether an object has what an alternative requires, with its constants."""
        properties = _object(node, "properties")
        return (
            node.get("type") == "object"
            and all(name in value for name in _list(node, "required"))
            and all(
                value[name] in _constants(member)
                for name, member in properties.items()
                if name in value and _constants(member)
            )
        )


def _constants(node: Json) -> list[Json]:
    """Return the only value that a part of a schema accepts, in a list; empty if there are more."""
    if not isinstance(node, dict):
        return []
    values = [node["const"]] if "const" in node else _list(node, "enum")
    return values if len(values) == 1 else []


def _list(node: Mapping[str, Json], name: str) -> list[Json]:
    found = node.get(name)
    return found if isinstance(found, list) else []


def _object(node: Mapping[str, Json], name: str) -> dict[str, Json]:
    found = node.get(name)
    return found if isinstance(found, dict) else {}
