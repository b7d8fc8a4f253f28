"""A client that disconnects: a stream stops, and another call runs to its end and is billed."""

import pytest
import trio
import trio.testing
from provider_client import connected

from callsheet.simulator.settings import ProviderSettings


async def read_for(client, start, seconds):
    """Read a stream for some seconds and close it; return the bytes that arrived."""
    found = []
    with trio.move_on_after(seconds):
        async with start() as response:
            async for piece in response.aiter_raw():
                found.append(piece)  # noqa: PERF401 - as far as it comes
    await trio.testing.wait_all_tasks_blocked()
    return found


@pytest.mark.parametrize("vendor", ["chat", "message"])
async def test_a_stream_that_is_closed_frees_its_slot_and_is_billed_as_far_as_it_came(
    autojump_clock, vendor
):
    async with connected(latency_s=(12.0, 12.0), first_piece=1 / 12) as client:
        whole = await getattr(client, vendor)()
        before = client.provider.stats
        start = getattr(client, f"{vendor}_stream")
        pieces = await read_for(client, start, 4.5)
        stats = client.provider.stats
        assert trio.current_time() == pytest.approx(12 + 4.5)
    assert len(pieces) == 4, "at 1, 2, 3 and 4 seconds"
    assert whole.status_code == 200
    assert (stats.cancelled, stats.streams_cut, stats.abandoned) == (1, 1, 0)
    assert (stats.in_flight, stats.working) == (0, 0)
    produced = stats.output_tokens - before.output_tokens
    assert 0 < produced < 0.5 * before.output_tokens
    assert stats.input_tokens == 2 * before.input_tokens
    assert stats.abandoned_tokens == 0


async def test_a_stream_left_before_its_first_piece_costs_its_prompt(autojump_clock):
    async with connected() as client:
        await read_for(client, client.chat_stream, 0.2)
        stats = client.provider.stats
    assert (stats.streams_cut, stats.working, stats.output_tokens) == (1, 0, 0)
    assert stats.input_tokens > 0


@pytest.mark.parametrize("vendor", ["chat", "message"])
async def test_a_plain_call_is_worked_on_and_billed_to_its_end(autojump_clock, vendor):
    async with connected() as client:
        with trio.move_on_after(0.4):
            await getattr(client, vendor)()
        await trio.testing.wait_all_tasks_blocked()
        stats = client.provider.stats
        assert (stats.cancelled, stats.answered, stats.in_flight) == (1, 0, 0)
        assert (stats.working, stats.abandoned, stats.output_tokens) == (1, 0, 0)
        await trio.sleep(0.7)
        stats = client.provider.stats
        assert (stats.working, stats.abandoned, stats.streams_cut) == (0, 1, 0)
        assert stats.output_tokens == stats.abandoned_tokens > 0
        assert stats.requests == stats.cancelled + stats.answered + stats.broken + stats.in_flight
        heard = (await getattr(client, vendor)()).json()["usage"]
        after = client.provider.stats
        assert after.abandoned_tokens == stats.abandoned_tokens
        assert after.output_tokens == 2 * stats.output_tokens
        assert after.input_tokens == 2 * stats.input_tokens
        assert stats.abandoned_tokens in heard.values()
        assert after.max_working == 1


async def test_work_without_a_client_takes_a_slot_until_its_end(autojump_clock):
    async with connected() as client:
        with trio.move_on_after(0.4):
            await client.chat()
        await trio.testing.wait_all_tasks_blocked()
        await client.chat()
        stats = client.provider.stats
    assert (stats.max_in_flight, stats.max_working) == (1, 2)


async def test_a_stream_that_is_cut_frees_what_it_was_not_yet_charged(autojump_clock):
    async with connected(otpm=6000, latency_s=(12.0, 12.0)) as client:
        await read_for(client, client.message_stream, 5)
        limiter = client.provider._service.anthropic.limiter
        [bucket] = [each["output-tokens"] for each in limiter._sets.values()]
        used = bucket.used(5.0)
        await trio.sleep(60)
    assert used <= client.provider.stats.output_tokens
    assert bucket.used(trio.current_time()) == 0


async def test_what_stalls_is_no_work(autojump_clock):
    async with connected() as client:
        with trio.move_on_after(5):
            await client.chat(headers={"x-callsheet-fault": "stall"})
        await trio.testing.wait_all_tasks_blocked()
        stats = client.provider.stats
    assert (stats.cancelled, stats.working, stats.abandoned) == (1, 0, 0)
    assert (stats.input_tokens, stats.output_tokens) == (0, 0)


async def test_an_answer_that_is_already_worked_out_is_billed_once(autojump_clock):
    async with connected() as client:
        with trio.move_on_after(1.2):
            await client.chat(headers={"x-callsheet-fault": "slow"})
        await trio.testing.wait_all_tasks_blocked()
        stats = client.provider.stats
        assert (stats.cancelled, stats.working, stats.abandoned) == (1, 0, 0)
        usage = (await client.chat()).json()["usage"]
    assert stats.output_tokens == usage["completion_tokens"]


async def test_the_counts_may_start_anew_meanwhile(autojump_clock):
    async with connected() as client:
        with trio.move_on_after(0.4):
            await client.chat()
        await trio.testing.wait_all_tasks_blocked()
        await client.post("/callsheet/reset")
        assert (client.provider.stats.requests, client.provider.stats.working) == (0, 1)
        await trio.sleep(1)
        found = (await client.get("/callsheet/stats")).json()
    assert (found["working"], found["abandoned"]) == (0, 1)
    assert found["abandoned_tokens"] > 0


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({}, [1 / 3 + i * 2 / 3 / 11 for i in range(12)]),
        ({"first_piece": 0.0, "stream_pieces": 3}, [0.0, 0.5, 1.0]),
        ({"first_piece": 1.0}, [1.0]),
        ({"stream_pieces": 1}, [1 / 3, 1.0]),
    ],
)
async def test_the_pieces_of_a_stream_are_spread_by_the_settings(autojump_clock, settings, times):
    async with connected(**settings) as client, client.chat_stream() as response:
        found = [trio.current_time() async for _ in response.aiter_raw()]
    assert found == pytest.approx(times)


async def test_a_stream_without_latency_is_one_piece(autojump_clock):
    async with connected(latency_s=(0.0, 0.0)) as client, client.chat_stream(n=3) as response:
        assert len([piece async for piece in response.aiter_raw()]) == 1


async def test_pieces_that_a_slow_reader_let_pile_up_come_together(autojump_clock):
    pieces = []
    async with (
        connected(latency_s=(12.0, 12.0), first_piece=1 / 12) as client,
        client.chat_stream() as response,
    ):
        async for piece in response.aiter_raw():
            pieces.append(piece)
            if len(pieces) == 1:
                await trio.sleep(6)
    # The second piece waited for its reader from 2 s on; the third has all that became due since.
    assert len(pieces) == 1 + 1 + 1 + 5
    assert pieces[-1].endswith(b"data: [DONE]\n\n")


def test_the_defaults_are_a_third_and_twelve():
    assert ProviderSettings().first_piece == pytest.approx(1 / 3)
    assert ProviderSettings().stream_pieces == 12
