"""Write server-sent events."""

from collections.abc import Mapping

import orjson

from ...actors import Json, ProviderEvent, dumps, loads

DONE = b"data: [DONE]\n\n"
"""The end of a stream of OpenAI's chunks."""
DONE_MARK = b"[DONE]"


def to_json(value: Mapping[str, Json]) -> bytes:
    """Return the JSON text of an object, as fast as it can be written.

    What `orjson` refuses, such as half of a surrogate pair, is written more slowly.

    Args:
        value: the JSON object to encode.
    """
    try:
        return orjson.dumps(value, default=dict)
    except TypeError:
        return dumps(value)


def data_event(members: Mapping[str, Json]) -> bytes:
    """Return an event without a name.

    Args:
        members: the JSON object of the event.
    """
    return b"data: %b\n\n" % to_json(members)


def named_event(name: str, members: Mapping[str, Json]) -> bytes:
    """Return an event with a name.

    Args:
        name: the name of the event.
        members: the JSON object of the event.
    """
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(members))


def passed_event(event: ProviderEvent, name: str) -> bytes:
    """Return an event of a provider as it was sent.

    Args:
        event: the event; its data may have several lines.
        name: the name with which it is passed on; "" for none.
    """
    data = event.data
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    if not name:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def type_in(data: bytes) -> str:
    """Return the member "type" of an event, which is its name; "" if it has none.

    Args:
        data: the JSON text of the event.
    """
    try:
        members = loads(data)
    except ValueError:
        return ""
    kind = members.get("type") if isinstance(members, dict) else None
    return kind if isinstance(kind, str) else ""
