"""The door for asyncio: calls, streams, cancellation, tools, and errors."""

import asyncio
import contextvars
import threading
import traceback

import pytest
from door_fakes import Provider, request, settings_for, wait_until

from callsheet.actors import BadRequest, RequestStatistics, Response
from callsheet.aio import DoorClosed, open_troupe
from callsheet.runtime import AskTimedOut

tenant = contextvars.ContextVar("tenant", default="none")


def run(main, **settings):
    """Run an async function with a troupe and its provider, in a loop of asyncio."""

    async def opened():
        provider = Provider()
        async with open_troupe(settings_for(provider, **settings)) as troupe:
            return await main(troupe, provider)

    return asyncio.run(opened())


def test_a_call_is_answered():
    async def main(troupe, provider):
        response = await troupe.complete(request("say Good morning"))
        assert response.text == "Good morning"
        assert isinstance(await troupe.request_statistics(), RequestStatistics)

    run(main)


def test_calls_run_side_by_side():
    async def main(troupe, provider):
        calls = [troupe.complete(request(f"say {number} after 0.05")) for number in range(40)]
        texts = [response.text for response in await asyncio.gather(*calls)]
        assert texts == [str(number) for number in range(40)]

    run(main)


def test_an_error_comes_as_it_is_with_where_it_comes_from():
    async def main(troupe, provider):
        with pytest.raises(BadRequest, match="Sorry") as caught:
            await troupe.complete(request("fail 400"))
        assert caught.value.status == 400

    run(main)


def test_a_timeout_is_that_of_the_troupe():
    async def main(troupe, provider):
        with pytest.raises(AskTimedOut):
            await troupe.complete(request("hold"), timeout=0.05)
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 0)

    run(main)


@pytest.mark.parametrize("how", ["cancel", "timeout", "wait_for"])
def test_a_task_that_is_cancelled_ends_at_once_and_its_call_a_moment_later(how):
    async def main(troupe, provider):
        task = asyncio.ensure_future(troupe.complete(request("hold")))
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 1)
        if how == "cancel":
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await task
        elif how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await task
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0.01)
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 0)
        assert (await troupe.complete(request())).text == "Hello"

    run(main)


def test_a_call_has_the_context_variables_of_its_task():
    seen = []

    def observe(event):
        seen.append((event.context.call, tenant.get()))

    async def main(troupe, provider):
        async def ask(name):
            tenant.set(name)
            await troupe.complete(request(f"say {name}"), call=name)

        await asyncio.gather(ask("first"), ask("second"))

    run(main, observer=observe)
    begun = dict(reversed(seen))
    assert begun == {"first": "first", "second": "second"}


# ------------------------------------------------------------------------------------- streams


def test_a_stream_has_the_pieces_in_order_and_then_the_response():
    async def main(troupe, provider):
        async with troupe.stream(request("count 100 every 0")) as pieces:
            *texts, response = [piece async for piece in pieces]
            assert "".join(piece.text for piece in texts) == response.text
            assert pieces.response is response
            assert isinstance(response, Response)
        assert response.text.split() == [str(number) for number in range(100)]

    run(main)


def test_a_stream_that_is_left_is_over_at_the_provider():
    async def main(troupe, provider):
        async with troupe.stream(request("count 1000 every 0.01")) as pieces:
            assert (await anext(pieces)).text
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 0)
        assert provider.pieces < 500
        with pytest.raises(RuntimeError, match="inside its block"):
            await anext(pieces)

    run(main)


def test_a_reader_that_pauses_stops_the_stream():
    async def main(troupe, provider):
        async with troupe.stream(request("count 2000 every 0"), buffer=8) as pieces:
            await anext(pieces)
            await asyncio.sleep(0.5)
            sent = provider.pieces
            assert sent < 500  # what the layers below hold
            await asyncio.sleep(0.2)
            assert provider.pieces == sent
            async for _ in pieces:
                pass
        assert len(pieces.response.text.split()) == 2000

    run(main)


def test_an_error_of_a_stream_comes_out_of_the_iteration():
    async def main(troupe, provider):
        async with troupe.stream(request("fail 400")) as pieces:
            with pytest.raises(BadRequest):
                await anext(pieces)
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)

    run(main)


def test_a_cancelled_reader_of_a_stream_ends_at_once():
    async def main(troupe, provider):
        async def read():
            async with troupe.stream(request("hold")) as pieces:
                async for _ in pieces:
                    pass

        task = asyncio.ensure_future(read())
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 0)

    run(main)


def test_a_stream_is_read_in_the_loop_that_has_opened_it():
    async def main(troupe, provider):
        async def read(pieces):
            return await anext(pieces)

        async with troupe.stream(request("hold")) as pieces:
            with pytest.raises(RuntimeError, match="another event loop has opened this stream"):
                await asyncio.to_thread(lambda: asyncio.run(read(pieces)))

    run(main)


def test_two_tasks_cannot_read_one_stream():
    async def main(troupe, provider):
        async with troupe.stream(request("hold")) as pieces:
            first = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task reads this stream"):
                await anext(pieces)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    run(main)


@pytest.mark.parametrize("buffer", [-1, 1.5, True, "8"])
def test_a_buffer_that_is_no_number_of_pieces_is_refused(buffer):
    async def main(troupe, provider):
        with pytest.raises(ValueError, match="buffer must be a whole number of at least 0"):
            troupe.stream(request(), buffer=buffer)
        async with troupe.stream(request("count 5 every 0"), buffer=0) as pieces:
            assert len([piece async for piece in pieces]) == 6

    run(main)


# ------------------------------------------------------------------------------ several loops


def test_loops_of_several_threads_use_one_troupe():
    async def main(troupe, provider):
        def in_another_loop(number):
            response = asyncio.run(troupe.complete(request(f"say {number} after 0.02")))
            return response.text

        texts = await asyncio.gather(
            *(asyncio.to_thread(in_another_loop, number) for number in range(4))
        )
        assert texts == ["0", "1", "2", "3"]

    run(main)


def test_threads_call_the_same_troupe_and_block():
    async def main(troupe, provider):
        response = await asyncio.to_thread(troupe.blocking.complete, request("say blocked"))
        assert response.text == "blocked"

    run(main)


def test_a_troupe_that_is_closed_refuses_calls():
    async def main():
        async with open_troupe(settings_for(Provider())) as troupe:
            pass
        with pytest.raises(DoorClosed, match="the troupe is closed"):
            await troupe.complete(request())

    asyncio.run(main())
    assert not [it for it in threading.enumerate() if it.name == "callsheet troupe"]


def test_calls_in_flight_are_drained_when_the_block_ends():
    async def main(troupe, provider):
        task = asyncio.ensure_future(troupe.complete(request("say late after 0.3")))
        await asyncio.to_thread(wait_until, lambda: provider.in_flight == 1)
        return task

    async def drained():
        provider = Provider()
        async with open_troupe(settings_for(provider)) as troupe:
            task = await main(troupe, provider)
        assert (await task).text == "late"

    asyncio.run(drained())


def test_an_exception_in_the_block_cancels_the_calls_in_flight():
    async def main():
        provider = Provider()
        with pytest.raises(ZeroDivisionError):
            async with open_troupe(settings_for(provider)) as troupe:
                task = asyncio.ensure_future(troupe.complete(request("hold")))
                await asyncio.to_thread(wait_until, lambda: provider.in_flight == 1)
                raise ZeroDivisionError
        assert provider.in_flight == 0
        with pytest.raises(DoorClosed):
            await task

    asyncio.run(main())


def test_an_error_of_the_opening_is_raised(monkeypatch):
    from callsheet.actors import Endpoint, TroupeSettings

    monkeypatch.setenv("HTTPS_PROXY", "socks9://nowhere")

    async def main():
        endpoint = Endpoint("https://provider/v1", api_key="k")
        with pytest.raises(ValueError, match="HTTPS_PROXY"):
            async with open_troupe(TroupeSettings(endpoint=endpoint)):
                pass

    asyncio.run(main())


# -------------------------------------------------------------------------------------- errors


def test_the_traceback_of_an_error_that_several_tasks_get_does_not_grow():
    async def main(troupe, provider):
        async def fails():
            with pytest.raises(BadRequest) as caught:
                await troupe.complete(request("fail 400", cacheable=True))  # one call for all
            return caught.value

        errors = await asyncio.gather(*(fails() for _ in range(5)))
        assert provider.begun == 1
        assert len({id(error) for error in errors}) == 5
        lengths = [len(traceback.extract_tb(error.__traceback__)) for error in errors]
        assert max(lengths) < 2 * min(lengths)

    run(main)
