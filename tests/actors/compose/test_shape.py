import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.compose.shape import SHAPES, EmptyResponse, read_result


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Queues\n", "Queues"),
        ('\n  "Queues, and why"  \nmore', "Queues, and why"),
        ("## Queues", "Queues"),
        ("# **Queues**", "Queues"),
        ("**“Queues”**", "Queues"),
        ("```\nQueues\n```", "Queues"),
        ("---\n# \nQueues", "Queues"),
        ('"Now" and "then"', '"Now" and "then"'),
        ("C# and F#", "C# and F#"),
        ("5 * 3 ** 2", "5 * 3 ** 2"),
    ],
)
def test_a_line_is_the_first_one_without_trimmings(text, line):
    assert read_result("line", text) == line


@pytest.mark.parametrize(
    "text",
    [
        "1. First\n2. Second\n3. Third",
        "1) First\n\n2) Second\n3) Third\n",
        "(1) First\n(2) Second\n(3) Third",
        "- First\n* Second\n• Third",
        "1. **First**\n2. **Second**\n3. **Third**",
        "**1. First**\n**2. Second**\n**3. Third**",
        "### 1. First\n### 2. Second\n### 3. Third",
        '- "First"\n- "Second"\n- “Third”',
        "First\nSecond\nThird",
        "First, Second, Third",
        "First, , Second,Third,",
        '["First", "Second", "Third"]',
        '```json\n["First",\n "Second",\n "Third"]\n```',
        "Here are three sections:\n\n1. First\n2. Second\n3. Third",
    ],
)
def test_a_list_is_read_however_it_is_written(text):
    assert read_result("list", text) == ("First", "Second", "Third")


def test_what_only_looks_like_numbering_stays():
    text = "1. 3.5 million calls, at once\n2. 10 keywords\n3. C++ - a view"
    assert read_result("list", text) == (
        "3.5 million calls, at once",
        "10 keywords",
        "C++ - a view",
    )
    assert read_result("list", "1. one, two") == ("one, two",)


def test_an_array_of_anything_but_strings_is_read_as_lines():
    assert read_result("list", "[1, 2]") == ("[1", "2]")
    assert read_result("list", "[draft] one\ntwo") == ("[draft] one", "two")


def test_a_text_is_kept_as_written():
    assert read_result("text", "\n# One\n\n- two\n ") == "# One\n\n- two"
    assert read_result("text", "  ") == ""


@pytest.mark.parametrize("text", ["", " \n\t", "```\n```", '""', "#", "---"])
@pytest.mark.parametrize("shape", ["line", "list"])
def test_an_answer_with_nothing_in_it_is_refused(shape, text):
    with pytest.raises(EmptyResponse, match=shape):
        read_result(shape, text)


def test_an_empty_array_is_refused():
    with pytest.raises(EmptyResponse):
        read_result("list", "[]")


words = st.from_regex(r"[A-Za-z]{2,8}( [A-Za-z0-9]{1,8}){0,4}", fullmatch=True)
numbering = ["{i}. {x}", "{i}) {x}", "- {x}", "* {x}", "{i}. **{x}**", '{i}. "{x}"', "**{i}. {x}**"]


@given(st.lists(words, min_size=2, max_size=12), st.sampled_from(numbering))
def test_items_come_back_from_any_numbering(items, form):
    text = "\n".join(form.format(i=i, x=item) for i, item in enumerate(items, 1))
    assert read_result("list", text) == tuple(items)


@given(st.lists(words, min_size=1, max_size=12))
def test_items_come_back_from_json(items):
    assert read_result("list", json.dumps(items, indent=1)) == tuple(items)


@given(st.sampled_from(SHAPES), st.text(alphabet=st.sampled_from("ab \n#*-\"'`“”1.),[]:=_")))
def test_no_text_breaks_the_reader_and_no_item_is_empty_or_has_two_lines(shape, text):
    try:
        answer = read_result(shape, text)
    except EmptyResponse:
        assert shape != "text"
        return
    items = answer if isinstance(answer, tuple) else (answer,)
    if shape != "text":
        assert items
        assert all(item == item.strip() and item and "\n" not in item for item in items)
