"""Keys: the same request has the same key in every run, and any other request another key."""

import json
import random
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import ChatMessage, Request
from callsheet.bulk.reading.identity import Seen, row_key
from callsheet.bulk.reading.rows import RowReader, json_rows
from callsheet.bulk.reading.settings import ReadSettings
from callsheet.bulk.row import Row

URL = "/v1/chat/completions"
HI = (ChatMessage("user", "Hi"),)


def rows(*lines, **settings):
    settings = ReadSettings(**settings)
    texts = [(number, json.dumps(line).encode()) for number, line in enumerate(lines, 1)]
    reader = RowReader(settings)
    with closing(reader.identities):
        found = list(json_rows(texts, settings, reader))
    assert all(isinstance(row, Row) for row in found), found
    return found


def key(line, **settings):
    return rows(line, **settings)[0].key


LINE = {
    "custom_id": "a",
    "url": URL,
    "body": {"model": "m", "temperature": 1, "messages": [{"role": "user", "content": "Hi"}]},
}


# A change of these keys makes runs that are resumed with another version send all rows again.
EXAMPLES = [
    ("a", URL, Request(model="m", messages=HI), "31f58b0aa74cce3c5ab2d46c2315fa56"),
    (0, URL, Request(model="m", messages=HI), "2314d0b6c013a90f6ead9e141673287c"),
    (
        "caf\u00e9\n",
        URL,
        Request(
            model="m",
            messages=(ChatMessage("system", "\u2028"), *HI),
            max_tokens=5,
            n=2,
            temperature=1,
            top_p=0.1,
            stop=["a", "b"],
            seed=-3,
            json_schema={"b": 1, "a": {"d": None, "c": [1.5, True]}},
            extra_body={"z": 1, "y": "x"},
        ),
        "b51a07bdd91cdfc7eacfd749859ee89b",
    ),
    (
        "a",
        "/v1/embeddings",
        Request(model="m", task="embedding", inputs=("x", "y"), dimensions=3),
        "25fd38118cd3ab06dfdf91b2fa557178",
    ),
]


@pytest.mark.parametrize(("name", "url", "request_", "digest"), EXAMPLES)
def test_a_key_is_the_same_in_every_version(name, url, request_, digest):
    assert row_key(name, url, request_).hex() == digest


def test_a_key_does_not_depend_on_how_it_is_written():
    body = LINE["body"]
    turned = {name: body[name] for name in reversed(body)}
    assert key({"body": turned, "custom_id": "a"}) == key(LINE)
    assert key(LINE | {"body": body | {"temperature": 1.0, "n": 1, "stop": None}}) == key(LINE)
    assert key({"id": "a", **body}) == key(LINE)


def test_a_key_does_not_depend_on_what_no_answer_depends_on():
    assert key(LINE, cacheable=True, packable=True, deadline=3.0) == key(LINE)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "x"},
        {"temperature": 0.5},
        {"temperature": None},
        {"top_p": 0.5},
        {"max_tokens": 3},
        {"n": 2},
        {"seed": 1},
        {"stop": "x"},
        {"stop": ["x", "y"]},
        {"user": "u"},
        {"user": None},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"messages": [{"role": "user", "content": "Hi "}]},
        {"messages": [{"role": "system", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "Hi"}] * 2},
    ],
)
def test_a_key_depends_on_all_that_is_asked(change):
    assert key(LINE | {"body": LINE["body"] | change}) != key(LINE)


def test_a_key_depends_on_the_id():
    assert key(LINE | {"custom_id": "b"}) != key(LINE)


def test_a_default_is_part_of_what_is_asked():
    bare = {"custom_id": "a", "messages": [{"role": "user", "content": "Hi"}]}
    assert key(bare, model="m", temperature=1) == key(LINE)
    assert key(bare, model="m", temperature=0) != key(LINE)


def test_texts_that_are_not_whole_unicode_have_a_key():
    assert row_key("\ud800", URL, Request(model="m", messages=HI))


def test_numbers_beyond_64_bits_have_a_key():
    big = [Request(model="m", messages=HI, seed=2**70 + more) for more in (0, 1)]
    assert len({row_key("a", URL, request) for request in big}) == 2


@given(st.lists(st.sampled_from("abcde"), max_size=30), st.randoms(use_true_random=False))
def test_rows_without_ids_keep_their_keys_when_they_are_moved(prompts, chance):
    before = [row.key for row in rows(*({"prompt": prompt} for prompt in prompts), model="m")]
    assert len(set(before)) == len(before)
    moved = list(prompts)
    chance.shuffle(moved)
    after = [row.key for row in rows(*({"prompt": prompt} for prompt in moved), model="m")]
    assert set(after) == set(before)


def test_a_row_that_is_added_changes_no_other_key():
    lines = [{"prompt": f"{number % 7}"} for number in range(20)]
    before = rows(*lines, model="m")
    _, *after = rows({"prompt": "new"}, *lines, model="m")
    assert [row.key for row in after] == [row.key for row in before]
    assert [row.custom_id for row in after[:2]] == ["row-2", "row-3"]


def test_what_was_seen_is_found_among_many():
    chance = random.Random(1)
    digests = [chance.randbytes(8) for _ in range(20_000)] + [bytes(8), b"\xff" * 8]
    with closing(Seen()) as seen:
        for number, digest in enumerate(digests, 1):
            assert seen.first(digest, number) is None
        for number, digest in enumerate(digests, 1):
            assert seen.first(digest, 0) == seen.get(digest) == number
        assert seen.get(chance.randbytes(8)) is None
        assert [seen.again(digests[0]) for _ in range(3)] == [1, 2, 3]
        assert seen.again(digests[1]) == 1
