"""A request with a field out of range is refused by the name of the field."""

import pytest

from callsheet.actors import ChatMessage, Request, Tool


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("messages", ()),
        ("messages", ["Hi"]),
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("max_tokens", 1.5),
        ("tool_choice", "get_time"),
        ("tool_choice", 5),
        ("idempotency_key", "a\nb"),
        ("idempotency_key", "caf\u00e9"),
        ("idempotency_key", "x" * 256),
    ],
)
def test_a_request_out_of_range_is_refused_by_the_fields_name(field, value):
    known = {
        "model": "m",
        "messages": (ChatMessage("user", "Hi"),),
        "tools": (Tool(name="get_weather"),),
    }
    with pytest.raises((ValueError, TypeError), match=field):
        Request(**(known | {field: value}))
