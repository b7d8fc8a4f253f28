"""The type of JSON values, and their kinds in words. Every other module may build on it."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import attrs

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""A value that `json.loads` can return."""

_SHOWN = 40
_DEEPEST = 240  # orjson writes 254 levels, a few of which are those of a body


def kind_of(value: object) -> str:
    """Describe a value for an error text: a short one by itself, a long one by its type.

    Args:
        value: a JSON value, or what stands in the place of one.
    """
    if value is None:
        return "null"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:  # Python may refuse to write it
        return f"an integer of more than {_SHOWN} digits"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def check_json(value: object, name: str) -> None:
    """Check that a value that a program has written can be sent as JSON.

    Args:
        value: the value; mappings and tuples are objects and lists.
        name: what it is called in the error.

    Raises:
        TypeError: it contains something that is no JSON value; the text says where.
        ValueError: it contains NaN or infinity, or is nested too deeply.
    """
    if value is None or isinstance(value, str | int):
        return
    try:
        _check(value, _DEEPEST)
    except (TypeError, ValueError) as error:
        where, why = cast("tuple[str, str]", error.args)
        raise type(error)(f"{name}{where} {why}") from None


def _check(value: object, depth: int) -> None:
    """Raise an error with the path of what is no JSON value, and why."""
    if value is None or isinstance(value, str | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("", f"is {value}, which JSON does not have")
        return
    if not depth:
        raise ValueError("", "is nested too deeply")
    members: Iterable[tuple[object, object]]
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value).items()
    elif isinstance(value, list | tuple):
        members = enumerate(cast("list[object]", value))
    else:
        raise TypeError("", f"must be a JSON value, not {kind_of(value)}")
    for key, member in members:
        if not isinstance(key, str | int):
            raise TypeError("", f"must have strings as keys, not {kind_of(key)}")
        try:
            _check(member, depth - 1)
        except (TypeError, ValueError) as error:
            where, why = cast("tuple[str, str]", error.args)
            here = f".{key}" if isinstance(value, Mapping) else f"[{key}]"
            raise type(error)(f"{here}{where}", why) from None


def is_json_object(
    _: object, field: "attrs.Attribute[Any]", value: Mapping[str, Json] | None
) -> None:
    """Check that a field of an attrs class is a JSON object.

    Args:
        field: the field, whose name the error has.
        value: what the field is set to.

    Raises:
        TypeError, ValueError: it is none; the text names the place.
    """
    if not isinstance(cast("object", value), Mapping):
        raise TypeError(f"{field.name} must be a JSON object, not {kind_of(value)}")
    if value:
        check_json(value, field.name)
