"""The order of the input is kept within bounds, whatever order rows end in."""

from hypothesis import given
from hypothesis import strategies as st

from callsheet.bulk.engine.writer import ReorderWindow
from callsheet.bulk.files.lines import RowOutcome
from callsheet.bulk.progress import RowEnded


def ended(place):
    return RowOutcome(
        place, b"x" * (place % 7 + 1), RowEnded(at=0.0, number=place + 1, custom_id="")
    )


def test_the_repr_of_a_window_has_its_counts():
    window = ReorderWindow(10, 1000, ordered=True)
    window.read(3)
    window.put(ended(2))
    assert repr(window) == "<ReorderWindow 3 of 10 rows, 1 waiting>"


@given(st.permutations(range(30)), st.booleans())
def test_rows_leave_once_and_in_order_if_that_is_wanted(places, ordered):
    window = ReorderWindow(30, 10**6, ordered=ordered)
    window.read(30)
    left = []
    for place in places:
        window.put(ended(place))
        left += [one.place for one in window.take()]
    assert left == (sorted(places) if ordered else places)
    assert (window.waiting, window.room) == (0, 30)


@given(st.integers(1, 20), st.data())
def test_no_more_rows_are_read_than_the_window_has(rows, data):
    window, read, running = ReorderWindow(rows, 10**6, ordered=True), 0, []
    for _ in range(60):
        more = data.draw(st.integers(0, window.room))
        window.read(more)
        running += range(read, read + more)
        read += more
        if running:
            place = running.pop(data.draw(st.integers(0, len(running) - 1)))
            window.put(ended(place))
            window.take()
        assert 0 <= window.room <= rows
        assert window.waiting + len(running) <= rows


def test_many_bytes_that_wait_are_as_good_as_many_rows():
    window = ReorderWindow(1000, 10, ordered=True)
    window.read(8)
    for place in range(1, 8):
        window.put(ended(place))
    assert window.room == 0
    window.put(ended(0))
    window.take()
    assert window.room == 1000
