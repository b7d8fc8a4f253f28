"""Descriptions of tools and their parameters, from docstrings of three styles."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors.tools.docstring import read_docstring

GOOGLE = """Tell the weather
    of a place.

    More about it.

    Args:
        city (str): the city:
            in English.
        days: how many days,

            from today.
        *names: more.

    Returns:
        text: what to tell.
    """
NUMPY = """
    Tell the weather
    of a place.

    Parameters
    ----------
    city : str
        the city:
        in English.
    days : {1, 2}, optional
        how many days,
        from today.
    *names
        more.

    Returns
    -------
    text
        what to tell.
    """
SPHINX = """Tell the weather
    of a place.

    :param str city: the city:
        in English.
    :param days: how many days,
        from today.
    :type days: int
    :keyword names: more.
    :returns: what to tell.
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_a_docstring_has_a_summary_and_describes_the_parameters(text):
    found = read_docstring(text)
    assert found.summary == "Tell the weather of a place."
    assert found.parameters == {
        "city": "the city: in English.",
        "days": "how many days, from today.",
        "names": "more.",
    }


def test_several_parameters_of_numpy_may_share_a_description():
    text = "Add.\n\nParameters\n----------\nx, y : float\n    a number\nz\n"
    assert read_docstring(text).parameters == {"x": "a number", "y": "a number"}


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (None, ""),
        ("", ""),
        ("One line.", "One line."),
        ("Args:\n    x: only this", ""),
        (":param x: only this", ""),
        ("Look:\n    indented: text", "Look: indented: text"),
        ("Say Args: in a sentence.", "Say Args: in a sentence."),
    ],
)
def test_the_summary_is_the_first_paragraph(text, summary):
    assert read_docstring(text).summary == summary


def test_a_type_may_have_parentheses():
    text = "Add.\n\nArgs:\n    pairs (list[tuple(int, int)], optional): some pairs"
    assert read_docstring(text).parameters == {"pairs": "some pairs"}


@given(st.text(st.sampled_from("Args:\n -x(),.*Parameters:param"), max_size=200))
def test_any_text_can_be_read(text):
    found = read_docstring(text)
    assert "\n" not in found.summary
    assert all(found.parameters.values())


def test_the_functions_of_this_repository_are_described():
    from callsheet.actors import Request

    described = read_docstring(inspect.getdoc(Request)).parameters
    assert described["max_tokens"].startswith("the most tokens of each generated text;")
