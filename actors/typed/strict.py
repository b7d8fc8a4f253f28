"""JSON schemas in the subset that every provider enforces while a model generates. Pure (R14).

The common part of what OpenAI, Anthropic and Gemini accept in their strict modes:

- The root is an object. Each object lists all of its properties as required, and allows no other.
- An optional property is one that may be null.
- References lead to `$defs` and have no other keywords beside them.
- Alternatives are `anyOf`. Bounds, patterns and most formats are not supported.

A bound that cannot be sent as a keyword is sent as words of the description. The program that
receives the result has to check it.
"""

import json
from collections.abc import Mapping
from typing import final

from ..json_value import Json

_NULL: dict[str, Json] = {"type": "null"}
REF = "#/$defs/"
"""The beginning of a reference to a definition of the same schema."""

# Keywords that restrict a value, and become words of its description.
_BOUNDS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"),
    *("minItems", "maxItems", "uniqueItems"),
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_KNOWN = frozenset(
    {
        *_BOUNDS,
        *("$ref", "$defs", "anyOf", "oneOf", "allOf", "enum", "const", "type", "description"),
        *("properties", "required", "additionalProperties", "items", "prefixItems"),
        # These restrict nothing.
        *("title", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"),
        *("$schema", "$id", "$comment", "contentSchema"),
    }
)


class NotStrict(ValueError):
    """A JSON schema has a part that no strict mode supports; the text names the part."""


def strict_schema(schema: Mapping[str, Json]) -> dict[str, Json]:
    """Return a schema in the subset that the strict modes of all providers support.

    Every value that a class accepts still fits, but for two differences: null stands for an absent
    optional property, and bounds are only described.

    Args:
        schema: the JSON schema of an object, such as `json_schema_of` returns.

    Raises:
        NotStrict: a part of it has no equivalent, such as an object with arbitrary keys.
    """
    return _Strict(schema).root()


@final
class _Strict:
    """Rewrites one schema.

    Args:
        schema: the whole schema.
    """

    def __init__(self, schema: Mapping[str, Json]) -> None:
        self._schema = schema
        defs = schema.get("$defs")
        self._defs: dict[str, Json] = dict(defs) if isinstance(defs, Mapping) else {}
        self._done: dict[str, dict[str, Json]] = {}  # {name of a definition: it, rewritten}

    def root(self) -> dict[str, Json]:
        """Return the whole schema, rewritten.

        Raises:
            NotStrict: a part has no equivalent.
        """
        root: Json = {name: value for name, value in self._schema.items() if name != "$defs"}
        path = "result"
        seen: set[str] = set()
        while isinstance(root, dict) and isinstance(name := root.get("$ref"), str):
            if name in seen:
                raise NotStrict(f"{path} refers to itself")
            seen.add(name)
            root = self._target(name, path)
        rewritten = self._node(root, path)
        if rewritten.get("type") != "object":
            raise NotStrict(f"{path} is not an object")
        used = reachable(rewritten, self._done)
        if used:
            rewritten["$defs"] = {name: self._done[name] for name in sorted(used)}
        return rewritten

    def _target(self, ref: str, path: str) -> Json:
        name = ref.removeprefix(REF)
        if not ref.startswith(REF) or name not in self._defs:
            raise NotStrict(f"{path} has the reference {ref!r}, which leads nowhere in $defs")
        return self._defs[name]

    def _node(self, node: Json, path: str) -> dict[str, Json]:
        """Return one part of the schema, rewritten.

        Args:
            node: the part as it is in the given schema.
            path: where it is, for errors.
        """
        if not isinstance(node, dict) or not node:
            raise NotStrict(f"{path} may be any value")
        if unknown := sorted(node.keys() - _KNOWN):
            raise NotStrict(f"{path} has the keyword {unknown[0]!r}")
        if (ref := node.get("$ref")) is not None:
            return self._reference(str(ref), node, path)
        if (parts := node.get("allOf")) is not None:
            if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
                raise NotStrict(f"{path} has the keyword 'allOf'")
            rest = {name: value for name, value in node.items() if name != "allOf"}
            return self._node({**parts[0], **rest}, path)
        return _described(self._shape(node, path), node)

    def _reference(self, ref: str, node: dict[str, Json], path: str) -> dict[str, Json]:
        target, name = self._target(ref, path), ref.removeprefix(REF)
        if name not in self._done:
            self._done[name] = {}  # it may refer to itself
            self._done[name] = self._node(target, name)
        if "description" not in node or name in reachable(target, self._defs):
            return {"$ref": ref}
        return {**self._done[name], "description": node["description"]}

    def _shape(self, node: dict[str, Json], path: str) -> dict[str, Json]:
        if (options := node.get("anyOf", node.get("oneOf"))) is not None:
            return {"anyOf": self._options(options, path)}
        if (values := node.get("enum", [node["const"]] if "const" in node else None)) is not None:
            return _enum(values if isinstance(values, list) else [values])
        kind = node.get("type")
        if isinstance(kind, list):
            return {"anyOf": [self._shape({**node, "type": one}, path) for one in kind]}
        if kind == "object" or (kind is None and "properties" in node):
            return self._object(node, path)
        if kind == "array":
            return {"type": "array", "items": self._items(node, path)}
        if kind not in ("string", "integer", "number", "boolean", "null"):
            raise NotStrict(f"{path} may be any value")
        return {"type": kind}

    def _options(self, options: Json, path: str) -> list[Json]:
        if not isinstance(options, list) or not options:
            raise NotStrict(f"{path} has no alternatives")
        rewritten: list[Json] = []
        for option in options:
            one = self._node(option, path)
            inner = one["anyOf"] if one.keys() == {"anyOf"} else [one]
            rewritten.extend(inner if isinstance(inner, list) else [inner])
        return rewritten

    def _object(self, node: dict[str, Json], path: str) -> dict[str, Json]:
        properties, required = node.get("properties"), node.get("required")
        if not isinstance(properties, dict) or node.get("additionalProperties"):
            raise NotStrict(f"{path} is an object with arbitrary keys")
        needed = required if isinstance(required, list) else []
        members: dict[str, Json] = {
            name: self._node(member, f"{path}.{name}")
            if name in needed
            else self._optional(member, f"{path}.{name}")
            for name, member in properties.items()
        }
        return {
            "type": "object",
            "properties": members,
            "required": list(members),
            "additionalProperties": False,
        }

    def _optional(self, member: Json, path: str) -> dict[str, Json]:
        rewritten = self._node(member, path)
        if accepts_null(member, self._defs):
            return rewritten
        words = rewritten.pop("description", None)
        if isinstance(member, dict) and member.get("default") is not None:
            words = _joined(words, f"null means {json.dumps(member['default'])}")
        options = rewritten.get("anyOf")
        nullable: dict[str, Json] = {
            "anyOf": [*(options if isinstance(options, list) else [rewritten]), _NULL]
        }
        return nullable if words is None else {**nullable, "description": words}

    def _items(self, node: dict[str, Json], path: str) -> dict[str, Json]:
        listed = node.get("prefixItems")
        if not isinstance(listed, list):
            return self._node(node.get("items"), f"{path}[]")
        each: list[Json] = []
        for at, one in enumerate(listed):
            rewritten = self._node(one, f"{path}[{at}]")
            if rewritten not in each:
                each.append(rewritten)
        if not each:
            raise NotStrict(f"{path} is an array without items")
        first = each[0]
        return first if len(each) == 1 and isinstance(first, dict) else {"anyOf": each}


def _described(rewritten: dict[str, Json], node: dict[str, Json]) -> dict[str, Json]:
    """Return a rewritten part with its description, to which lost bounds are appended."""
    bounds = [f"{name}: {json.dumps(node[name])}" for name in _BOUNDS if name in node]
    form = node.get("format")
    if rewritten.get("type") == "string" and isinstance(form, str) and form in _FORMATS:
        rewritten["format"] = form
        bounds = [bound for bound in bounds if not bound.startswith("format:")]
    listed = node.get("prefixItems")
    if isinstance(listed, list) and len(listed) > 1:
        types = [one.get("type", "value") if isinstance(one, dict) else "value" for one in listed]
        bounds.append(f"in order: {', '.join(map(str, types))}")
    words = _joined(node.get("description"), ", ".join(bounds))
    return {**rewritten, "description": words} if words else rewritten


def _joined(words: Json, more: str) -> str:
    """Return a description with an addition in parentheses."""
    if not isinstance(words, str) or not words:
        return more
    return f"{words} ({more})" if more else words


def _enum(values: list[Json]) -> dict[str, Json]:
    """Return the schema of one of several values, with the type that OpenAI requires."""
    by_type: dict[str, list[Json]] = {}
    for value in values:
        by_type.setdefault(_type_of(value), []).append(value)
    options: list[Json] = [
        _NULL if kind == "null" else {"type": kind, "enum": group}
        for kind, group in by_type.items()
    ]
    first = options[0] if options else None
    return dict(first) if len(options) == 1 and isinstance(first, dict) else {"anyOf": options}


def _type_of(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def accepts_null(node: Json, defs: Mapping[str, Json]) -> bool:
    """Return whether a part of a schema accepts null.

    Args:
        node: the part, in any form of JSON schema.
        defs: the definitions to which its references lead.
    """
    return _accepts_null(node, defs, frozenset())


def _accepts_null(node: Json, defs: Mapping[str, Json], seen: frozenset[str]) -> bool:
    if not isinstance(node, dict):
        return node is True
    if isinstance(ref := node.get("$ref"), str):
        name = ref.removeprefix(REF)
        return name not in seen and _accepts_null(defs.get(name), defs, seen | {name})
    if isinstance(options := node.get("anyOf", node.get("oneOf", node.get("allOf"))), list):
        each = [_accepts_null(option, defs, seen) for option in options]
        return all(each) if "allOf" in node else any(each)
    if isinstance(values := node.get("enum", [node["const"]] if "const" in node else None), list):
        return None in values
    kind = node.get("type")
    return kind in (None, "null") or (isinstance(kind, list) and "null" in kind)


def is_recursive(schema: Mapping[str, Json]) -> bool:
    """Return whether a definition of a schema contains itself.

    Args:
        schema: a schema whose definitions are at its root.
    """
    defs = schema.get("$defs")
    known = defs if isinstance(defs, dict) else {}
    return any(name in reachable(node, known) for name, node in known.items())


def reachable(node: Json, defs: Mapping[str, Json]) -> set[str]:
    """Return the names of the definitions that a part refers to, by way of others, too.

    Args:
        node: a part of a schema.
        defs: the definitions of the schema, by name.
    """
    found: set[str] = set()
    parts = [node]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend(part.values())
            ref = part.get("$ref")
            name = ref.removeprefix(REF) if isinstance(ref, str) else None
            if name is not None and name in defs and name not in found:
                found.add(name)
                parts.append(defs[name])
    return found
