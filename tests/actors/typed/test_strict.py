"""Schemas as the strict modes of the providers take them (issue 18, point 7)."""

import pytest
from strictness import check_strict

from callsheet.actors.typed import NotStrict, strict_schema


def strict(**properties):
    """Return the strict form of properties that are all required."""
    whole = {"type": "object", "properties": properties, "required": list(properties)}
    schema = strict_schema(whole)
    check_strict(schema)
    return schema["properties"]


def test_all_properties_are_required_and_no_others_allowed():
    schema = {"title": "A", "type": "object", "properties": {"a": {"type": "integer"}}}
    assert strict_schema({**schema, "required": ["a"]}) == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("member", "nullable"),
    [
        ({"type": "integer"}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (
            {"type": "integer", "default": 3, "description": "How many."},
            {
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "How many. (null means 3)",
            },
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        ),
    ],
)
def test_an_optional_property_may_be_null_instead(member, nullable):
    assert strict_schema({"type": "object", "properties": {"a": member}}) == {
        "type": "object",
        "properties": {"a": nullable},
        "required": ["a"],
        "additionalProperties": False,
    }


def test_bounds_become_words():
    member = {"type": "number", "minimum": 0, "maximum": 1, "description": "How sure."}
    assert strict(a=member) == {
        "a": {"type": "number", "description": "How sure. (minimum: 0, maximum: 1)"}
    }


def test_only_the_usual_formats_are_kept():
    assert strict(a={"type": "string", "format": "date"}, b={"type": "string", "format": "x"}) == {
        "a": {"type": "string", "format": "date"},
        "b": {"type": "string", "description": 'format: "x"'},
    }


def test_a_constant_and_values_of_several_types_have_a_type():
    assert strict(a={"const": "x"}, b={"enum": [None, 1, "x"]}) == {
        "a": {"type": "string", "enum": ["x"]},
        "b": {
            "anyOf": [
                {"type": "null"},
                {"type": "integer", "enum": [1]},
                {"type": "string", "enum": ["x"]},
            ]
        },
    }


def test_one_of_several_and_a_list_of_types_are_any_of():
    both = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert strict(
        a={"oneOf": both["anyOf"], "discriminator": {"propertyName": "kind"}},
        b={"type": ["integer", "null"]},
        c={"allOf": [{"type": "integer"}], "title": "C"},
    ) == {"a": both, "b": both, "c": {"type": "integer"}}


def test_a_tuple_is_an_array_whose_order_is_described():
    pair = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}
    assert strict(a={**pair, "minItems": 2, "maxItems": 2, "items": False})["a"] == {
        "type": "array",
        "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "description": "minItems: 2, maxItems: 2, in order: integer, string",
    }


POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    "required": ["next"],
}


def test_a_reference_at_the_root_is_resolved():
    schema = strict_schema({"$ref": "#/$defs/Point", "$defs": {"Point": POINT}})
    check_strict(schema)
    assert "$defs" not in schema
    assert schema["properties"] == {"x": {"type": "integer"}}


def test_a_class_that_contains_itself_keeps_its_definition():
    schema = strict_schema({"$ref": "#/$defs/Node", "$defs": {"Node": NODE, "Unused": POINT}})
    check_strict(schema)
    assert list(schema["$defs"]) == ["Node"]


def test_a_described_reference_is_resolved_unless_it_contains_itself():
    schema = strict_schema(
        {
            "type": "object",
            "properties": {
                "to": {"$ref": "#/$defs/Point", "description": "The end."},
                "node": {"$ref": "#/$defs/Node", "description": "The first."},
            },
            "required": ["to", "node"],
            "$defs": {"Point": POINT, "Node": NODE},
        }
    )
    check_strict(schema)
    assert schema["properties"]["to"]["description"] == "The end."
    assert schema["properties"]["node"] == {"$ref": "#/$defs/Node"}


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ({}, "result.a may be any value"),
        (True, "result.a may be any value"),
        ({"type": "object"}, "result.a is an object with arbitrary keys"),
        (
            {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}},
            "result.a is an object with arbitrary keys",
        ),
        ({"type": "array"}, r"result.a\[\] may be any value"),
        ({"type": "string", "not": {"const": "x"}}, "result.a has the keyword 'not'"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "keyword 'allOf'"),
        ({"$ref": "https://x.example/schema"}, "leads nowhere"),
        ({"$ref": "#/$defs/Lost"}, "leads nowhere"),
        ({"anyOf": []}, "result.a has no alternatives"),
        ({"type": "array", "prefixItems": []}, "result.a is an array without items"),
    ],
)
def test_what_no_strict_mode_supports_is_named(member, words):
    with pytest.raises(NotStrict, match=words):
        strict_schema({"type": "object", "properties": {"a": member}, "required": ["a"]})


@pytest.mark.parametrize("schema", [{"type": "array", "items": {"type": "string"}}, {}])
def test_the_root_is_an_object(schema):
    with pytest.raises(NotStrict):
        strict_schema(schema)


def test_a_root_that_refers_to_itself_ends():
    with pytest.raises(NotStrict, match="refers to itself"):
        strict_schema({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}})
