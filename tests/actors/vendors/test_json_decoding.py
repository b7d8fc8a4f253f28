"""JSON is parsed and written fast when it is valid, and tolerantly when it is not."""

import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.vendors.decoding import dumps, loads

texts = st.text(st.characters(codec="utf-8"), max_size=5)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_encoded_json_has_the_same_value(value):
    assert json.loads(dumps(value)) == value


@given(values)
def test_what_is_read_is_what_the_standard_library_reads(value):
    text = json.dumps(value).encode()
    assert _rounded(loads(text)) == _rounded(json.loads(text))


def _rounded(value):
    """Integers beyond 64 bits lose their last digits."""
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    is_big = isinstance(value, int) and not -(1 << 63) <= value < 1 << 64
    return float(value) if is_big else value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": "caf\udce9"}, b'{"a": "caf?"}'),
        ({"\ud800": [1, None]}, b'{"?": [1, null]}'),
        ({"a": 2**70}, b'{"a": 1180591620717411303424}'),
        ({"a": None, "b": (1, 2)}, b'{"a": null, "b": [1, 2]}'),
        ({"a": MappingProxyType({"b": MappingProxyType({})})}, b'{"a":{"b":{}}}'),
        ({"a": MappingProxyType({"b": None})}, b'{"a": {"b": null}}'),
        ({"a": "é"}, '{"a":"é"}'.encode()),
    ],
)
def test_rare_values_are_encoded_too(value, text):
    assert dumps(value) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_values_that_json_cannot_express_are_refused_and_not_sent_as_null(number):
    with pytest.raises(ValueError, match="JSON"):
        dumps({"a": [number, "null"]})


def test_what_is_no_value_at_all_is_refused():
    with pytest.raises(TypeError, match="object is not a JSON value"):
        dumps({"a": object()})
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deep"):
        dumps({"a": deep})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud83d\ude00"', "😀"),
        (rb'["\ud800", {"\udfff": 1}]', ["?", {"?": 1}]),
        (b'"\xff"', "\ufffd"),
        (b"1e999", float("inf")),
        (b"[-Infinity]", [-float("inf")]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"123456789012345678901234567890", 1.2345678901234568e29),
        (b" {}\n", {}),
    ],
)
def test_almost_valid_json_is_decoded(text, value):
    assert loads(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1,]", b"nonsense", b"[" * 100_000, b"9" * 10_000, b"[" * 5000 + b"]" * 5000],
)
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        loads(text)
