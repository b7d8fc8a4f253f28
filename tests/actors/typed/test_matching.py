"""Values are checked against JSON schemas, and a keyword that is not understood refuses nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.typed import matches_schema

TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["name"],
        }
    },
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None, float("nan"), float("inf")]),
        ({"type": "number"}, [1, 0.5], [True, "1"]),
        ({"type": ["string", "null"]}, ["", None], [0, False, []]),
        ({"enum": ["a", 1]}, ["a", 1, 1.0], [True, "b"]),
        ({"const": [True]}, [[True]], [[1]]),
        ({"const": {"a": 1}}, [{"a": 1}], [{"a": True}, {"a": 1, "b": 2}]),
        ({"allOf": [{"minimum": 1}, {"exclusiveMaximum": 3}]}, [1, 2.9, "x"], [0, 3]),
        ({"anyOf": [{"type": "null"}, {"minLength": 2}]}, [None, "ab"], ["a"]),
        ({"items": {"type": "string"}, "maxItems": 2}, [[], ["a"], "x"], [[1], ["a"] * 3]),
        ({"additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "x"}]),
        ({"additionalProperties": False}, [{}], [{"a": 1}]),
        (TREE, [{"name": "a", "next": {"name": "b"}}], [{}, {"name": "a", "next": {}}, 3]),
        ({"$ref": "#/nowhere"}, [1], []),
        ({"$ref": "https://example.com/schema"}, [1], []),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, [1, {}], []),
        ({"pattern": "^a$", "x-more": 3, "type": "unheard-of"}, ["b", 1], []),
        ({"minimum": "3", "enum": 5, "required": 7, "properties": []}, [1, {"a": 2}], []),
        ({"properties": {"a": False}}, [{}, {"b": 1}], [{"a": 1}]),
    ],
)
def test_values_match_or_do_not(schema, good, bad):
    assert [value for value in good if not matches_schema(value, schema)] == []
    assert [value for value in bad if matches_schema(value, schema)] == []


def test_a_value_may_be_as_deep_as_json_can_be_read():
    schema = {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "null"}]}
    assert matches_schema(json.loads("[" * 500 + "]" * 500), schema)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(values, st.dictionaries(st.sampled_from(["type", "items", "allOf", "enum"]), values))
def test_no_schema_and_no_value_raises(value, schema):
    assert matches_schema(value, schema) in (True, False)
