"""Which rows may be asked for, driven without a loop."""

import pytest
from bulk_rows import row
from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.archive import Placed
from callsheet.bulk.asking import Line


def line_of(count, ahead=4):
    line = Line(ahead)
    line.add(Placed(place, row(place + 1)) for place in range(count))
    line.noted = line.note
    return line


def begin_all(line):
    begun = []
    while (placed := line.next()) is not None:
        begun.append(placed)
    return begun


def test_no_more_than_a_few_wait_to_be_sent():
    line = line_of(10)
    line.noted = 100
    begun = begin_all(line)
    assert len(begun) == 4
    line.sent(begun[0].row.custom_id)
    assert len(begin_all(line)) == 1
    assert repr(line) == "<Line 5 wait, 4 unsent, 5 asked>"


def test_nothing_is_begun_that_is_not_noted():
    line = line_of(10)
    line.noted = 2
    assert len(begin_all(line)) == 2
    assert line.wants_note
    line.noted = line.note
    assert line.note == 6
    assert not line.wants_note


def test_a_slow_disk_gets_longer_notes():
    line = line_of(500)
    for expected in (4, 8, 16, 32):
        begun = [line.next() for _ in range(expected)]
        for placed in begun:
            assert placed is None or line.sent(placed.row.custom_id) is None
        line.note_kept(line.note)
        if line.noted - line.begun < expected:
            break
    assert line.noted - line.begun >= 8


def test_no_more_is_noted_than_there_is():
    assert line_of(3, ahead=50).note == 3


@pytest.mark.parametrize("how", ["is_paused", "is_closed"])
def test_nothing_is_begun_in_a_pause_or_after_the_end(how):
    line = line_of(3)
    setattr(line, how, True)
    assert line.next() is None


def test_who_is_taken_back_goes_first_the_next_time():
    line = line_of(3)
    first = line.next()
    assert line.back(first)
    line.noted = 10
    assert line.next() is first
    line.sent(first.row.custom_id)
    assert not line.back(first)


def test_money_that_is_short_is_waited_for_until_nobody_holds_any():
    line = line_of(4)
    a, b, *_ = begin_all(line)
    line.noted = 100
    line.refused(b)
    assert line.next() is None
    assert not line.is_spent
    line.ended(a)
    for placed in list(line._unsent.values()):
        line.ended(placed)
    assert line.next() is b
    assert line.next() is None, "it goes alone"
    line.ended(b)
    assert not line.is_spent


def test_money_that_is_short_for_one_alone_is_spent():
    line = line_of(1)
    placed = line.next()
    line.noted = 10
    line.refused(placed)
    assert line.next() is placed
    line.refused(placed)
    assert line.is_spent


@given(st.integers(1, 8), st.lists(st.sampled_from(["next", "sent", "end", "back", "note", "add"])))
def test_what_is_noted_is_never_less_than_what_was_begun(ahead, steps):
    line, asked, added = Line(ahead), [], 0
    for step in steps:
        if step == "add":
            line.add([Placed(added, row(added + 1))])
            added += 1
        elif step == "next" and (placed := line.next()):
            asked.append(placed)
        elif step == "note":
            line.note_kept(line.note)
        elif asked and step == "sent":
            line.sent(asked[0].row.custom_id)
        elif asked and step == "end":
            line.ended(asked.pop(0))
        elif asked and step == "back":
            line.back(asked.pop(0))
        assert line.begun <= line.noted or step == "note"
        assert line.asked == len(asked)
        assert len(list(line.unsent)) <= ahead
