"""The program that the runtime's interface is measured by: a crawler, its index and a watcher.

Type checkers check it as well, as they do `tests/typing/api.py`.
"""

from collections.abc import Callable
from typing import assert_type

import attrs
import httpx
import trio

from callsheet.runtime import (
    Actor,
    AnyRef,
    Ended,
    Message,
    PoolRef,
    Ref,
    Runtime,
    Watch,
    handles,
)


@attrs.frozen
class Fetch(Message[bytes]):
    url: str


@attrs.frozen
class Pages(Message[int]):
    pass


@attrs.frozen
class Compose(Message[str]):
    """A message that no crawler handles."""

    topic: str


@attrs.frozen
class Add(Message[None]):
    url: str
    page: bytes


@attrs.frozen
class Size(Message[int]):
    pass


@attrs.frozen
class WorkerEnded(Message[None]):
    reason: str


@attrs.frozen
class Watching(Message[tuple[str, ...]]):
    """Asks for the reasons that the watcher has received; with `stops`, the watch ends."""

    stops: bool = False


def host_of(message: Message[object]) -> str | None:
    """Return the host as a key, so that one page of a host is fetched at a time."""
    return httpx.URL(message.url).host if isinstance(message, Fetch) else None


class Index(Actor[Add | Size]):
    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}

    @handles(Add)
    async def add(self, message: Add) -> None:
        self.pages[message.url] = message.page

    @handles(Size)
    async def size(self, message: Size) -> int:
        return len(self.pages)


class Crawler(Actor[Fetch | Pages]):
    """Fetches pages, and keeps them in an index of its own.

    Args:
        client: makes the HTTP client.
        refreshed: called by the background task once a minute.
    """

    def __init__(
        self, client: Callable[[], httpx.AsyncClient], refreshed: Callable[[], None]
    ) -> None:
        self.client = client
        self.refreshed = refreshed

    async def started(self) -> None:
        self.http = await self.enter_async_context(self.client())
        self.nursery.start_soon(self.refresh_robots)
        self.index = await self.spawn("index", Index)
        self.done = 0

    async def refresh_robots(self) -> None:
        while True:
            await trio.sleep(60)
            self.refreshed()

    @handles(Fetch, raises=(httpx.HTTPError,))
    async def fetch(self, message: Fetch) -> bytes:
        page = (await self.http.get(message.url)).content
        self.done += 1
        await self.index.tell(Add(message.url, page))
        return page

    @handles(Pages, urgent=True)
    async def pages(self, message: Pages) -> int:
        return self.done


class Boss(Actor[WorkerEnded | Watching]):
    def __init__(self, worker: AnyRef) -> None:
        self.worker = worker
        self.reasons: list[str] = []

    async def started(self) -> None:
        self.watching = await self.watch(self.worker, on=self.ended)
        assert_type(self.watching, Watch)

    def ended(self, ended: Ended) -> WorkerEnded:
        return WorkerEnded(ended.reason)

    @handles(WorkerEnded)
    async def note(self, message: WorkerEnded) -> None:
        self.reasons.append(message.reason)

    @handles(Watching)
    async def report(self, message: Watching) -> tuple[str, ...]:
        if message.stops:
            self.watching.cancel()
        return tuple(self.reasons)


async def spawn_crawlers(
    runtime: Runtime, crawler: Callable[[], Crawler]
) -> PoolRef[Fetch | Pages]:
    return await runtime.spawn_pool(
        "crawlers",
        crawler,
        size=8,
        key=host_of,
        capacity=1_000,
        start_s=10,
        restart="transient",
    )


async def crawl(crawlers: Ref[Fetch | Pages]) -> tuple[bytes, int]:
    page = await crawlers.ask(Fetch("https://example.com/"), timeout=30)
    assert_type(page, bytes)
    return page, await crawlers.ask(Pages())


async def ask_what_is_not_handled(crawlers: Ref[Fetch | Pages]) -> None:
    compose = Compose("Tea")
    await crawlers.ask(compose)  # type: ignore[arg-type]  # no crawler handles it


def count_from_thread(runtime: Runtime, index: Ref[Add | Size]) -> Callable[[], int]:
    """Return a function that adds a page and asks for the total, for a thread without Trio."""
    portal = runtime.portal()

    def count() -> int:
        portal.tell(index, Add("https://example.com/", b"page"))
        total = portal.ask(index, Size(), timeout=5)
        assert_type(total, int)
        return total

    return count
