"""Troupes of several processes that share a cache: in memory in virtual time, and on a server."""

import subprocess
import sys
import time
from contextlib import AsyncExitStack

import pytest
import trio
from fakes import URL, Reply, Script, completion_json, outcomes
from troupe_calls import completing, settings_for
from valkey_server import valkey_server

from callsheet.actors import CachePolicy, ClearCache, open_troupe
from callsheet.actors.shared import MemoryStores, stores_at

PROMPTS = ["a", "b", "c"]


async def troupes(stack, stores, transport, count, **more):
    """Open troupes, each with a connection to the stores of its own."""
    return [
        await stack.enter_async_context(
            open_troupe(
                settings_for(
                    transport, shared=stores(), cache=CachePolicy(path=None, **more), packing=None
                )
            )
        )
        for _ in range(count)
    ]


async def test_troupes_that_share_stores_send_equal_requests_once(autojump_clock):
    transport, stores = Script(Reply(after=7.0)), MemoryStores()
    async with AsyncExitStack() as stack:
        found = await troupes(stack, lambda: stores, transport, 4)
        asked = [one for troupe in found for one in completing(troupe, *PROMPTS, cacheable=True)]
        answers = await outcomes(*asked, *asked)
        assert trio.current_time() == pytest.approx(7, abs=0.5)
        assert sorted(sent.prompt for sent in transport.sent) == PROMPTS
        assert {answer.text for answer in answers} == {"Hello"}
        statistics = [await troupe.cache_statistics() for troupe in found]
        assert sum(one.elsewhere for one in statistics) == 18  # of 24; those here are joined
        assert [one.disk.entries for one in statistics] == 4 * [3]
        for troupe in found:
            await troupe.cache.ask(ClearCache())
        await outcomes(*asked)
    assert len(transport.sent) == 6


async def test_those_that_wait_take_no_place_of_the_limits(autojump_clock):
    transport, stores = Script(Reply(after=7.0)), MemoryStores()
    async with AsyncExitStack() as stack:
        one, other = await troupes(stack, lambda: stores, transport, 2)
        async with trio.open_nursery() as nursery:
            for troupe in (one, other):
                for asking in completing(troupe, *PROMPTS, cacheable=True):
                    nursery.start_soon(asking)
            await trio.sleep(3)
            states = [await troupe.limiter_statistics() for troupe in (one, other)]
        assert sum(state.limiter.in_flight for state in states) == 3
    assert len(transport.sent) == 3


async def test_the_memory_of_a_troupe_is_in_front_of_what_is_shared(autojump_clock):
    transport, stores = Script(), MemoryStores()
    async with AsyncExitStack() as stack:
        [one] = await troupes(stack, lambda: stores, transport, 1)
        await outcomes(*completing(one, "a", cacheable=True))
        await trio.sleep(1)
        stores.cached.is_away = True
        await outcomes(*completing(one, "a", cacheable=True))
        assert (await one.cache_statistics()).memory_hits == 1
    assert len(transport.sent) == 1


# ------------------------------------------------------------------ on a server


async def test_troupes_on_a_server_send_equal_requests_once():
    transport = Script(Reply(after=0.3, body=completion_json("Hello")))
    async with AsyncExitStack() as stack:
        server = stack.enter_context(valkey_server())
        found = await troupes(stack, lambda: stores_at(server.url), transport, 3)
        asked = [one for troupe in found for one in completing(troupe, *PROMPTS, cacheable=True)]
        start = time.perf_counter()
        answers = await outcomes(*asked)
        assert time.perf_counter() - start < 0.9  # a hint comes before the next poll
        assert sorted(sent.prompt for sent in transport.sent) == PROMPTS
        assert sorted(answer.route for answer in answers) == 6 * ["cache"] + 3 * ["live"]
        server.kill()
        await outcomes(*completing(found[0], "d", cacheable=True))
        assert len(transport.sent) == 4


PROCESS = """
import sys
import httpx, trio
from callsheet.actors import CachePolicy, Endpoint, Request, TroupeSettings, open_troupe

class Provider(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        print("sent", flush=True)
        await trio.sleep(float(sys.argv[2]))
        body = {body!r}
        return httpx.Response(200, json=body, request=request)

async def main():
    settings = TroupeSettings(
        endpoint=Endpoint({url!r}), transport=Provider(), shared=sys.argv[1],
        cache=CachePolicy(path=None),
    )
    async with open_troupe(settings) as troupe:
        print("ready", flush=True)
        sys.stdin.readline()
        answer = await troupe.complete(Request.of("Hi", model="gpt-4o", cacheable=True))
        print("answer", answer.route, flush=True)

trio.run(main)
""".format(body=completion_json("Hello"), url=URL)


def started(server, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, server.url, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def end_of(process):
    out, _ = process.communicate(timeout=60)
    return out.splitlines()


@pytest.mark.slow
def test_eight_processes_make_one_call():
    with valkey_server() as server:
        processes = [started(server, 2) for _ in range(8)]
        for process in processes:
            go(process)
        lines = [line for process in processes for line in end_of(process)]
    assert sorted(lines) == [*7 * ["answer cache"], "answer live", "sent"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_process_that_is_gone_is_replaced_after_its_lease(how):
    with valkey_server() as server:
        one, other = started(server, 3), started(server, 3)
        go(one)
        assert one.stdout.readline() == "sent\n"
        go(other)
        time.sleep(0.5)
        begun = time.monotonic()
        if how == "killed":
            one.kill()
            one.wait()
        else:
            one.send_signal(19)  # SIGSTOP
        assert other.stdout.readline() == "sent\n"
        assert 8 <= time.monotonic() - begun <= 12
        if how == "stopped":
            one.send_signal(18)  # SIGCONT
            assert end_of(one) == ["answer live"]
        assert end_of(other) == ["answer live"]
        one.stdin.close()
        one.stdout.close()
