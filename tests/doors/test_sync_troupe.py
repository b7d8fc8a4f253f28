"""The door for plain programs: it blocks, from any thread, and beside a running event loop."""

import asyncio
import signal
import threading

import pytest
import trio
from door_fakes import Provider, request, settings_for, wait_until

from callsheet import sync
from callsheet.actors import BadRequest, Response
from callsheet.runtime import AskTimedOut
from callsheet.sync import DoorClosed, open_troupe


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def troupe(provider):
    with open_troupe(settings_for(provider)) as opened:
        yield opened


def test_a_call_is_answered(troupe):
    assert troupe.complete(request("say Good morning")).text == "Good morning"


def test_errors_and_timeouts_are_those_of_the_troupe(troupe, provider):
    with pytest.raises(BadRequest, match="Sorry"):
        troupe.complete(request("fail 400"))
    with pytest.raises(AskTimedOut):
        troupe.complete(request("hold"), timeout=0.05)
    wait_until(lambda: provider.in_flight == 0)


def test_threads_call_side_by_side(troupe):
    texts = {}

    def ask(number):
        texts[number] = troupe.complete(request(f"say {number} after 0.05")).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {number: str(number) for number in range(8)}


def test_a_stream_has_the_pieces_in_order_and_then_the_response(troupe):
    with troupe.stream(request("count 100 every 0")) as pieces:
        *texts, response = list(pieces)
    assert isinstance(response, Response)
    assert pieces.response is response
    assert "".join(piece.text for piece in texts) == response.text


def test_a_stream_that_is_left_is_over_at_the_provider(troupe, provider):
    with troupe.stream(request("count 1000 every 0.01")) as pieces:
        assert next(pieces).text
    wait_until(lambda: provider.in_flight == 0)
    with pytest.raises(RuntimeError, match="inside its block"):
        next(pieces)


def test_an_error_of_a_stream_comes_out_of_the_iteration(troupe):
    with troupe.stream(request("fail 400")) as pieces, pytest.raises(BadRequest):
        next(pieces)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there are no such signals")
def test_an_interrupt_ends_the_wait_and_the_call(troupe, provider):
    main = threading.main_thread().ident

    def interrupt():
        wait_until(lambda: provider.in_flight == 1)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        troupe.complete(request("hold"))
    thread.join()
    wait_until(lambda: provider.in_flight == 0)


def test_it_works_beside_a_running_event_loop_as_in_a_notebook():
    async def cell():
        with open_troupe(settings_for(Provider())) as troupe:
            return troupe.complete(request()).text

    assert asyncio.run(cell()) == "Hello"


def test_a_troupe_that_is_closed_refuses_calls():
    with open_troupe(settings_for(Provider())) as troupe:
        pass
    with pytest.raises(DoorClosed, match="the troupe is closed"):
        troupe.complete(request())


async def test_under_trio_it_says_what_to_use():
    with pytest.raises(RuntimeError, match="would block Trio; under Trio, import it"):
        sync.open_troupe(settings_for(Provider())).__enter__()


def test_a_call_from_a_task_of_trio_is_refused(troupe):
    async def main():
        with pytest.raises(RuntimeError, match="would block Trio"):
            troupe.complete(request())

    trio.run(main)
