"""Which of the beginnings that have come before are marked, and which calls of a crowd wait."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cache_planning import CLAUDE, NEWER, OLDER, SYSTEM, asking, plan, planner_at, tokens

from callsheet.actors import ChatMessage, Request
from callsheet.actors.prompt_cache.marks import PromptPlace

REPORT = "The kettle is made of steel, and its handle stays cool for a long while. " * 40


def marks_after(planner, *texts, **more):
    """Return the marks of the last of several calls."""
    for text in texts:
        found = plan(planner, asking(text, **more))
    return found.marks


@pytest.mark.parametrize("model", [CLAUDE, NEWER])
def test_a_short_prompt_that_comes_twice_is_marked_at_its_instruction_only(model):
    planner = planner_at("anthropic" if model == CLAUDE else "openai")
    texts = ("Tea", "Coffee", "Tea", "Tea", "Coffee")
    assert marks_after(planner, *texts, model=model) == (PromptPlace(0),)


def test_a_long_prompt_that_comes_twice_is_marked_at_both():
    marks = marks_after(planner_at("anthropic"), "Tea", "Milk", REPORT, REPORT)
    assert marks == (PromptPlace(0), PromptPlace(1))


def test_one_text_is_marked_at_the_end_of_its_instruction_and_at_its_own():
    planner = planner_at("anthropic")
    found = None
    for text in ("Tea", "Milk", REPORT, REPORT):
        request = Request.of(f"{SYSTEM}\n\n{text}", model=CLAUDE, max_tokens=5)
        found = plan(planner, request)
    instruction, end = found.marks
    assert (instruction.message, instruction.chars < len(SYSTEM)) == (0, True)
    assert end == PromptPlace(0)
    [message] = found.applied(request).messages
    parts = message.body["content"]
    assert "".join(part["text"] for part in parts) == f"{SYSTEM}\n\n{REPORT}"
    assert [len(part["text"]) for part in parts] == [
        instruction.chars,
        len(SYSTEM) + 2 + len(REPORT) - instruction.chars,
    ]
    assert all(part["cache_control"] == {"type": "ephemeral"} for part in parts)


def test_the_end_of_an_earlier_turn_is_marked_however_short_the_turns_are():
    planner, messages = planner_at("openai"), [ChatMessage("system", SYSTEM)]
    for turn in range(4):
        messages.append(ChatMessage("user", f"Question {turn}"))
        found = plan(planner, Request(model=NEWER, messages=messages, max_tokens=5))
        messages.append(ChatMessage("assistant", "Yes."))
    assert found.marks[-2:] == (PromptPlace(5), PromptPlace(7))


def place_order(mark):
    return mark.message, math.inf if mark.chars is None else mark.chars


@given(st.lists(st.sampled_from(["Tea", "Milk", REPORT, REPORT + "!", ""]), max_size=12))
def test_no_request_gets_more_than_four_marks_and_all_are_in_order(texts):
    planner = planner_at("anthropic")
    for text in texts:
        marks = plan(planner, asking(text)).marks
        assert len(marks) <= 4
        assert list(marks) == sorted(marks, key=place_order)


@pytest.mark.parametrize(("caching", "waiting"), [("order", 15), ("auto", 40)])
def test_without_keys_no_call_waits_for_one_at_another_machine(caching, waiting):
    planner = planner_at("openai", caching)
    plans = [plan(planner, asking(f"{number}", model=OLDER)) for number in range(40)]
    assert sum(bool(tokens(each.wish.readable)) for each in plans) == waiting
    later = plan(planner, asking("later", model=OLDER), now=61.0)
    assert tokens(later.wish.readable)


def turns_of(name, system, count, words=250):
    """Return the requests of a dialogue, each of which continues the one before it."""
    messages, requests = [ChatMessage("system", system)], []
    for turn in range(count):
        messages.append(ChatMessage("user", f"{name} {turn}. " * words))
        requests.append(Request(model=CLAUDE, messages=messages, max_tokens=5))
        messages.append(ChatMessage("assistant", "Yes."))
    return requests


def test_every_turn_of_a_dialogue_is_cut_where_the_one_before_it_was():
    """What comes after a cut is in the cache only for prompts with the same cut."""
    planner = planner_at("anthropic")
    for name in ("Ann", "Bob", "Cleo"):
        cuts = set()
        for request in turns_of(name, f"{SYSTEM} The user is {name}. {f'{name} ' * 300}", 8):
            marks = plan(planner, request).marks
            assert len(marks) <= 4
            cuts.add(tuple([mark for mark in marks if mark.chars is not None]))
        assert len(cuts) == 1
    assert cuts != {()}, "the third one shares most of its system message with the others"


def test_no_text_of_an_earlier_turn_is_cut():
    planner, marks = planner_at("anthropic"), ()
    for request in turns_of("Ann", "Answer. " * 600, 9, words=170):
        marks = plan(planner, request).marks
        assert all(mark.chars is None for mark in marks)
    assert marks[-2:] == (PromptPlace(15), PromptPlace(17))


def test_a_beginning_after_another_cut_is_another_beginning():
    planner, long = planner_at("anthropic"), SYSTEM + REPORT
    plan(planner, asking("Tea", system=long))
    [whole] = plan(planner, asking("Coffee", system=long)).wish.written
    for number in range(3):
        plan(planner, asking(system=f"{long[:6000]}{number}"))
    found = plan(planner, asking("Milk", system=long))
    assert [mark.chars is not None for mark in found.marks] == [True, False]
    assert found.wish.written[-1].tokens == whole.tokens
    assert found.wish.written[-1].key != whole.key


def test_what_comes_often_is_marked_at_its_end_though_most_of_it_comes_more_often():
    planner, marks = planner_at("anthropic"), []
    for number in range(20):
        system = f"{SYSTEM}{'You' if number % 2 else 'They'} decide."
        marks = plan(planner, asking(f"{number}", system=system)).marks
    assert [mark.chars is not None for mark in marks] == [True, False]
