"""The window, pauses, limits and progress of a run, on the virtual clock."""

import itertools

import httpx
import pytest
import trio
from bulk_rows import URL, ids, ids_of, on_the_spot, row, rows, stage

from callsheet.actors import Endpoint, Limits, TroupeSettings
from callsheet.bulk import bulk
from callsheet.bulk.settings import BulkSettings
from callsheet.simulator.faults import Faults

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")


def response_body():
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Yes."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


async def test_no_more_is_read_than_the_window_has(autojump_clock, output):
    """The first row is slow: later results wait for it, and no more rows are read."""
    read = itertools.count(1)

    async def slow_first(request):
        await trio.sleep(550 if b"Say 1." in request.content else 1)
        return httpx.Response(200, json=response_body())

    source = (row(next(read)) for _ in range(200))
    troupe = TroupeSettings(
        endpoint=Endpoint(URL, None, "openai"),
        transport=httpx.MockTransport(slow_first),
    )
    settings = BulkSettings(window_rows=40)
    async with bulk(source, output, troupe, settings, in_thread=on_the_spot) as run:
        await trio.sleep(500)
        progress = run.progress()
        assert (progress.read, progress.unwritten, progress.window) == (40, 39, 40)
        assert output.read_bytes() == b""
        await run.wait()
    assert ids_of(output) == ids(*range(1, 201))


async def test_results_that_are_not_taken_stop_the_reading(autojump_clock, output):
    async with stage() as it, it.open(rows(150), output, window_rows=50) as run:
        await trio.sleep(1000)
        assert run.progress().read <= 100
        count = 0
        async for _ in run:
            count += 1
    assert count == 150


async def test_nothing_is_sent_in_a_pause(autojump_clock, output):
    async with stage() as it:
        limits = {"limits": Limits(rpm=60, in_flight=5)}
        async with it.open(rows(30), output, troupe=limits) as run:
            await trio.sleep(10)
            run.pause()
            await trio.sleep(10)
            before = it.requests
            await trio.sleep(1000)
            assert it.requests == before
            assert run.progress().is_paused
            assert run.progress().in_flight == 0
            run.resume()
            await run.wait()
    assert ids_of(output) == ids(*range(1, 31))
    assert it.requests == 30


async def test_limits_can_be_changed_during_a_run(autojump_clock, output):
    async with stage() as it:
        limits = {"limits": Limits(rpm=6)}
        began_at = trio.current_time()
        async with it.open(rows(100), output, troupe=limits) as run:
            await trio.sleep(20)
            await run.change_limits(Limits())
            await run.wait()
            assert trio.current_time() - began_at < 60
            run.progress()
            await trio.sleep(1)


@pytest.mark.parametrize(("most", "expected"), [(None, 5), (30, 30)])
async def test_changed_limits_change_the_number_of_calls_in_flight(
    autojump_clock, output, most, expected
):
    async with stage() as it:
        troupe = {"limits": Limits(in_flight=5), "max_in_flight": most}
        async with it.open(rows(120), output, troupe=troupe) as run:
            await trio.sleep(5)
            await run.change_limits(Limits(in_flight=40))
            await run.wait()
        assert it.provider.stats.max_in_flight == expected


async def test_rows_that_wait_for_a_retry_are_not_in_flight(autojump_clock, output):
    async with stage(faults=Faults.parse("503=1")) as it, it.open(rows(300), output) as run:
        await trio.sleep(1.5)
        now = run.progress()
        assert now.in_flight <= 100
        assert now.retrying > 10
