"""`while_connected`: the call of an endpoint ends with its client, and otherwise as usual."""

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from callsheet.aio import while_connected

BODY = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


def request_of(*messages, error=None):
    """Return a request that receives these messages, and then waits or fails."""
    left = list(messages)

    async def receive():
        if left:
            return left.pop(0)
        if error is not None:
            raise error
        await asyncio.Event().wait()
        raise AssertionError

    return Request({"type": "http"}, receive)


class Call:
    """A call that takes `seconds`, and knows how it ended."""

    def __init__(self, seconds, error=None):
        self.seconds = seconds
        self.error = error
        self.ended = "not"

    async def run(self):
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        if self.error is not None:
            raise self.error
        return "a response"


def test_a_client_that_stays_gets_the_response():
    call = Call(0)
    assert asyncio.run(while_connected(request_of(BODY), call.run())) == "a response"


def test_a_client_that_goes_away_ends_the_call():
    call = Call(60)
    with pytest.raises(HTTPException, match="the client went away") as raised:
        asyncio.run(while_connected(request_of(BODY, GONE), call.run()))
    assert raised.value.status_code == 499
    assert call.ended == "cancelled"


def test_an_error_of_the_call_is_raised_as_it_is():
    call = Call(0, LookupError("no such city"))
    with pytest.raises(LookupError, match="no such city"):
        asyncio.run(while_connected(request_of(BODY), call.run()))


def test_an_error_of_the_server_ends_the_call():
    call = Call(60)
    with pytest.raises(OSError, match="the socket broke"):
        asyncio.run(while_connected(request_of(error=OSError("the socket broke")), call.run()))
    assert call.ended == "cancelled"


def test_a_handler_that_is_cancelled_ends_its_call():
    call = Call(60)

    async def scenario():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await while_connected(request_of(BODY), call.run())

    asyncio.run(scenario())
    assert call.ended == "cancelled"
