"""Which rows may be asked for, driven without a loop."""

import pytest
from bulk_rows import row
from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.engine.queue import RowQueue
from callsheet.bulk.files.archive import Placed


def line_of(count, ahead=4):
    line = RowQueue(ahead)
    line.add(Placed(place, row(place + 1)) for place in range(count))
    keep(line)
    return line


def keep(line):
    """All that is over is on disk, and so is what may be begun."""
    line.note_kept(line.take_note())


def begin_all(line):
    begun = []
    while (placed := line.next()) is not None:
        begun.append(placed)
    return begun


def test_a_row_is_begun_when_another_one_is_on_disk_and_not_when_it_has_ended():
    line = line_of(10)
    begun = begin_all(line)
    assert len(begun) == 4
    line.sent(begun[0].row.custom_id)
    line.ended(begun[0])
    assert not begin_all(line)
    assert line.wants_note
    keep(line)
    assert not line.wants_note
    assert len(begin_all(line)) == 1
    assert repr(line) == "<Line 5 wait, 4 unsent, 4 asked>"


def test_what_ends_while_a_note_is_written_makes_room_with_the_next_one():
    line = line_of(10)
    begun = begin_all(line)
    line.ended(begun[0])
    note = line.take_note()
    line.ended(begun[1])
    line.note_kept(note)
    assert len(begin_all(line)) == 1
    keep(line)
    assert len(begin_all(line)) == 1


def test_who_waits_for_another_attempt_makes_room_until_it_is_sent():
    line = line_of(20)
    begun = begin_all(line)
    for placed in begun[:2]:
        line.sent(placed.row.custom_id)
        line.rests(placed.row.custom_id)
    line.rests(begun[2].row.custom_id)  # it was not sent
    line.rests("somebody else's")
    keep(line)
    assert len(begin_all(line)) == 2
    for placed in begun[:2]:
        line.sent(placed.row.custom_id)
        line.ended(placed)
    keep(line)
    assert line.noted == line.begun == 6, "four are under way"
    line.ended(begun[2])
    keep(line)
    assert len(begin_all(line)) == 1


def test_nothing_is_begun_beyond_a_note_that_allows_for_less():
    line = line_of(20)
    placed = line.next()
    line.sent(placed.row.custom_id)
    line.rests(placed.row.custom_id)
    keep(line)
    assert line.noted == 5
    line.sent(placed.row.custom_id)
    assert line.take_note() == 4
    assert len(begin_all(line)) == 3


def test_fewer_may_be_under_way_from_now_on():
    line = line_of(10)
    begun = begin_all(line)
    line.ahead = 2
    for left, placed in enumerate(begun):
        line.ended(placed)
        keep(line)
        assert line.noted == (4 if left < 2 else left + 3)


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
    assert not line.is_under_way(first.row.custom_id)
    line.back(first)
    keep(line)
    assert line.next() is first
    line.sent(first.row.custom_id)
    assert line.is_under_way(first.row.custom_id)
    line.back(first)
    assert not line.is_under_way(first.row.custom_id)


def test_money_that_is_short_is_waited_for_until_nobody_holds_any():
    line = line_of(4)
    a, b, *_ = begin_all(line)
    line.refused(b)
    keep(line)
    assert line.next() is None
    assert not line.is_spent
    line.ended(a)
    for placed in list(line._unsent.values()):
        line.ended(placed)
    keep(line)
    assert line.next() is b
    assert line.next() is None, "it goes alone"
    line.ended(b)
    assert not line.is_spent


def test_money_that_is_short_for_one_alone_is_spent():
    line = line_of(1)
    placed = line.next()
    line.refused(placed)
    keep(line)
    assert line.next() is placed
    line.refused(placed)
    assert line.is_spent


STEPS = ["next", "sent", "rests", "end", "back", "take", "kept", "add"]


@given(st.integers(1, 8), st.lists(st.sampled_from(STEPS), max_size=60), st.randoms())
def test_no_more_answers_are_lost_than_were_under_way(ahead, steps, random):
    """Whenever the process dies, the disk knows of every row that was begun, and few were (L7)."""
    line, asked, added = RowQueue(ahead), [], 0
    on_disk, over_on_disk, taken, resting, most_resting = 0, 0, None, set(), 0
    for step in steps:
        if step == "add":
            line.add([Placed(added, row(added + 1))])
            added += 1
        elif step == "next" and (placed := line.next()):
            asked.append(placed)
        elif step == "take" and taken is None:
            taken = (line.take_note(), line.over)
        elif step == "kept" and taken is not None:
            on_disk, over_on_disk = taken
            line.note_kept(on_disk)
            taken = None
        elif asked and step in {"sent", "rests", "end", "back"}:
            placed = random.choice(asked)
            custom_id = placed.row.custom_id
            if step == "sent":
                line.sent(custom_id)
                resting.discard(custom_id)
            elif step == "rests":
                was_sent = custom_id not in line.unsent
                line.rests(custom_id)
                resting |= {custom_id} if was_sent else set()
            else:
                asked.remove(placed)
                resting.discard(custom_id)
                (line.ended if step == "end" else line.back)(placed)
        most_resting = max(most_resting, len(resting))
        assert line.begun <= on_disk
        assert on_disk - over_on_disk <= ahead + most_resting
        assert line.asked == len(asked)
