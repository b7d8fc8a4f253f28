"""The JSON schema of a type: by msgspec, and by pydantic for its own models."""

from collections.abc import Mapping
from typing import cast

from ..json_value import Json
from .parameters import free_name
from .strict import REF, reachable
from .twin import Twins

_DEFS = "$defs"


def json_schema_of(kind: object) -> dict[str, Json]:
    """Return the JSON schema of the values of a type.

    Args:
        kind: an attrs class, a dataclass, a TypedDict, a NamedTuple, a `msgspec.Struct`, a pydantic
            model, or another type that msgspec supports, such as ``list[Label]``.

    Raises:
        TypeError: the type, or that of a field, has no JSON schema; the message names it.
    """
    return schema_at_root(Twins(kind).schema)


def schema_at_root(schema: dict[str, Json]) -> dict[str, Json]:
    """Return a schema whose definitions, also those of pydantic models in it, are at its root.

    The root itself is no reference.

    Args:
        schema: a schema in which any part may have definitions, to which its own references lead.
    """
    defs: dict[str, Json] = {}

    def lifted(node: Json, names: Mapping[str, str]) -> Json:
        if isinstance(node, list):
            return [lifted(one, names) for one in node]
        if not isinstance(node, dict):
            return node
        own = node.get(_DEFS)
        if isinstance(own, dict):
            names = {name: free_name(name, defs) for name in own}
            defs.update((new, None) for new in names.values())
            defs.update((names[name], lifted(value, names)) for name, value in own.items())
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.removeprefix(REF) in names:
            node = {**node, "$ref": REF + names[ref.removeprefix(REF)]}
        return {name: lifted(value, names) for name, value in node.items() if name != _DEFS}

    root = cast("dict[str, Json]", lifted(schema, {}))
    while isinstance(ref := root.get("$ref"), str):  # OpenAI wants the object itself at the root
        root = {**cast("dict[str, Json]", defs[ref.removeprefix(REF)])}
    used = reachable(root, defs)
    return {**root, _DEFS: {name: defs[name] for name in sorted(used)}} if used else root
