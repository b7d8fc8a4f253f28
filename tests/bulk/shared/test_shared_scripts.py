"""The script of the queue does on a server what the core does, whatever comes in which order."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from valkey_server import valkey_server

from callsheet.actors import ServerUrl
from callsheet.bulk.shared.core import RunQueue
from callsheet.bulk.shared.queue import QueuedRow, RowAnswer
from callsheet.bulk.shared.valkey import ValkeyQueue

WORKERS = ("ann", "bob", "cid")
HOLDERS = ("h1", "h2")
KEYS = tuple(f"k{i}" for i in range(8))
LEASE_MS = 6000
JUMPS_MS = (1, 900, 2500, 4000, 11_000, 3_600_000, -7200_000)

workers = st.sampled_from(WORKERS)
holders = st.sampled_from(HOLDERS)
some_keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=5, unique=True)
steps = st.one_of(
    st.tuples(st.just("hold"), holders, st.sampled_from([1, 5])),
    st.tuples(st.just("put"), holders, some_keys),
    st.tuples(st.just("put"), holders, some_keys),
    st.tuples(st.just("withdraw"), holders, some_keys),
    st.tuples(st.just("read"), st.booleans(), st.integers(1, 4)),
    st.tuples(st.just("stored"), holders, st.integers(0, 3)),
    st.tuples(st.just("state"), holders, st.sampled_from(["running", "paused", "draining"])),
    st.tuples(st.just("end"), holders, st.booleans()),
    st.tuples(st.just("take"), workers, st.integers(0, 4)),
    st.tuples(st.just("take"), workers, st.integers(1, 4)),
    st.tuples(st.just("own"), workers),
    st.tuples(st.just("beat"), workers, some_keys),
    st.tuples(st.just("answer"), workers, some_keys, st.booleans()),
    st.tuples(st.just("answer"), workers, some_keys, st.booleans()),
    st.tuples(st.just("give_back"), workers, some_keys),
    st.tuples(st.just("leave"), workers),
    st.tuples(st.just("clock"), st.sampled_from(JUMPS_MS)),
    st.tuples(st.just("clock"), st.integers(1, 5000)),
    st.tuples(st.just("silence"), st.sampled_from(WORKERS[:2]), st.integers(1, 4)),
    st.tuples(st.just("silence"), st.sampled_from(WORKERS[:2]), st.integers(1, 4)),
    st.just(("card",)),
    st.tuples(st.just("left"), st.integers(1, 4)),
    st.just(("lose",)),
)


@pytest.fixture(scope="module")
def server():
    with valkey_server() as server:
        yield server


class Both:
    """The core and the server, which get the same calls; entries differ, and are kept in pairs."""

    def __init__(self, queue: ValkeyQueue, clock: "Clock"):
        self.core = RunQueue("r")
        self.queue = queue
        self.clock = clock
        self.entries = {}  # {(worker, key): (entry of the core, entry of the server)}
        self.read = []  # [(entry of the core, entry of the server)]
        self.answered = []  # pairs, in the order in which they were handed in
        self.after = ("", "")
        self.puts = 0

    def entry(self, worker, key):
        return self.entries.get((worker, key), ("gone/7-0", "gone/7-0"))

    def met(self, worker, mine, its):
        assert (mine.state, bool(mine.epoch)) == (its.state, bool(its.epoch))
        assert [(r.row, r.deliveries) for r in mine.rows] == [
            (r.row, r.deliveries) for r in its.rows
        ]
        for one, other in zip(mine.rows, its.rows, strict=True):
            self.entries[worker, one.row.key] = (one.entry, other.entry)

    async def do(self, step):
        what, *rest = step
        await getattr(self, f"do_{what}")(*rest)

    async def do_clock(self, by):
        self.clock.ms = max(self.clock.ms + by, 0)

    async def do_silence(self, worker, count):
        """All leases end, and a worker takes rows."""
        for _ in range(3):
            self.clock.ms += 4900
            await self.do_card()
        await self.do_take(worker, count)

    async def do_hold(self, holder, most):
        said = holder.encode()
        epoch = f"e{self.clock.ms}"
        mine = self.core.hold(self.clock.ms, holder, said, LEASE_MS, epoch, most_deliveries=most)
        its = await self.queue.hold(holder, said, lease_s=LEASE_MS / 1000, most_deliveries=most)
        assert (mine.is_held, mine.holder) == (its.is_held, its.holder)

    async def do_put(self, holder, keys):
        self.puts += 1
        rows = [QueuedRow(key, key.encode() + b"\xff\0") for key in keys]
        mine = self.core.put(self.clock.ms, holder, "s", self.puts, rows)
        assert mine == await self.queue.put(holder, rows)

    async def do_left(self, count):
        after = "", ""
        while True:
            mine = self.core.left(after[0], count)
            its = await self.queue.left(after[1], count)
            assert [(r.row, r.deliveries) for r in mine] == [(r.row, r.deliveries) for r in its]
            if not mine:
                return
            after = mine[-1].entry, its[-1].entry

    async def do_withdraw(self, holder, keys):
        mine = self.core.withdraw(self.clock.ms, holder, keys)
        assert mine == await self.queue.withdraw(holder, keys)

    async def do_read(self, again, count):
        after = ("", "") if again else self.after
        mine = self.core.answers(after[0], count)
        its = await self.queue.answers(after[1], count, wait_s=0)
        assert [(a.key, a.body, a.deliveries, a.worker) for a in mine] == [
            (a.key, a.body, a.deliveries, a.worker) for a in its
        ]
        for one, other in zip(mine, its, strict=True):
            self.after = (one.entry, other.entry)
            self.read.append(self.after)

    async def do_stored(self, holder, which):
        pairs = self.read[which : which + 2]
        mine = self.core.stored(self.clock.ms, holder, [pair[0] for pair in pairs])
        assert mine == await self.queue.stored(holder, [pair[1] for pair in pairs])

    async def do_state(self, holder, state):
        mine = self.core.change_state(self.clock.ms, holder, state)
        assert mine == await self.queue.change_state(holder, state)

    async def do_end(self, holder, forget):
        mine = self.core.end(self.clock.ms, holder, forget=forget)
        assert mine == await self.queue.end(holder, forget=forget)

    async def do_take(self, worker, count):
        mine = self.core.take(self.clock.ms, worker, count)
        self.met(worker, mine, await self.queue.take(worker, count, wait_s=0))

    async def do_own(self, worker):
        self.met(worker, self.core.own(self.clock.ms, worker), await self.queue.own(worker))

    async def do_beat(self, worker, keys):
        pairs = [self.entry(worker, key) for key in keys]
        mine = self.core.beat(self.clock.ms, worker, b"r", [pair[0] for pair in pairs])
        its = await self.queue.beat(worker, b"r", [pair[1] for pair in pairs])
        assert (mine.state, mine.has_more, mine.has_holder) == (
            its.state,
            its.has_more,
            its.has_holder,
        )
        assert [pair[0] in mine.lost for pair in pairs] == [pair[1] in its.lost for pair in pairs]

    async def do_answer(self, worker, keys, is_of_other):
        names = [self.entry(worker, key) for key in keys]
        if is_of_other:
            names = [("gone/7-0", "gone/7-0")] * len(keys)
        body = worker.encode()
        mine = self.core.answer(
            self.clock.ms,
            worker,
            [RowAnswer(pair[0], key, body) for pair, key in zip(names, keys, strict=True)],
        )
        its = await self.queue.answer(
            worker, [RowAnswer(pair[1], key, body) for pair, key in zip(names, keys, strict=True)]
        )
        assert (mine is None) == (its is None)
        assert [bool(one) for one in mine or ()] == [bool(one) for one in its or ()]

    async def do_give_back(self, worker, keys):
        pairs = [self.entry(worker, key) for key in keys]
        self.core.give_back(self.clock.ms, worker, [pair[0] for pair in pairs])
        await self.queue.give_back(worker, [pair[1] for pair in pairs])

    async def do_leave(self, worker):
        self.core.leave(self.clock.ms, worker)
        await self.queue.leave(worker)

    async def do_card(self):
        mine, its = self.core.card(self.clock.ms), await self.queue.card()
        if mine is None or its is None:
            assert mine is its
            return
        for name in (
            *("state", "settings", "holder", "waiting", "taken", "answered"),
            *("taken_over", "answered_twice", "parked", "workers"),
        ):
            assert (name, getattr(mine, name)) == (name, getattr(its, name))

    async def do_lose(self):
        self.core = RunQueue("r")
        await self.queue.lose()


class Clock:
    ms = 1_764_000_000_000

    def __call__(self):
        return self.ms


class LosingQueue(ValkeyQueue):
    async def lose(self):
        await self._server.command("DEL", *self._keys)


async def compare(server, number, taken):
    clock = Clock()
    queue = LosingQueue(ServerUrl.parse(server.url), f"run{number}", time_ms=clock)
    async with queue.open():
        await queue.lose()
        both = Both(queue, clock)
        for step in [("hold", "h1", 5), ("put", "h1", list(KEYS)), *taken]:
            await both.do(step)
        await both.do_card()
        await queue.lose()


@settings(max_examples=12)
@given(taken=st.lists(steps, min_size=5, max_size=40))
def test_the_script_does_what_the_core_does(server, taken):
    trio.run(compare, server, 0, taken)


@pytest.mark.slow
@settings(max_examples=1500)
@given(taken=st.lists(steps, min_size=10, max_size=120))
def test_the_script_does_what_the_core_does_for_long(server, taken):
    trio.run(compare, server, 1, taken)
