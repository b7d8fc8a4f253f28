"""Rows of an input, compared with the responses of earlier runs (issue 20, 5)."""

from contextlib import closing

import attrs
import orjson
import pytest

from callsheet.actors import ChatMessage, Request
from callsheet.bulk.files.known import RowComparer, open_known
from callsheet.bulk.files.store import RunStore
from callsheet.bulk.reading.identity import ROW_PARTS, Identities, PartSums, changed_parts
from callsheet.bulk.spending import RunSpend

URL = "/v1/chat/completions"
BASE = {
    "model": "m",
    "messages": (ChatMessage("system", "Label it."), ChatMessage("user", "Hi")),
    "max_tokens": 5,
}


def rows_of(*requests, first=1):
    """Return the rows of requests, or of pairs with an id."""
    identities = Identities()
    with closing(identities):
        found = []
        for number, given in enumerate(requests, first):
            custom_id, request = given if isinstance(given, tuple) else (None, given)
            found.append(identities.row(number, custom_id, URL, request))
        return found


def asked(prompt="Hi", system="Label it.", **more):
    return Request.of(prompt, system=system, **{"model": "m", "max_tokens": 5} | more)


@pytest.fixture
def compare(tmp_path):
    """Compares rows with those that were answered before."""

    def found(answered, rows):
        path = tmp_path / "out.jsonl.callsheet"
        with closing(RunStore(path, "off")) as store:
            lines = [
                orjson.dumps({"id": f"batch_req_{row.key.hex()[:24]}", "custom_id": row.custom_id})
                for row in answered
            ]
            store.keep([(row.key, line) for row, line in zip(answered, lines, strict=True)], SPENT)
        with open_known(path) as known, RowComparer(known) as comparer:
            for row in rows:
                comparer.is_known(row)
            result = comparer.result()
        return result.responses, result.matched, result.changed, result.parts

    return found


SPENT = RunSpend()
THREE = rows_of(asked("a"), asked("b"), asked("c"))


def test_a_row_that_is_inserted_is_new_and_the_others_are_not_changed(compare):
    rows = rows_of(asked("new"), asked("a"), asked("b"), asked("c"))
    assert compare(THREE, rows) == (3, 3, 0, {})


def test_a_row_that_is_edited_has_changed(compare):
    rows = rows_of(asked("a"), asked("B"), asked("c"), asked("d"))
    assert compare(THREE, rows) == (3, 2, 1, {"prompt": 1})


def test_each_part_that_has_changed_is_counted(compare):
    rows = rows_of(asked("a", "New."), asked("B", "New."), asked("c", "New.", model="n"))
    assert compare(THREE, rows) == (3, 0, 3, {"system message": 3, "prompt": 1, "model": 1})


def test_the_latest_response_of_an_id_is_compared(compare):
    older = rows_of(asked("a", "Older."), asked("b", "Older."))
    newer = rows_of(asked("a"), asked("b"))
    rows = rows_of(asked("a", temperature=1), asked("b", temperature=1))
    assert compare(older + newer, rows) == (4, 0, 2, {"parameters": 2})
    assert compare([], older) == (4, 2, 0, {})


@pytest.mark.parametrize("name", ["a\\u0022\n", "x" * 500, "0"])
def test_any_id_is_found(compare, name):
    before, now = rows_of((name, asked("a"))), rows_of((name, asked("b")))
    assert compare(before, now) == (1, 0, 1, {"prompt": 1})


def test_rows_whose_ids_have_changed_are_found_by_what_they_ask(compare):
    rows = rows_of(("x", asked("a")), ("y", asked("b")), ("z", asked("new")))
    assert compare(THREE, rows) == (3, 0, 2, {"id": 2})


def test_rows_that_ask_the_same_are_counted_once_for_each_response(compare):
    answered = rows_of(("a", asked()), ("b", asked()))
    rows = rows_of(*((f"k{number}", asked()) for number in range(9)))
    assert compare(answered, rows) == (2, 0, 2, {"id": 2})


def test_an_empty_store_has_nothing_to_compare_with(compare):
    assert compare([], THREE) == (0, 0, 0, {})


def test_keys_of_a_program_have_no_parts(compare):
    before, now = (attrs.evolve(THREE[0], key=key) for key in (b"1" * 16, b"2" * 16))
    assert compare([before], [now]) == (1, 0, 1, {"request": 1})


# -------------------------------------------------------------------- checksums of parts


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, ()),
        ({"cacheable": True}, ()),
        ({"max_tokens": 6}, ("parameters",)),
        ({"temperature": 0}, ("parameters",)),
        ({"stop": "x"}, ("parameters",)),
        ({"extra_body": {"top_k": 1}}, ("parameters",)),
        ({"model": "n"}, ("model",)),
        ({"json_schema": {"type": "object"}}, ("schema",)),
        ({"messages": (ChatMessage("user", "Hi"),)}, ("system message",)),
        ({"messages": (BASE["messages"][0], ChatMessage("user", "Ho"))}, ("prompt",)),
        (
            {"messages": (BASE["messages"][0], ChatMessage("user", "Hi", extra={"name": "x"}))},
            ("prompt",),
        ),
        (
            {"messages": (*BASE["messages"], ChatMessage("assistant", "x")), "model": "n"},
            ("prompt", "model"),
        ),
    ],
)
def test_a_checksum_for_each_part_tells_what_has_changed(change, parts):
    sums = PartSums()
    before, now = (sums.of(URL, Request(**BASE | more)) for more in ({}, change))
    assert changed_parts(bytes(16) + before, bytes(16) + now) == parts
    assert PartSums().of(URL, Request(**BASE | change)) == now


def test_checksums_do_not_depend_on_the_order_of_members():
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    first, second = (PartSums().of(URL, Request(**BASE, extra_body=it)) for it in (one, other))
    assert first == second


def test_many_different_requests_take_no_more_memory():
    sums = PartSums()
    for number in range(1000):
        sums.of(URL, Request(**BASE | {"seed": number}))
        sums.of(URL, asked(system=f"System {number}"))
    assert len(sums._alike) <= 256
    assert len(sums._systems) <= 256
    assert len(ROW_PARTS) == 5
