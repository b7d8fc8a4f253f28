"""What every strict mode accepts, as a check of a schema."""

KEYWORDS = {
    *("type", "description", "properties", "required", "additionalProperties"),
    *("items", "enum", "anyOf", "$ref", "$defs", "format"),
}


def check_strict(schema):
    """Assert that a schema is what OpenAI, Anthropic and Gemini have in common."""
    defs = schema.get("$defs", {})
    assert schema["type"] == "object"
    _check(schema, defs)
    for definition in defs.values():
        _check(definition, defs)


def _check(node, defs):
    assert node.keys() <= KEYWORDS, node
    if "$ref" in node:
        assert node.keys() == {"$ref"}
        assert node["$ref"].removeprefix("#/$defs/") in defs
        return
    if "anyOf" in node:
        assert node.keys() <= {"anyOf", "description"}
        for option in node["anyOf"]:
            _check(option, defs)
        return
    assert isinstance(node["type"], str), "OpenAI requires a type"
    if node["type"] == "object":
        assert node["additionalProperties"] is False
        assert node["required"] == list(node["properties"])
        for member in node["properties"].values():
            _check(member, defs)
    if node["type"] == "array":
        _check(node["items"], defs)


def conforms(value, schema, node=None):
    """Return whether a JSON value matches a strict schema."""
    node = schema if node is None else node
    if "$ref" in node:
        return conforms(value, schema, schema["$defs"][node["$ref"].removeprefix("#/$defs/")])
    if "anyOf" in node:
        return any(conforms(value, schema, option) for option in node["anyOf"])
    if node["type"] == "object":
        return (
            isinstance(value, dict)
            and value.keys() == node["properties"].keys()
            and all(conforms(value[name], schema, one) for name, one in node["properties"].items())
        )
    if node["type"] == "array":
        return isinstance(value, list) and all(
            conforms(one, schema, node["items"]) for one in value
        )
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    if node["type"] == "null":
        return value is None
    is_typed = isinstance(value, types[node["type"]])
    is_typed = is_typed and (node["type"] == "boolean") == isinstance(value, bool)
    return is_typed and value in node.get("enum", [value])
