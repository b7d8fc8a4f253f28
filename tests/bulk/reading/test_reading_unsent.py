"""A parameter of a row that is not sent is remarked on (issue 20, 5)."""

import csv
import json

import pytest

from callsheet.bulk.reading.opening import open_rows
from callsheet.bulk.reading.settings import ReadSettings


def table(path, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(columns), list(columns.values())])


def remarks(path, rows, **settings):
    if isinstance(rows, dict):
        table(path, rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = []
    with open_rows(path, ReadSettings(**{"model": "m"} | settings), found.append) as opened:
        list(opened)
    return found


MODEL = "The column model is data, and is not sent; to send it, add --map model=model."


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        ({"prompt": "Hi", "text": "x", "n": "1", "user": "u"}, {}, []),
        ({"prompt": "Hi", "model": "x"}, {}, [MODEL]),
        ({"text": "Hi", "model": "x"}, {"template": "{{ text }}"}, [MODEL]),
        ({"text": "Hi", "model": "x"}, {"template": "{{ text }} of {{ model }}"}, []),
        ({"text": "Hi", "model": "x"}, {"template": "{{ row }}"}, []),
        ({"prompt": "Hi", "model": "x"}, {"fields": {"model": "model"}}, []),
        ({"prompt": "Hi", "model": "x", "m": "y"}, {"fields": {"model": "m"}}, []),
        ({"prompt": "Hi", "system": "x"}, {"system": "Be brief."}, []),
        (
            {"prompt": "Hi", "temperature": "1", "max_completion_tokens": "3", "top_p": "1"},
            {},
            [
                (
                    "The columns temperature and max_completion_tokens are data, and are not "
                    "sent; to send them, add --map temperature=temperature --map "
                    "max_tokens=max_completion_tokens."
                ),
                "The column top_p is data, and is not sent; JSON Lines with messages can send it.",
            ],
        ),
    ],
)
def test_a_column_that_is_named_like_a_parameter(tmp_path, columns, settings, said):
    assert remarks(tmp_path / "in.csv", columns, **settings) == said


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        ([{"prompt": "Hi", "temperature": 1, "top_p": 0.5, "top_k": 3}], {}, []),
        ([{"prompt": "Hi", "user": None, "topic": "x"}], {}, []),
        ([{"text": "Hi", "model": "x"}] * 3, {"template": "{{ text }}"}, [MODEL]),
        (
            [{"prompt": "Hi"}, {"prompt": "Hi", "user": "u"}, {"prompt": "Hi", "user": "v"}],
            {},
            ["The column user is data, and is not sent; JSON Lines with messages can send it."],
        ),
        ([{"messages": [{"role": "user", "content": "Hi"}], "user": "u"}], {}, []),
    ],
)
def test_a_member_that_is_named_like_a_parameter(tmp_path, rows, settings, said):
    assert remarks(tmp_path / "in.jsonl", rows, **settings) == said
