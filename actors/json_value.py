"""The type of JSON values, and their kinds in words. Every other module may build on it."""

import json

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""A value that `json.loads` can return."""

_SHOWN = 40


def kind_of(value: object) -> str:
    """Describe a value for an error text: a short one by itself, a long one by its type.

    Args:
        value: a JSON value, or what stands in the place of one.
    """
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"
