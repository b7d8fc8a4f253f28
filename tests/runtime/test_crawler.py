"""The program of `crawler.py` does at run time what it says (R2, R15)."""

import ssl
from functools import partial

import httpx
import pytest
import trio
from crawler import (
    Boss,
    Crawler,
    Fetch,
    Index,
    Pages,
    Size,
    Watching,
    ask_what_is_not_handled,
    count_from_thread,
    crawl,
    spawn_crawlers,
)

from callsheet.runtime import UnhandledMessage, open_runtime


async def page(request: httpx.Request) -> httpx.Response:
    await trio.sleep(1)
    return httpx.Response(200, content=request.url.host.encode())


def a_crawler(made, refreshed):
    def client():
        empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default one takes long to load
        transport = httpx.MockTransport(page)
        made.append(httpx.AsyncClient(transport=transport, verify=empty, trust_env=False))
        return made[-1]

    return partial(Crawler, client, lambda: refreshed.append(trio.current_time()))


async def test_a_pool_of_crawlers_with_clients_tasks_and_indexes_of_their_own(autojump_clock):
    made: list[httpx.AsyncClient] = []
    refreshed: list[float] = []
    async with open_runtime("app") as runtime:
        crawlers = await spawn_crawlers(runtime, a_crawler(made, refreshed))
        assert await crawl(crawlers) in [(b"example.com", 0), (b"example.com", 1)]
        with pytest.raises(UnhandledMessage, match="Compose"):
            await ask_what_is_not_handled(crawlers)
        same = runtime.ref("app/crawlers")
        assert same == crawlers
        crawlers.resize(16)
        await trio.sleep(0.5)
        assert len(made) == crawlers.size == 16
        assert await crawlers.ask(Pages()) in (0, 1)
        await trio.sleep(61)
        assert len(refreshed) == 16
    assert all(client.is_closed for client in made)


async def test_pages_of_one_host_are_fetched_one_at_a_time(autojump_clock):
    async with open_runtime("app") as runtime:
        crawlers = await spawn_crawlers(runtime, a_crawler([], []))
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for host in "aaabc":
                nursery.start_soon(crawlers.ask, Fetch(f"https://{host}.example/"))
        assert trio.current_time() - start == 3


async def test_a_boss_gets_the_reasons_until_it_cancels_its_watch(autojump_clock):
    async with open_runtime("app") as runtime:
        worker = await runtime.spawn("worker", Index)
        boss = await runtime.spawn("boss", partial(Boss, worker))
        await runtime.root.stop_child("worker")
        assert await boss.ask(Watching(stops=True)) == ("stopped",)
        await runtime.root.restart_child("worker")
        await runtime.root.stop_child("worker")
        assert await boss.ask(Watching()) == ("stopped",)


async def test_a_thread_tells_and_asks_through_the_portal():
    async with open_runtime("app") as runtime:
        index = await runtime.spawn("index", Index)
        assert await trio.to_thread.run_sync(count_from_thread(runtime, index)) == 1
        assert await index.ask(Size()) == 1
