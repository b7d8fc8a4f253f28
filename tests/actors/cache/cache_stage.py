"""A cache before a stage, with a store in memory, so that all of it runs in virtual time."""

from functools import partial

import attrs
import trio
from fakes import Stage, asking

from callsheet.actors.cache.actor import CacheActor
from callsheet.actors.cache.policy import CachePolicy
from callsheet.actors.cache.store import CacheEntry, CacheUsage
from callsheet.actors.storage import StorageError

URL = "http://provider/v1"
MEMORYLESS = CachePolicy(path=None, memory_bytes=0)
BROKEN = StorageError("the store", "the disk is on fire", "put it out")


@attrs.define(eq=False)
class FakeStore:
    """A store in memory.

    Args:
        read_s: seconds that a lookup takes.
        write_s: seconds that a transaction takes.
        breaks: the names of what raises `BROKEN`.
    """

    read_s: float = 0.0
    write_s: float = 0.0
    breaks: set[str] = attrs.field(factory=set)
    kept: dict[str, CacheEntry] = attrs.field(factory=dict)
    lookups: list[tuple[str, ...]] = attrs.field(factory=list)
    transactions: list[tuple[int, int]] = attrs.field(factory=list)  # entries, and those used
    is_open: bool = False
    name = "a fake"

    def _do(self, what):
        if what in self.breaks:
            raise BROKEN

    async def open(self):
        self._do("open")
        self.is_open = True

    async def get_many(self, keys, now):
        self.lookups.append(tuple(keys))
        found = [self.kept[key] for key in keys if key in self.kept]
        await trio.sleep(self.read_s)
        self._do("get_many")
        return found

    async def put_many(self, entries, used, now):
        with trio.CancelScope(shield=True):  # a thread cannot be cancelled
            await trio.sleep(self.write_s)
        self._do("put_many")
        self.transactions.append((len(entries), len(used)))
        self.kept.update((entry.key, entry) for entry in entries)

    async def usage(self):
        self._do("count")
        return CacheUsage(len(self.kept), sum(len(one.value) for one in self.kept.values()), 0)

    async def clear(self):
        self._do("clear")
        self.kept.clear()

    async def set_aside(self):
        return None

    async def close(self):
        self.is_open = False


class WallClock:
    """A wall clock that a test sets."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


async def stage_of(runtime, journal, by_prompt=None, *, kind=Stage, capacity=100):
    return await runtime.spawn(
        "stage", partial(kind, journal, by_prompt), capacity=capacity, concurrency=capacity
    )


async def cache_to(
    runtime, to, *, scope=URL, store=None, policy=None, clock=None, concurrency=8, **options
):
    factory = partial(CacheActor, to, scope, policy, store=store, now=clock or WallClock())
    return await runtime.spawn("cache", factory, concurrency=concurrency, **options)


def again(ref, *prompts, **more):
    return asking(ref, *prompts, cacheable=True, **more)


def paid(journal):
    return [prompt for prompt, _ in journal.began]
