"""Threads of one process write a file one after another."""

import gc
from threading import Thread

from callsheet.actors.storage import file_turns
from callsheet.actors.storage.file_turns import FileTurn


def in_thread(function, *args):
    thread = Thread(target=function, args=args)
    thread.start()
    return thread


def test_a_turn_waits_for_the_one_before_it_to_end(tmp_path):
    first, second, order = FileTurn(tmp_path / "a", 10.0), FileTurn(tmp_path / "a", 10.0), []
    first.take()
    first.take()  # once is enough

    def work():
        second.take()
        order.append("second")
        second.end()

    thread = in_thread(work)
    thread.join(0.02)
    order.append("first")
    first.end()
    first.end()
    thread.join()
    assert order == ["first", "second"]


def test_another_file_has_turns_of_its_own(tmp_path):
    one, other = FileTurn(tmp_path / "a", 10.0), FileTurn(tmp_path / "b", 10.0)
    one.take()
    other.take()
    other.end()
    one.end()


def test_a_turn_that_does_not_end_is_not_waited_for_for_ever(tmp_path):
    stuck, late = FileTurn(tmp_path / "a", 0.0), FileTurn(tmp_path / "a", 0.01)
    stuck.take()
    late.take()
    late.end()  # not that of the other one
    assert stuck._lock.locked()
    stuck.end()
    assert not stuck._lock.locked()


def test_a_file_that_nothing_uses_is_forgotten(tmp_path):
    turn = FileTurn(tmp_path / "a", 1.0)
    assert tmp_path.resolve() / "a" in file_turns._locks
    del turn
    gc.collect()
    assert tmp_path.resolve() / "a" not in file_turns._locks
