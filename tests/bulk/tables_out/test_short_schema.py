"""The short form of a schema, and the results of a class that is made of one."""

import json
import re

import pytest
from bulk_processes import run_here

from callsheet.actors import Request, result_columns, result_members
from callsheet.actors.typed import InvalidResult, result_type
from callsheet.bulk.answer_schema import schema_class, short_schema


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("summary", {"summary": {"type": "string"}}),
        ("label: good|bad", {"label": {"type": "string", "enum": ["good", "bad"]}}),
        ("label: very good | bad", {"label": {"type": "string", "enum": ["very good", "bad"]}}),
        ('label: "a, b"|"c|d"', {"label": {"type": "string", "enum": ["a, b", "c|d"]}}),
        ("score: 0..1", {"score": {"type": "number", "minimum": 0, "maximum": 1}}),
        ("score: -1.5 .. 2", {"score": {"type": "number", "minimum": -1.5, "maximum": 2}}),
        ("stars: integer 1..5", {"stars": {"type": "integer", "minimum": 1, "maximum": 5}}),
        ("stars: 1|2|3", {"stars": {"type": "integer", "enum": [1, 2, 3]}}),
        ("spam: true|false", {"spam": {"type": "boolean"}}),
        ("spam: bool, n: int", {"spam": {"type": "boolean"}, "n": {"type": "integer"}}),
        ("tags: list of text", {"tags": {"type": "array", "items": {"type": "string"}}}),
        (
            "tags: list of a|b",
            {"tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}},
        ),
        (
            'tags: list of "a"|b',
            {"tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}},
        ),
        ("topic?: text", {"topic": {"anyOf": [{"type": "string"}, {"type": "null"}]}}),
        ("kind: text|image", {"kind": {"type": "string", "enum": ["text", "image"]}}),
    ],
)
def test_the_short_form_is_a_json_schema(text, properties):
    assert short_schema(text) == {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at the end: the name of a field is missing"),
        ("label:", "at the end: a kind is missing"),
        ("label: good|", "at the end: a choice is missing"),
        ("label: good||bad", 'at "|bad" (character 13): a choice is missing'),
        ("label: positve", 'at "positve" (character 8): no such kind; there are text, number'),
        ("a: text,, b: text", 'at ", b: text" (character 9): the name of a field is missing'),
        ("label good|bad", 'at "|bad" (character 11): a comma is missing before this'),
        ("good|bad", 'before choices come a name and a colon: "label: positive|negative"'),
        ("a: text, a: int", 'at "a: int" (character 10): the field "a" is there twice'),
        ("a: x|x", 'at "x|x" (character 4): a choice is there twice'),
        ("a: 1..0", "a range goes from the lower to the higher number"),
        ("a: int 0.5..1", "a range of integers has integers at its ends"),
        ('a: "x', "a quote is not closed"),
        ("a=good|bad", 'letters, digits, _ and -; a colon follows it, as in "label: a|b"'),
        ("a: x|y; b: text", "a comma is missing before this; fields are separated by commas"),
        ("a!: text", "the name of a field is letters, digits, _ and -"),
    ],
)
def test_an_error_names_the_place(text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        short_schema(text)


def test_a_result_matches_the_schema_or_is_refused_with_the_place():
    kind = result_type(schema_class("label: good|bad, score: 0..1, note?: text"))
    valid = {"label": "good", "score": 0.5, "note": None}
    assert kind.read(json.dumps(valid)) == valid
    assert kind.read("```json\n" + json.dumps(valid) + "\n```") == valid
    for text, reason in {
        "good": "the text is no JSON",
        "[]": "the text is not a JSON object",
        '{"label": "good", "score": 1}': 'the object has no "note"',
        '{"label": "fine", "score": 1, "note": ""}': '"label" is "fine", and must match',
        '{"label": "bad", "score": 2, "note": ""}': '"score" is 2, and must match',
        '{"label": "bad", "score": 1, "note": "", "x": 1}': 'the object has a "x"',
    }.items():
        with pytest.raises(InvalidResult, match=reason):
            kind.read(text)


def test_a_request_takes_the_class_and_sends_a_strict_schema():
    returns = schema_class("label: good|bad, score: 0..1")
    output = Request.of("Hi", model="m", returns=returns).output_schema
    assert output.not_strict == ""
    assert output.schema["additionalProperties"] is False
    assert result_columns(returns) == ("label", "score")
    assert result_members(returns, '{"label": "bad", "score": 1}') == {"label": "bad", "score": 1}


def test_a_schema_is_read_from_a_file(tmp_path):
    schema = {"type": "object", "properties": {"label": {"type": "string"}}}
    plain, wrapped, short = (tmp_path / name for name in ("a.json", "b.json", "c.txt"))
    plain.write_text(json.dumps(schema))
    wrapped.write_text(json.dumps({"type": "json_schema", "json_schema": {"schema": schema}}))
    short.write_text("label: good|bad\n")
    for text in (str(plain), f"@{plain}", str(wrapped), str(short), json.dumps(schema)):
        assert result_columns(schema_class(text)) == ("label",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("@missing.json", "cannot read missing.json: No such file"),
        ('{"type": "array"}', "the schema must be that of an object"),
        ("{", "the schema is not JSON"),
    ],
)
def test_a_schema_that_is_none_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        schema_class(text)


@pytest.mark.sockets
def test_a_run_with_a_schema_has_answers_that_match(tmp_path, quick_provider):
    source, output = tmp_path / "reviews.csv", tmp_path / "labels.jsonl"
    source.write_text("review\nGood.\nBad.\n")
    run_here(
        source, output, "--base-url", quick_provider, "--template", "{{ review }}",
        "--model", "gpt-5.4-nano", "--schema", "label: good|bad, score: 0..1",
    )  # fmt: skip
    for line in output.read_text().splitlines():
        answer = json.loads(
            json.loads(line)["response"]["body"]["choices"][0]["message"]["content"]
        )
        assert answer["label"] in ("good", "bad")
        assert 0 <= answer["score"] <= 1


def test_a_schema_that_is_not_valid_ends_the_command_with_the_place(tmp_path):
    told = run_here(tmp_path / "a.csv", tmp_path / "b.csv", "--schema", "label: good|", status=2)
    assert "at the end: a choice is missing" in told
