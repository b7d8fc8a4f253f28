"""Which rows may be dispatched, tested without an event loop."""

import pytest
from bulk_rows import row
from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.engine.queue import RowQueue
from callsheet.bulk.row import Placed


def queue_of(count, ahead=4):
    queue = RowQueue(ahead)
    queue.add(Placed(place, row(place + 1)) for place in range(count))
    write(queue)
    return queue


def write(queue):
    """Record that everything that has ended, and the bound, are on disk."""
    queue.bound_written(queue.take_bound())


def begin_all(queue):
    begun = []
    while (placed := queue.next()) is not None:
        begun.append(placed)
    return begun


def test_a_row_is_begun_when_another_one_is_on_disk_and_not_when_it_has_ended():
    queue = queue_of(10)
    begun = begin_all(queue)
    assert len(begun) == 4
    queue.mark_sent(begun[0].row.custom_id)
    queue.end(begun[0])
    assert not begin_all(queue)
    assert queue.needs_bound
    write(queue)
    assert not queue.needs_bound
    assert len(begin_all(queue)) == 1
    assert repr(queue) == "<RowQueue 5 waiting, 4 unsent, 4 dispatched>"


def test_rows_that_end_while_a_bound_is_written_make_room_with_the_next_one():
    queue = queue_of(10)
    begun = begin_all(queue)
    queue.end(begun[0])
    bound = queue.take_bound()
    queue.end(begun[1])
    queue.bound_written(bound)
    assert len(begin_all(queue)) == 1
    write(queue)
    assert len(begin_all(queue)) == 1


def test_a_row_that_waits_for_a_retry_makes_room_until_it_is_sent():
    queue = queue_of(20)
    begun = begin_all(queue)
    for placed in begun[:2]:
        queue.mark_sent(placed.row.custom_id)
        queue.mark_retrying(placed.row.custom_id)
    queue.mark_retrying(begun[2].row.custom_id)  # it was not sent
    queue.mark_retrying("another row")
    write(queue)
    assert len(begin_all(queue)) == 2
    for placed in begun[:2]:
        queue.mark_sent(placed.row.custom_id)
        queue.end(placed)
    write(queue)
    assert queue.written_bound == queue.started == 6, "four are in flight"
    queue.end(begun[2])
    write(queue)
    assert len(begin_all(queue)) == 1


def test_a_bound_that_could_not_be_written_lets_no_row_start():
    queue = queue_of(10)
    begun = begin_all(queue)
    queue.end(begun[0])
    queue.bound_lost(queue.take_bound())
    assert not begin_all(queue)
    assert queue.needs_bound
    write(queue)
    assert len(begin_all(queue)) == 1


def test_no_row_starts_beyond_a_bound_that_was_lowered():
    queue = queue_of(20)
    placed = queue.next()
    queue.mark_sent(placed.row.custom_id)
    queue.mark_retrying(placed.row.custom_id)
    write(queue)
    assert queue.written_bound == 5
    queue.mark_sent(placed.row.custom_id)
    assert queue.take_bound() == 4
    assert len(begin_all(queue)) == 3


def test_the_number_of_rows_in_flight_can_be_lowered():
    queue = queue_of(10)
    begun = begin_all(queue)
    queue.ahead = 2
    for left, placed in enumerate(begun):
        queue.end(placed)
        write(queue)
        assert queue.written_bound == (4 if left < 2 else left + 3)


def test_the_bound_is_not_above_the_number_of_rows():
    assert queue_of(3, ahead=50).bound == 3


@pytest.mark.parametrize("how", ["is_paused", "is_closed"])
def test_nothing_is_begun_in_a_pause_or_after_the_end(how):
    queue = queue_of(3)
    setattr(queue, how, True)
    assert queue.next() is None


def test_a_row_that_was_put_back_is_the_next_one():
    queue = queue_of(3)
    first = queue.next()
    assert not queue.is_in_flight(first.row.custom_id)
    queue.put_back(first)
    write(queue)
    assert queue.next() is first
    queue.mark_sent(first.row.custom_id)
    assert queue.is_in_flight(first.row.custom_id)
    queue.put_back(first)
    assert not queue.is_in_flight(first.row.custom_id)


def test_a_row_over_budget_starts_when_another_one_has_ended():
    queue = queue_of(6, ahead=6)
    a, b, c, d, *_ = begin_all(queue)
    for placed in (*_, d):  # the budget has room for three rows
        queue.put_back_over_budget(placed)
    write(queue)
    assert queue.next() is None
    queue.end(a)
    write(queue)
    assert queue.next() is d
    assert queue.next() is None
    assert not queue.is_spent
    for placed in (b, c):  # after three ends, the queue tries whether there is room for four
        queue.end(placed)
        write(queue)
    assert len(begin_all(queue)) == 2
    assert queue.dispatched == 3, "no row is left"


def test_after_as_many_ends_as_rows_in_flight_one_more_row_is_tried():
    queue = queue_of(20, ahead=6)
    begun = begin_all(queue)
    for placed in begun[3:]:
        queue.put_back_over_budget(placed)
    begun = begun[:3]
    in_flight = []
    for _ in range(7):
        queue.end(begun.pop(0))
        write(queue)
        begun += begin_all(queue)
        in_flight.append(queue.dispatched)
    assert in_flight == [3, 3, 4, 4, 4, 4, 5]


def test_a_row_alone_that_the_budget_had_room_for_is_followed_by_more_and_more():
    queue = queue_of(20, ahead=6)
    begun = begin_all(queue)
    for placed in reversed(begun):
        queue.put_back_over_budget(placed)
    in_flight = []
    for _ in range(6):
        write(queue)
        begun = begin_all(queue)
        in_flight.append(len(begun))
        for placed in begun:
            queue.end(placed)
    assert in_flight[:3] == [1, 2, 4]
    assert in_flight[3] == 6, "as many as may be in flight"


def test_the_budget_is_spent_if_one_row_alone_is_over_it():
    queue = queue_of(1)
    placed = queue.next()
    queue.put_back_over_budget(placed)
    write(queue)
    assert queue.next() is placed
    queue.put_back_over_budget(placed)
    assert queue.is_spent


STEPS = ["next", "sent", "rests", "end", "back", "take", "kept", "add"]


@given(st.integers(1, 8), st.lists(st.sampled_from(STEPS), max_size=60), st.randoms())
def test_no_more_responses_are_lost_than_were_in_flight(ahead, steps, random):
    """Whenever the process dies, the bound on disk covers every row that was started (L7)."""
    queue, asked, added = RowQueue(ahead), [], 0
    on_disk, over_on_disk, retrying, most_retrying = 0, 0, set(), 0
    taken = []  # bounds on their way to the disk, each with the rows that have ended before
    for step in steps:
        if step == "add":
            queue.add([Placed(added, row(added + 1))])
            added += 1
        elif step == "next" and (placed := queue.next()):
            asked.append(placed)
        elif step == "take":
            taken.append((queue.take_bound(), queue.finished))
        elif step == "kept" and taken:
            on_disk, over_on_disk = taken.pop(0)
            queue.bound_written(on_disk)
        elif asked and step in {"sent", "rests", "end", "back"}:
            placed = random.choice(asked)
            custom_id = placed.row.custom_id
            if step == "sent":
                queue.mark_sent(custom_id)
                retrying.discard(custom_id)
            elif step == "rests":
                was_sent = custom_id not in queue.unsent
                queue.mark_retrying(custom_id)
                retrying |= {custom_id} if was_sent else set()
            else:
                asked.remove(placed)
                retrying.discard(custom_id)
                (queue.end if step == "end" else queue.put_back)(placed)
        most_retrying = max(most_retrying, len(retrying))
        assert queue.started <= on_disk
        assert on_disk - over_on_disk <= ahead + most_retrying
        assert queue.dispatched == len(asked)
