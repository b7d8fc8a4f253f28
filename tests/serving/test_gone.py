"""The work of a request ends when its client goes away, and at no other time (R4)."""

import pytest
import trio
from trio.testing import Sequencer

from callsheet.serving import Gone, call_until_gone

BODY = {"type": "http.request", "body": b"", "more_body": False}
DISCONNECT = {"type": "http.disconnect"}


class Client:
    """The `receive` of a request; it fails if two tasks receive at a time."""

    def __init__(self, gone_after_s=float("inf"), first=()):
        self._gone_after_s = gone_after_s
        self._first = list(first)
        self._is_receiving = False

    async def receive(self):
        assert not self._is_receiving
        if self._first:
            return self._first.pop(0)
        self._is_receiving = True
        try:
            await trio.sleep(self._gone_after_s)
        finally:
            self._is_receiving = False
        return DISCONNECT


async def test_what_the_work_returns_is_returned(autojump_clock):
    async def work():
        await trio.sleep(3)
        return "done"

    client = Client()
    assert await call_until_gone(client.receive, work) == "done"
    assert trio.current_time() == 3
    assert await call_until_gone(client.receive, work) == "done"  # nothing receives any more


async def test_the_work_is_cancelled_at_the_moment_of_the_disconnect(autojump_clock):
    ended = []

    async def work():
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    with pytest.raises(Gone):
        await call_until_gone(Client(2.5, first=[BODY, BODY]).receive, work)
    assert ended == [2.5]


async def test_an_error_of_the_work_comes_as_it_is(autojump_clock):
    async def work():
        await trio.sleep(1)
        raise KeyError("of the work")

    with pytest.raises(KeyError, match="of the work") as caught:
        await call_until_gone(Client().receive, work)
    assert caught.value.__context__ is None


async def test_a_result_at_the_moment_of_the_disconnect_is_kept():
    order = Sequencer()
    left = trio.Event()

    async def receive():
        await left.wait()
        return DISCONNECT

    async def work():
        async with order(0):
            with trio.CancelScope(shield=True):
                left.set()
                await trio.testing.wait_all_tasks_blocked()
        return "paid for"

    assert await call_until_gone(receive, work) == "paid for"


async def test_an_error_while_the_work_is_cancelled_is_not_lost(autojump_clock):
    async def work():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while it ended")

    with pytest.raises(ValueError, match="while it ended"):
        await call_until_gone(Client(1).receive, work)


async def test_a_cancellation_from_outside_is_none_of_a_client(autojump_clock):
    with trio.move_on_after(1) as scope:
        await call_until_gone(Client(2).receive, trio.sleep_forever)
    assert scope.cancelled_caught
    assert trio.current_time() == 1
