"""The object of OpenAI's Responses, with all members that an SDK needs."""

from collections.abc import Mapping
from typing import cast

from ...actors import Json

ECHOED = (
    *("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "reasoning"),
    *("temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user"),
)
"""Members of a body that the response repeats."""

_ALWAYS: Mapping[str, Json] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": False,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
_DETAILS: Mapping[str, Mapping[str, Json]] = {
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
_MADE_REASONING = "rs_callsheet_"
_ID_PREFIXES = {"message": "msg_", "function_call": "fc_", "reasoning": _MADE_REASONING}


def item_id(kind: str, name: str, index: int) -> str:
    """Return the id of an item of the output.

    Args:
        kind: the type of the item.
        name: a text that no other answer has.
        index: the position of the item in the output.
    """
    return f"{_ID_PREFIXES.get(kind, 'item_')}{name}_{index}"


def is_made_reasoning(item: Mapping[str, Json]) -> bool:
    """Return whether an item is reasoning that was made from a response of another dialect.

    Args:
        item: an item of the input, which may be from an earlier answer.
    """
    own_id = item.get("id")
    return isinstance(own_id, str) and own_id.startswith(_MADE_REASONING)


def whole_response(
    made: Mapping[str, Json], echoes: Mapping[str, Json], name: str
) -> dict[str, Json]:
    """Return a response object with what the request said, and with an id for each item.

    Args:
        made: the members that follow from the response.
        echoes: the members of the body that the response repeats.
        name: a text that no other answer has, to make ids from.
    """
    items: list[Json] = []
    for at, item in enumerate(cast("list[dict[str, Json]]", made.get("output") or [])):
        head: dict[str, Json] = {"id": item_id(str(item["type"]), name, at), "status": "completed"}
        items.append({**head, **item})
    whole: dict[str, Json] = {**_ALWAYS, **echoes, **made, "output": items}
    usage = made.get("usage")
    return whole if not isinstance(usage, dict) else {**whole, "usage": _whole_usage(usage)}


def _whole_usage(usage: dict[str, Json]) -> dict[str, Json]:
    """Return a usage with the details that SDKs require."""
    whole = dict(usage)
    for name, details in _DETAILS.items():
        given = usage.get(name)
        whole[name] = {**details, **(given if isinstance(given, dict) else {})}
    return whole
