"""The form of a pack whose answers are short: each on a line, after its number (L5)."""

import json
from decimal import Decimal

import pytest
from fakes import MODEL
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Choice, Request, Response, Usage
from callsheet.actors.batching.packing import Packing
from callsheet.simulator.text import write_answer

INSTRUCTION = "Label the text: positive, negative or neutral."


def item(text, max_tokens=5, **more):
    messages = [ChatMessage("system", INSTRUCTION), ChatMessage("user", text)]
    return Request(model=MODEL, messages=messages, packable=True, max_tokens=max_tokens, **more)


def lines(*entries, ended="stop"):
    return Response(
        text="\n".join(entries),
        model=MODEL,
        finish_reason=ended,
        usage=Usage(),
        cost_usd=Decimal(0),
    )


def texts_of(size, response):
    found = Packing().split([item("x")] * size, response)
    return [None if one is None else one.text for one in found]


# ------------------------------------------------------------------ what is sent


def test_a_pack_of_short_answers_needs_no_schema_so_any_provider_takes_it():
    texts = ["one", "three\nlines\n2 two", "4 stars", '["1 a","2 b"]', "vier: äöü", ""]
    whole = Packing().combine([item(text) for text in texts])
    assert whole.output_schema is None
    system, user = whole.messages
    assert system.content.startswith(INSTRUCTION)
    assert json.loads(user.content) == [f"{number} {text}" for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("more", "most"),
    [
        ({"max_tokens": 32}, 100),
        ({"max_tokens": 33}, 50),
        ({"max_tokens": None}, 50),
        ({"max_tokens": 5, "returns": bool}, 50),
    ],
)
def test_a_pack_has_more_items_where_the_answer_to_each_is_short(more, most):
    assert Packing().bounds_for(item("x", **more)).max_size == most
    assert Packing(max_items=7).bounds_for(item("x", **more)).max_size == 7


@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_built_in_provider_answers_in_lines(size):
    texts = [f"It is good, {number}\n3 bad" for number in range(size - 1)] + ['["1 bad"]']
    system, user = (
        message.content for message in Packing().combine(list(map(item, texts))).messages
    )
    said = write_answer(system, user, seed=0)
    alone = [write_answer(INSTRUCTION, text, seed=0) for text in texts]
    assert texts_of(size, lines(*said.split("\n"))) == alone


odd_texts = st.text(max_size=30) | st.from_regex(r"\A[0-9]{1,3} (good|bad)\n[0-9]{1,2}\Z")


@given(st.lists(odd_texts, min_size=1, max_size=20), st.sampled_from([5, 60]))
def test_whatever_is_in_the_items_each_gets_the_answer_of_a_single_call(texts, max_tokens):
    """Digits, line breaks, brackets and numbers of other items, in lines and in JSON."""
    requests = [item(text, max_tokens) for text in texts]
    whole = Packing().combine(requests)
    system, user = (message.content for message in whole.messages)
    output = whole.output_schema
    said = write_answer(system, user, seed=0, schema=None if output is None else output.schema)
    found = Packing().split(requests, lines(said))
    assert [one.text for one in found] == [write_answer(INSTRUCTION, it, seed=0) for it in texts]


# ------------------------------------------------------------------ what comes back


@pytest.mark.parametrize(
    "entries",
    [
        ["1 a", "2 b", "3 c"],
        ["", "1 a", "", "2 b ", "3  c", ""],
        ["1 a\r", "2 b\r", "3 c\r"],
        ["1. a", "2. b", "3. c"],  # a numbered list in Markdown
        ["1) a", "2) b", "3) c"],
        ["1: a", "2: b", "3: c"],
        ["```", "1 a", "2 b", "3 c", "```"],
        ["```text", "1 a", "2 b", "", "3 c", "``` "],
        ["Here are the answers:", "", "1 a", "2 b", "3 c"],
    ],
)
def test_a_line_is_read_as_models_write_numbered_lists(entries):
    assert texts_of(3, lines(*entries)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "entries",
    [
        ["3 answers:", "1 a", "2 b", "3 c"],
        ["1 a", "2 apples", "2 b", "3 c"],
        ["1 a", "b", "c"],
        ["1 a", "b", "3 c"],
        ["2 a", "3 b"],
        ["1 a", "3 c"],
        ["0 a", "1 b", "2 c"],
        ["1 a", "2 c"],
        ["1 a", "2 b", "2 c", "3 d"],
        ["1 a", "2 b", "3 c", "4 d"],
        ["2 b", "1 a", "3 c"],
        ["1a", "2b", "3c"],
        ["1 a 2 b 3 c"],
        ["\u0661 a", "\u0662 b", "\u0663 c"],  # digits, but not ASCII
        ["- 1 a", "- 2 b", "- 3 c"],
        ["1.5 a", "2.5 b", "3.5 c"],
        ['{"answers":["1 a","2 b","3 c"]}'],
        [],
    ],
)
def test_lines_with_a_numbering_of_their_own_answer_no_item(entries):
    assert texts_of(3, lines(*entries)) == [None] * 3


@pytest.mark.parametrize(
    ("entries", "answers"),
    [
        (["1 a", "2 b", "3 c", "Let me know if you need more."], ["a", "b", None]),
        (["1 a", "and more", "and more", "2 b", "3 c"], [None, "b", "c"]),
        (["1 a", "b", "2 b", "3 c"], [None, "b", "c"]),
        (["1 a", "2 b", "3 c", "```"], ["a", "b", None]),
        (["```", "1 a", "```", "2 b", "3 c", "```"], [None, "b", "c"]),
    ],
)
def test_an_answer_that_another_line_may_belong_to_is_left_out(entries, answers):
    """A remark after the last line would otherwise be a part of the last answer."""
    assert texts_of(3, lines(*entries)) == answers


@pytest.mark.parametrize("ended", ["length", "content_filter", "error", None])
def test_a_response_that_may_have_been_cut_off_answers_no_item(ended):
    """No bracket closes the last line, so "posi" would be taken for the answer."""
    assert texts_of(2, lines("1 negative", "2 posi", ended=ended)) == [None, None]


def test_an_item_without_an_answer_after_its_number_is_asked_for_alone():
    assert texts_of(3, lines("1 a", "2 ", "3 c")) == ["a", None, "c"]


@given(st.integers(1, 100), st.data())
def test_any_wrong_numbering_is_found(size, data):
    right = list(range(1, size + 1))
    shifted = st.integers(-3, 3).map(lambda by: [number + by for number in right])
    any_order = st.permutations(right)
    anything = st.lists(st.integers(-1, size + 2), min_size=size, max_size=size)
    numbers = data.draw(st.one_of(shifted, any_order, anything))
    entries = [f"{number} item {own}" for own, number in zip(right, numbers, strict=True)]
    expected = [f"item {own}" for own in right] if numbers == right else [None] * size
    assert texts_of(size, lines(*entries)) == expected


errors = st.sampled_from(["leave out", "repeat", "count on", "count back", "no number", "remark"])


@given(st.integers(1, 12), st.lists(st.tuples(errors, st.integers(0, 11)), max_size=2))
def test_a_model_that_makes_two_errors_gives_no_item_the_answer_of_another(size, mistakes):
    """Numbers from 2 up to that of the last item gave each item the answer of the one before."""
    written = [(number, f"item {number}") for number in range(1, size + 1)]
    for error, place in mistakes:
        before, rest = written[:place], written[place:]
        match error:
            case "leave out":
                written = before + rest[1:]
            case "repeat":
                written = before + rest[:1] + rest
            case "count on" | "count back":
                by = 1 if error == "count on" else -1
                rest = [(number if number is None else number + by, it) for number, it in rest]
                written = before + rest
            case "no number":
                written = before + [(None, it) for _, it in rest[:1]] + rest[1:]
            case _:
                written = [*before, (None, "And so on."), *rest]
    entries = [it if number is None else f"{number} {it}" for number, it in written]
    for number, found in enumerate(texts_of(size, lines(*entries)), 1):
        assert found in (None, f"item {number}")


@given(st.text())
def test_whatever_comes_back_an_item_gets_the_only_line_with_its_number(text):
    for number, answer in enumerate(Packing().split([item("x")] * 3, lines(text)), 1):
        if answer is not None:
            own = [line for line in text.split("\n") if line.lstrip().startswith(str(number))]
            assert len(own) == 1
            assert answer.text in own[0]
            assert answer.choices == (Choice(answer.text, "stop"),)
