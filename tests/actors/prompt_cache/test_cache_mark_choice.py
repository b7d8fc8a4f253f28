"""Which of the beginnings that have come before are marked, and which calls of a crowd wait."""

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


@given(st.lists(st.sampled_from(["Tea", "Milk", REPORT, REPORT + "!", ""]), max_size=12))
def test_no_request_gets_more_than_four_marks_and_all_are_in_order(texts):
    planner = planner_at("anthropic")
    for text in texts:
        marks = plan(planner, asking(text)).marks
        assert len(marks) <= 4
        assert list(marks) == sorted(marks)


@pytest.mark.parametrize(("caching", "waiting"), [("order", 15), ("auto", 40)])
def test_without_keys_no_call_waits_for_one_at_another_machine(caching, waiting):
    planner = planner_at("openai", caching)
    plans = [plan(planner, asking(f"{number}", model=OLDER)) for number in range(40)]
    assert sum(bool(tokens(each.wish.readable)) for each in plans) == waiting
    later = plan(planner, asking("later", model=OLDER), now=61.0)
    assert tokens(later.wish.readable)
