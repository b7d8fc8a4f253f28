"""The JSON schema of a class: by msgspec, and by pydantic for its own models."""

from typing import TYPE_CHECKING, TypeGuard, cast

import msgspec

from ..json_value import Json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_DEFS = "$defs"


def json_schema_of(kind: object) -> dict[str, Json]:
    """Return the JSON schema of the values of a type.

    Args:
        kind: an attrs class, a dataclass, a TypedDict, a NamedTuple, a `msgspec.Struct`, a pydantic
            model, or another type that msgspec supports, such as ``list[Label]``.

    Raises:
        TypeError: the type, or that of a field, has no JSON schema; the message names it.
    """
    if is_pydantic(kind):
        return _pydantic_schema(kind)
    try:
        schema = cast("dict[str, Json]", msgspec.json.schema(kind, schema_hook=_pydantic_schema))
    except (TypeError, NameError, NotImplementedError) as error:
        raise TypeError(f"{kind!r} has no JSON schema: {error}") from error
    return _with_definitions_at_root(schema)


def is_pydantic(kind: object) -> TypeGuard[type[object]]:
    """Return whether a type is a class of pydantic's, which is not imported for this."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__")


def adapter_of(kind: type[object]) -> "TypeAdapter[object]":
    """Return the validator of one of pydantic's classes."""
    from pydantic import TypeAdapter  # noqa: PLC0415  # optional: installed if there is `kind`

    return TypeAdapter(kind)


def _pydantic_schema(kind: type[object]) -> dict[str, Json]:
    if not is_pydantic(kind):
        raise NotImplementedError
    return adapter_of(kind).json_schema()


def _with_definitions_at_root(schema: dict[str, Json]) -> dict[str, Json]:
    """Return a schema whose definitions, also those of pydantic models in it, are at its root."""
    defs: dict[str, Json] = {}

    def lifted(node: Json) -> Json:
        if isinstance(node, list):
            return [lifted(one) for one in node]
        if not isinstance(node, dict):
            return node
        own = node.get(_DEFS)
        for name, value in own.items() if isinstance(own, dict) else ():
            if defs.setdefault(name, value) is not value and defs[name] != value:
                raise TypeError(f"there are two different classes with the name {name!r}")
        return {name: lifted(value) for name, value in node.items() if name != _DEFS}

    root = cast("dict[str, Json]", lifted(schema))
    done: dict[str, Json] = {}
    while waiting := [name for name in defs if name not in done]:
        for name in waiting:
            done[name] = lifted(defs[name])
    return {**root, _DEFS: done} if done else root
