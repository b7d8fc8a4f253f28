"""Files of a response cache, and calls that use one."""

from functools import partial

import trio
from fakes import Journal, Stage, call

from callsheet.actors.cache.actor import CacheActor, GetCacheStatistics
from callsheet.actors.cache.policy import CachePolicy
from callsheet.actors.cache.store import CacheEntry
from callsheet.runtime import open_runtime

__all__ = ["MIB", "Quick", "ask_twice", "close", "entry"]

MIB = 2**20


def entry(key, value=b"value", at=100.0):
    return CacheEntry(str(key), value, at)


def close(file):
    file.close_reader()
    file.close_writer()


async def ask_twice(path):
    async with open_runtime() as runtime:
        stage = await runtime.spawn("stage", partial(Quick, Journal()), capacity=10, concurrency=10)
        policy = CachePolicy(path=path)
        cache = await runtime.spawn(
            "cache", partial(CacheActor, stage, "http://a/v1", policy), concurrency=8
        )
        answers = [await cache.ask(call(cacheable=True)) for _ in range(2)]
        return answers, await cache.ask(GetCacheStatistics())


class Quick(Stage):
    """A stage that takes no time."""

    async def attempt(self, message, behaviour):
        await trio.lowlevel.checkpoint()
