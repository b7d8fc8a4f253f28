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
