"""The form of a pack: its numbers show whether an answer belongs to an item (L5)."""

import json
from decimal import Decimal
from typing import Literal

import attrs
import pytest
from fakes import MODEL
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Choice, Request, Response, Usage
from callsheet.actors.batching.pack_form import form_for
from callsheet.actors.batching.packing import Packing
from callsheet.simulator.text import write_answer

INSTRUCTION = "Answer with a label."
NO_SCHEMA = None
LABEL = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}},
    "required": ["label"],
    "additionalProperties": False,
}
WITH_ID = {**LABEL, "properties": {"id": {"type": "string"}, **LABEL["properties"]}}


def item(text, **more):
    messages = [ChatMessage("system", INSTRUCTION), ChatMessage("user", text)]
    return Request(model=MODEL, messages=messages, packable=True, **more)


def said(text):
    return Response(
        text=text, model=MODEL, finish_reason="stop", usage=Usage(), cost_usd=Decimal(0)
    )


def packed(*entries):
    return said(json.dumps({"answers": list(entries)}))


def texts_of(items, response):
    return [None if one is None else one.text for one in Packing().split(items, response)]


# ------------------------------------------------------------------ what is sent


def test_a_pack_holds_the_instruction_once_and_every_item_with_its_number():
    texts = ["one", 'two "quoted"', "three\nlines", "vier: äöü", "5 stars"]
    whole = Packing().combine([item(text, max_tokens=50) for text in texts])
    system, user = whole.messages
    assert system.content.startswith(INSTRUCTION)
    assert json.loads(user.content) == [f"{number} {text}" for number, text in enumerate(texts, 1)]
    assert whole.max_tokens >= 5 * 50
    assert whole.json_schema["properties"]["answers"]["items"] == {"type": "string"}
    assert not whole.packable, "it is no item of another pack"


@pytest.mark.parametrize("schema", [NO_SCHEMA, LABEL, WITH_ID], ids=["text", "object", "with id"])
def test_the_schema_does_not_depend_on_the_number_of_items(schema):
    """Providers compile each schema once, and bill it as input."""
    one, many = (
        Packing().combine([item("a", json_schema=schema)] * count).json_schema for count in (1, 50)
    )
    assert one == many


def test_the_number_of_an_object_is_one_of_its_members():
    whole = Packing().combine([item("a", json_schema=LABEL)])
    entry = whole.json_schema["properties"]["answers"]["items"]
    assert list(entry["properties"]) == ["id", "label"]
    assert entry["required"] == ["id", "label"]


def test_an_object_with_an_id_of_its_own_stands_beside_its_number():
    whole = Packing().combine([item("a", json_schema=WITH_ID)])
    entry = whole.json_schema["properties"]["answers"]["items"]
    assert entry["properties"]["answer"] == WITH_ID
    answer = {"id": "own", "label": "bad"}
    found = texts_of([item("a", json_schema=WITH_ID)], packed({"id": 1, "answer": answer}))
    assert list(map(json.loads, found)) == [answer]


@attrs.frozen
class Node:
    name: str
    next: "Node | None"


def test_references_in_the_class_of_an_answer_lead_to_the_definitions_of_the_pack():
    items = [item("a", returns=Node), item("b", returns=Node)]
    assert Packing().key(items[0]) == Packing().key(items[1]) is not None
    assert Packing().key(items[0]) != Packing().key(item("a"))
    whole = Packing().combine(items)
    assert whole.returns is None
    entry = whole.json_schema["properties"]["answers"]["items"]
    assert list(entry["properties"]) == ["id", "name", "next"]
    assert list(whole.json_schema["$defs"]) == ["Node"]
    first, second = texts_of(
        items,
        packed(
            {"id": 1, "name": "x", "next": {"name": "y", "next": None}},
            {"id": 2, "name": "x", "next": {"name": 2, "next": None}},
        ),
    )
    assert json.loads(first) == {"name": "x", "next": {"name": "y", "next": None}}
    assert second is None, "it does not match the schema"


@pytest.mark.parametrize(
    ("max_tokens", "most"), [(33, 50), (300, 50), (500, 31), (5_000, 3), (9_000, 1), (90_000, 1)]
)
def test_the_answers_of_a_pack_fit_into_one_response(max_tokens, most):
    """A limit of more tokens than a model can write is refused, and the pack with it."""
    request = item("a", max_tokens=max_tokens)
    assert Packing().bounds_for(request).max_size == most
    if most > 1:
        assert Packing().combine([request] * most).max_tokens <= 16_100


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"}},
        },
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]},
    ],
)
def test_a_schema_that_refers_to_its_own_root_is_in_no_pack(schema):
    """In a pack its root is another one: the model would be made to answer with packs."""
    assert Packing().key(item("a", json_schema=schema)) is None


# ------------------------------------------------------------------ what comes back


@attrs.frozen
class Label:
    label: Literal["good", "bad"]
    score: int


@pytest.mark.parametrize("kind", [None, Node, Label, list[str], Literal["good", "bad"]])
def test_the_built_in_provider_answers_every_form(kind):
    items = [item(f"text {number}", returns=kind) for number in range(7)]
    whole = Packing().combine(items)
    system, user = (message.content for message in whole.messages)
    schema = whole.output_schema.schema
    text = write_answer(system, user, seed=0, schema=schema)
    assert None not in texts_of(items, said(text))


@attrs.frozen
class Remark:
    text: str
    reason: str | None = None


def test_an_answer_of_a_class_is_one_that_the_caller_can_read():
    """A server without a strict mode leaves out what is optional; money.md 10."""
    items = [item(text, returns=Remark) for text in "abc"]
    entries = [{"id": 1, "text": "x"}, {"id": 2, "text": "x", "reason": None}, {"id": 3, "text": 1}]
    first, second, third = Packing().split(items, packed(*entries))
    assert None not in (first, second)
    assert third is None


@pytest.mark.parametrize(
    ("schema", "answers"),
    [
        (NO_SCHEMA, ["", " \n"]),
        (LABEL, [{"label": "else"}, {}, {"label": "good", "more": 1}, {"label": None}]),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, [{"n": True}, {"n": "1"}]),
        ({"type": "object", "properties": {"n": {"maximum": 5}}}, [{"n": 6}]),
        ({"type": "object", "properties": {"s": {"maxLength": 2}}}, [{"s": "abc"}]),
        ({"type": "object", "properties": {"l": {"minItems": 1}}}, [{"l": []}]),
    ],
)
def test_an_answer_that_is_not_of_its_schema_is_none_and_the_others_stay(schema, answers):
    """money.md 10: the caller of a typed request must not get what the schema forbids."""
    good = {} if schema is not LABEL else {"label": "good"}
    items = [item(text, json_schema=schema) for text in "ab"]
    for answer in answers:
        if schema is None:
            response = packed(f"1 {answer}", "2 fine")
        else:
            response = packed({"id": 1, **answer}, {"id": 2, **good})
        first, second = texts_of(items, response)
        assert first is None
        assert second is not None


@pytest.mark.parametrize(
    "entries",
    [
        ["0 a", "1 b", "2 c"],  # from 0
        ["2 a", "3 b", "4 c"],  # from 2
        ["1 a", "2 c"],  # an item is left out, and the count goes on
        ["1 a", "3 c"],  # an item is left out, or the answer to it has the next number
        ["2 a", "3 b"],  # from 2, up to the number of items
        ["1 a", "1 b", "2 c"],
        ["1 a", "2 b", "3 c", "4 d"],
        ["1 a", "3 b", "2 c"],
        ["a", "b", "c"],
        ["1 a", "b", "3 c"],
        ["1- a", "2- b", "3- c"],
        ["01 a", "02 b", "03 c"],
        ["-1 a", "2 b", "3 c"],
        ["1 a", 2, "3 c"],
        ["1" * 5000 + " a", "2 b", "3 c"],
        [],
    ],
)
def test_a_pack_with_a_numbering_of_its_own_answers_no_item(entries):
    """money.md 10: a model that numbered from 0 gave 48 of 50 items the answer of another."""
    assert texts_of([item(text) for text in "abc"], packed(*entries)) == [None] * 3


@given(st.integers(1, 60), st.data())
def test_any_wrong_numbering_of_all_items_is_found(size, data):
    """Each item is answered in order, under numbers that the model made up."""
    right = list(range(1, size + 1))
    shifted = st.integers(-3, 3).map(lambda by: [number + by for number in right])
    stepped = st.integers(-2, 3).map(lambda step: [1 + step * at for at in range(size)])
    any_order = st.permutations(right)
    anything = st.lists(st.integers(-1, size + 2), min_size=size, max_size=size)
    numbers = data.draw(st.one_of(shifted, stepped, any_order, anything))
    items = [item("x") for _ in right]
    entries = [f"{number} item {own}" for own, number in zip(right, numbers, strict=True)]
    found = texts_of(items, packed(*entries))
    expected = [f"item {own}" for own in right] if numbers == right else [None] * size
    assert found == expected


@given(st.integers(2, 60), st.data())
def test_a_count_that_goes_on_past_an_item_that_was_left_out_is_found(size, data):
    left_out = data.draw(st.sets(st.integers(1, size), min_size=1, max_size=size))
    answered = [own for own in range(1, size + 1) if own not in left_out]
    entries = [f"{number} item {own}" for number, own in enumerate(answered, 1)]
    assert texts_of([item("x")] * size, packed(*entries)) == [None] * size


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.lists(json_values | st.from_regex(r"\A[0-4] \w*\Z"), max_size=6))
def test_whatever_comes_back_an_item_gets_the_only_answer_with_its_number(entries):
    for number, answer in enumerate(Packing().split([item("x")] * 3, packed(*entries)), 1):
        if answer is not None:
            own = [one for one in entries if isinstance(one, str) and one.startswith(f"{number} ")]
            assert own == [f"{number} {answer.text}"]
            assert answer.choices == (Choice(answer.text, "stop"),)


@pytest.mark.parametrize(
    "around",
    ["%s", "```json\n%s\n```", "<think>Hm.</think>\n%s", "\ufeff%s", "Here:\n```\n%s\n```\n"],
)
def test_a_pack_is_read_as_a_single_response_is(around):
    """L10: a single object in a fenced block was read, and a pack in one was paid for twice."""
    whole = json.dumps({"answers": [{"id": 1, "label": "good"}, {"id": 2, "label": "bad"}]})
    found = texts_of([item(text, json_schema=LABEL) for text in "ab"], said(around % whole))
    assert list(map(json.loads, found)) == [{"label": "good"}, {"label": "bad"}]


@given(st.text() | json_values.map(json.dumps))
def test_a_response_that_is_no_pack_is_no_response_to_any_member(text):
    assert texts_of([item("a"), item("b")], said(text)) == [None, None]


@given(st.text(max_size=30), st.integers(1, 9))
def test_a_response_that_is_cut_off_is_no_response_to_any_member(text, cut):
    whole = json.dumps({"answers": [f"1 {text}", f"2 {text}"]})
    assert texts_of([item("a"), item("b")], said(whole[:-cut])) == [None, None]


@pytest.mark.parametrize("form", ['{"answers":["1 a","2 b"]}', '["1 a","2 b"]'])
def test_an_array_is_read_with_and_without_the_object_around_it(form):
    """A server that ignores the schema returned the array that the instruction asks for."""
    request = Request.of("x", system="Answer.", model="m", max_tokens=100, packable=True)
    assert form_for(request).read(form, 2) == ["a", "b"]
    assert form_for(request).read(form, 3) == [None] * 3
