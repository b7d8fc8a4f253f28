"""A call that is cancelled at any checkpoint leaves the pool in a consistent state."""

import itertools
from functools import partial

import httpx
import pytest
import trio
from network import OK, ChunkedBody, call, cancelled_at, counts, in_memory, polite
from trio.testing import wait_all_tasks_blocked

LIMITS = {"connect": 50.0, "read": 50.0, "write": 50.0, "pool": 50.0}
SLOW = [b"HTTP/1.1 100 Continue\r\n\r\n", OK[:20], OK[20:-1], OK[-1:]]


async def slow(peer):
    while await peer.request() is not None:
        await peer.send(*SLOW, gap=0.5)


async def with_httpx(transport, stream):
    client = httpx.AsyncClient(transport=transport, timeout=50)
    response = await client.post("http://server/", content=b"x")
    assert response.content == b"ok"


async def everywhere(scenario):
    """Run a scenario for each n, until its call has fewer than n checkpoints."""
    for nth in itertools.count(1):
        if not await scenario(nth):
            assert nth > 3  # or the scenario has too few checkpoints
            return


@pytest.mark.parametrize("timeout", [None, LIMITS])
@pytest.mark.parametrize(
    "make", [lambda: b"x" * 10, lambda: b"x" * 99_999, lambda: ChunkedBody(b"1", b"2", gap=0.2)]
)
async def test_a_first_call(autojump_clock, timeout, make):
    async def scenario(nth):
        body = make()
        async with in_memory(slow, max_connections=1) as (transport, network):
            work = call(transport, "POST", timeout=timeout, content=body)
            reached = await cancelled_at(nth, work)
            now = counts(transport)
            assert now in ((0, 0, 0), (1, 1, 0))
            assert network.open == now[0]
            await call(transport)  # its place is free
            return reached

    await everywhere(scenario)


async def test_a_call_over_a_kept_connection(autojump_clock):
    async def scenario(nth):
        async with in_memory(slow, max_connections=1) as (transport, network):
            await call(transport)
            reached = await cancelled_at(nth, call(transport, timeout=LIMITS))
            now = counts(transport)
            assert now in ((0, 0, 0), (1, 1, 0))
            assert network.open == now[0]
            await call(transport)
            return reached

    await everywhere(scenario)


@pytest.mark.parametrize("idle", [0, 5])
async def test_a_call_that_finds_dead_connections_and_expired_ones(autojump_clock, idle):
    async def once(peer):
        await peer.request()
        await trio.sleep(1)
        await peer.send(OK)

    async def scenario(nth):
        async with in_memory(once, once, once, polite, max_connections=3) as (transport, network):
            async with trio.open_nursery() as nursery:
                for url in ["http://server/", "http://server/", "http://other/"]:
                    nursery.start_soon(partial(call, transport, url=url))
            await trio.sleep(idle)
            await wait_all_tasks_blocked()
            assert counts(transport) == (3, 3, 0)
            reached = await cancelled_at(nth, call(transport))
            now = counts(transport)
            assert now[0] == now[1] == network.open
            await call(transport)
            return reached

    await everywhere(scenario)


@pytest.mark.parametrize("other", ["http://server/", "http://other/"])
async def test_a_call_that_waits_for_a_place(autojump_clock, other):
    async def scenario(nth):
        async with in_memory(slow, max_connections=1) as (transport, network):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, transport)
                await wait_all_tasks_blocked()
                reached = await cancelled_at(nth, call(transport, url=other, timeout=LIMITS))
                nursery.start_soon(call, transport)
            assert counts(transport) == (1, 1, 0)
            assert network.open == 1
            return reached

    await everywhere(scenario)


@pytest.mark.parametrize("first", [True, False])
async def test_a_place_is_not_lost_if_its_waiter_is_cancelled_as_it_gets_it(autojump_clock, first):
    async with in_memory(slow, max_connections=1) as (transport, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, transport)
            await wait_all_tasks_blocked()

            @nursery.start_soon
            async def cancelled():
                with trio.move_on_at(trio.current_time() + 1.5):  # when the first call ends
                    await call(transport)

            await wait_all_tasks_blocked()
            nursery.start_soon(call, transport)
        assert counts(transport) == (1, 1, 0)


async def test_a_call_through_httpx(autojump_clock):
    async def scenario(nth):
        async with in_memory(slow, max_connections=1) as (transport, network):
            reached = await cancelled_at(nth, with_httpx(transport, None))
            now = counts(transport)
            assert now in ((0, 0, 0), (1, 1, 0))
            assert network.open == now[0]
            await with_httpx(transport, None)
            return reached

    await everywhere(scenario)


async def test_many_calls_with_random_deadlines(autojump_clock):
    async def impatient(transport, number):
        with trio.move_on_after(number * 0.37 % 9):
            await call(transport, url=f"http://host{number % 3}/", timeout=LIMITS)

    async with in_memory(slow, max_connections=4) as (transport, network):
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(impatient, transport, number)
        now = counts(transport)
        assert now[0] == now[1] == network.open <= 4
        assert now[2] == 0
