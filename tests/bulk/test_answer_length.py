"""A schema of short fields says how long an answer is, before the first one has come."""

import json
from typing import Literal

import attrs
import pytest
from bulk_processes import run_here

from callsheet.actors import Request
from callsheet.bulk.answer_schema import answer_tokens, schema_class

SCHEMA = "label: positive|negative|neutral"


@attrs.frozen
class Place:
    city: Literal["Bern", "Basel"]


@attrs.frozen
class Review:
    label: Literal["good", "bad"]
    place: Place | None
    sure: bool


@attrs.frozen
class Tree:
    branches: "list[Tree]"
    name: Literal["a"] = "a"


def tokens(returns):
    return answer_tokens(Request.of("x", model="m", returns=returns).output_schema.schema)


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        (SCHEMA, '{"label": "positive"}'),
        ("label?: good|bad", '{"label": "good"}'),
        ("stars: 1|2|3, ok: boolean", '{"stars": 1, "ok": false}'),
        ("score: 0..1", '{"score": -12.34}'),
        ("tags: list of a|b", '{"tags": ["a","b"]}'),
    ],
)
def test_the_longest_answer_of_short_fields_counts(fields, longest):
    assert tokens(schema_class(fields)) == pytest.approx(len(longest) / 4, abs=1)


@pytest.mark.parametrize(
    "fields", ["why: text", "label: a|b, why: text", "tags: list of text", "scores: list of 0..1"]
)
def test_a_text_of_any_length_and_any_number_of_items_have_no_longest_answer(fields):
    assert tokens(schema_class(fields)) is None


def test_schemas_of_classes_have_one_too():
    longest = '{"label": "good", "place": {"city": "Basel"}, "sure": false}'
    assert tokens(Review) == pytest.approx(len(longest) / 4, abs=1)
    assert tokens(Tree) is None  # it contains itself


@pytest.mark.parametrize("part", [{}, {"type": "object"}, {"$ref": "#/elsewhere"}, {"anyOf": 3}, 7])
def test_what_a_schema_does_not_say_has_no_length(part):
    assert answer_tokens({"type": "object", "properties": {"it": part}}) is None


@pytest.mark.sockets
def test_the_first_estimate_is_near_what_is_billed(tmp_path, quick_provider):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\n" + "".join(f"A review of thing {n}.\n" for n in range(40)))
    options = ("--template", "{{ text }}", "--base-url", quick_provider, "--model", "gpt-4o-mini")
    run = (source, output, *options, "--schema", SCHEMA)
    told = run_here(*run, "--dry-run")
    assert "Assumed length of a response: 6 tokens, the longest response that the schema" in told
    estimate = json.loads(run_here(*run, "--dry-run", "--json"))["estimate"]
    assert estimate["models"][0]["basis"] == "schema"
    billed = json.loads(run_here(*run, "--json").splitlines()[-1])
    assert float(billed["cost_usd"]) == pytest.approx(float(estimate["cost_usd"]), rel=0.3)
    again = json.loads(run_here(*run, "--system", "Label it.", "--dry-run", "--json"))
    assert again["estimate"]["models"][0]["basis"] == "responses"


@pytest.mark.sockets
def test_what_was_assumed_is_told(tmp_path, quick_provider):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\nTea\n")
    options = ("--template", "{{ text }}", "--base-url", quick_provider, "--dry-run")
    told = run_here(source, output, *options, "--schema", "label: a|b, why: text")
    assert "of a response: max_tokens, or 256 tokens if a row does not set it. Nothing" in told
