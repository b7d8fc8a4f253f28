"""The thread that runs Trio for a door, at the moment of its end."""

import contextvars
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace

import trio
from door_fakes import wait_until

from callsheet.doors.trio_thread import TrioThread


@asynccontextmanager
async def nothing():
    yield


async def never(_):
    await trio.sleep_forever()


def test_what_comes_in_the_round_of_its_cancellation_does_not_crash_it():
    """The tasks that wait have been cancelled by then, and have not run."""
    thread = TrioThread(nothing, "thing")
    thread.start()
    wait_until(lambda: thread._flusher is not None and thread._watcher is not None)
    flushed = threading.Event()
    call = SimpleNamespace(
        context=contextvars.copy_context(),
        scope=trio.CancelScope(),
        work=never,
    )

    def end():
        thread._scope.cancel()
        thread.at_end_of_round(flushed.set)
        thread._begin(call)

    thread.post(end)
    assert thread.ended.wait(10)
    thread.join()
    assert flushed.is_set()
