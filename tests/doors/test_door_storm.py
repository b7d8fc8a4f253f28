"""A storm over the door: loops and threads, cancellations, closed loops, and the end of Trio.

Whatever happens, each call is settled once, nothing is left at the provider, and nothing hangs.
"""

import asyncio
import inspect
import random
import threading
from collections import Counter

import pytest
from door_fakes import Provider, request, settings_for, wait_until

from callsheet import aio, sync
from callsheet.actors import CallFailed, Limits
from callsheet.aio.bridge import AsyncioDoor
from callsheet.doors import OpenCalls
from callsheet.runtime import AskFailed
from callsheet.sync import DoorClosed

LOOPS, THREADS = 3, 8
END_S = 90.0
EXPECTED = (CallFailed, AskFailed, DoorClosed, TimeoutError)


class Books:
    """What happened to each call, at its caller and in the bookkeeping of the door."""

    def __init__(self, monkeypatch):
        self.lock = threading.Lock()
        self.outcomes = Counter()
        self.surprises = []
        self.added = []
        self.taken = Counter()  # {call: how often it was settled}
        add, take = OpenCalls.add, OpenCalls.take

        def adding(calls, call):
            self.added.append(call)
            return add(calls, call)

        def taking(calls, call):
            was_open = take(calls, call)
            if was_open:
                with self.lock:
                    self.taken[call] += 1
            return was_open

        monkeypatch.setattr(OpenCalls, "add", adding)
        monkeypatch.setattr(OpenCalls, "take", taking)

    def count(self, outcome):
        with self.lock:
            self.outcomes[outcome] += 1

    def ended(self, error):
        if error is None:
            self.count("answered")
        elif isinstance(error, EXPECTED):
            self.count(type(error).__name__)
        else:
            self.surprises.append(error)


def prompt(chance):
    return chance.choice(
        ["hold", "fail 400", "count 30 every 0.001", "count 30 every 0"]
        + [f"say {chance.random()} after {chance.random() * 0.05}"] * 4
    )


async def one_call(troupe, chance, books):
    """Make a call, in one of the ways of an asyncio program."""
    asked = request(prompt(chance))
    try:
        match chance.randrange(4):
            case 0:
                await troupe.complete(asked, timeout=chance.random() * 0.2)
            case 1:
                await asyncio.wait_for(troupe.complete(asked), chance.random() * 0.2)
            case 2:
                async with asyncio.timeout(chance.random() * 0.2):
                    async with troupe.stream(asked, buffer=chance.choice([0, 1, 8])) as pieces:
                        async for _ in pieces:
                            pass
            case _:
                async with asyncio.timeout(1), troupe.stream(asked, timeout=0.2) as pieces:
                    async for _ in pieces:
                        break
    except asyncio.CancelledError:
        books.count("cancelled")
        raise
    except Exception as error:  # noqa: BLE001
        books.ended(error)
    else:
        books.ended(None)


async def many_calls(troupe, chance, books, number):
    tasks = [asyncio.ensure_future(one_call(troupe, chance, books)) for _ in range(number)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.01)
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def drop_unstarted(tasks):
    """Close coroutines that their loop has not begun: Python would warn, in whichever test."""
    for coroutine in [task.get_coro() for task in tasks]:
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()


def loops_of_a_thread(troupe, chance, books, number):
    """Run one loop after another; some are closed while their calls are open."""
    while number > 0:
        calls = min(number, 50)
        number -= calls
        if chance.random() < 0.7:
            asyncio.run(many_calls(troupe, chance, books, calls))
            continue
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # it would report each task that is lost
        tasks = [loop.create_task(one_call(troupe, chance, books)) for _ in range(calls)]
        loop.call_later(chance.random() * 0.05, loop.stop)
        loop.run_forever()
        drop_unstarted(asyncio.all_tasks(loop))
        loop.close()
        for _ in [task for task in tasks if not task.done()]:
            books.count("lost with its loop")


def calls_of_a_thread(troupe, chance, books, number):
    for _ in range(number):
        asked = request(prompt(chance))
        try:
            if chance.random() < 0.5:
                troupe.complete(asked, timeout=chance.random() * 0.05)
            else:
                with troupe.stream(asked, timeout=0.05) as pieces:
                    for _ in pieces:
                        if chance.random() < 0.05:
                            break
        except Exception as error:  # noqa: BLE001
            books.ended(error)
        else:
            books.ended(None)


def storm(calls, seed, books, *, dies, left_s):
    provider = Provider()
    share = calls // (LOOPS + THREADS)
    settings = settings_for(provider, limits=Limits(in_flight=100))
    try:
        with sync.open_troupe(settings) as blocking:
            troupe = aio.AsyncioTroupe(AsyncioDoor(blocking._door.thread))
            threads = [
                threading.Thread(
                    target=loops_of_a_thread if number < LOOPS else calls_of_a_thread,
                    args=(
                        troupe if number < LOOPS else blocking,
                        random.Random(seed * 1000 + number),
                        books,
                        share,
                    ),
                    daemon=True,
                )
                for number in range(LOOPS + THREADS)
            ]
            for thread in threads:
                thread.start()
            if dies:
                wait_until(lambda: sum(books.outcomes.values()) > calls // 3, END_S)
                with pytest.raises(DoorClosed):
                    blocking.complete(request("die"))
            for thread in threads:
                thread.join(END_S)
            assert not [it for it in threads if it.is_alive()]
            wait_until(lambda: provider.in_flight == 0, left_s)
    except SystemExit:
        assert dies
    assert provider.in_flight == 0
    return share * (LOOPS + THREADS)


def check(books, calls, *, dies):
    assert books.surprises == []
    assert sum(books.outcomes.values()) == calls
    assert books.outcomes["answered"] > (0 if dies else calls // 20)
    assert ("DoorClosed" in books.outcomes) is dies
    assert "ActorStopped" not in books.outcomes
    assert set(books.taken.values()) == {1}
    assert set(books.taken) == set(books.added)


@pytest.mark.parametrize("dies", [False, True])
def test_a_small_storm(monkeypatch, dies):
    books = Books(monkeypatch)
    calls = storm(165, 1, books, dies=dies, left_s=5.0)
    check(books, calls, dies=dies)


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_storm(monkeypatch, seed, dies):
    books = Books(monkeypatch)
    calls = storm(5_005, seed, books, dies=dies, left_s=1.0)
    check(books, calls, dies=dies)
