"""The queue of a shared run: one suite for the queue in memory and for that on a server."""

import pytest
import trio
from valkey_server import valkey_server

from callsheet.actors import ServerAway, ServerUrl, UnsuitableServer
from callsheet.bulk.shared.memory import MemoryQueue
from callsheet.bulk.shared.queue import (
    MOST_DELIVERIES,
    QueuedRow,
    RowAnswer,
    is_before,
)
from callsheet.bulk.shared.valkey import ValkeyQueue, runs_at

LEASE_S = 10.0


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    async def goes_on(self, queue, seconds):
        """Let time pass; a queue counts five seconds at most between two calls."""
        for _ in range(round(seconds / 2.5)):
            self.now += 2.5
            await queue.card()


@pytest.fixture(scope="module")
def server():
    with valkey_server(appendonly="yes") as server:
        yield server


@pytest.fixture(params=["memory", "server"])
async def opened(request):
    """A queue, the time, and a way to lose everything."""
    time = Time()
    if request.param == "memory":
        queue = MemoryQueue("r", clock=time)
        async with queue.open():
            yield queue, time, queue.lose_data
        return
    server = request.getfixturevalue("server")
    server.clear()
    queue = ValkeyQueue(ServerUrl.parse(server.url), "r", time_ms=lambda: round(1000 * time.now))
    async with queue.open():
        yield queue, time, server.clear


def rows(*keys):
    return [QueuedRow(key, f"row {key}".encode()) for key in keys]


def answer_to(taken, body=b"!"):
    return RowAnswer(taken.entry, taken.row.key, body)


def keys_of(reply):
    return [taken.row.key for taken in reply.rows]


async def begin(queue, *keys):
    await queue.check()
    held = await queue.hold("h", b"settings", lease_s=LEASE_S)
    assert held.is_held
    assert await queue.put("h", rows(*keys))
    return held.epoch


async def test_rows_go_to_workers_and_answers_to_the_holder(opened):
    queue, _, _ = opened
    await begin(queue, "a", "b", "c")
    first = await queue.take("w1", 2, wait_s=0)
    assert (first.state, keys_of(first)) == ("running", ["a", "b"])
    assert first.rows[0].row.body == b"row a"
    assert keys_of(await queue.take("w2", 2, wait_s=0)) == ["c"]
    entries = await queue.answer("w1", [answer_to(first.rows[1], b"\xffB")])
    (read,) = await queue.answers("", 10, wait_s=0)
    assert (read.key, read.body, read.deliveries, read.is_parked) == ("b", b"\xffB", 1, False)
    assert list(entries) == [read.entry]
    assert await queue.answers(read.entry, 10, wait_s=0) == []
    card = await queue.card()
    assert (card.waiting, card.taken, card.answered) == (0, 2, 1)
    assert (card.holder, card.settings, sorted(card.workers)) == ("h", b"settings", ["w1", "w2"])
    assert await queue.stored("h", [read.entry])
    assert (await queue.card()).answered == 0


async def test_a_key_is_put_once_until_its_answer_is_stored(opened):
    queue, _, _ = opened
    await begin(queue, "a")
    await queue.put("h", rows("a", "b", "a"))
    taken = await queue.take("w", 9, wait_s=0)
    assert keys_of(taken) == ["a", "b"]
    await queue.answer("w", [answer_to(taken.rows[0])])
    await queue.put("h", rows("a"))
    assert keys_of(await queue.take("w", 9, wait_s=0)) == []


async def test_rows_of_a_dead_worker_go_to_another_and_its_late_answer_is_counted(opened):
    queue, time, _ = opened
    await begin(queue, "a", "b", "c")
    lost = await queue.take("dead", 2, wait_s=0)
    await time.goes_on(queue, LEASE_S - 2.5)
    assert keys_of(await queue.take("w", 1, wait_s=0)) == ["c"]
    await time.goes_on(queue, 5)
    taken = await queue.take("w", 9, wait_s=0)
    assert [(one.row.key, one.deliveries) for one in taken.rows] == [("a", 2), ("b", 2)]
    assert (await queue.beat("dead", b"", [one.entry for one in lost.rows])).lost == [
        one.entry for one in lost.rows
    ]
    await queue.answer("w", [answer_to(taken.rows[0])])
    assert await queue.answer("dead", [answer_to(lost.rows[0])]) == [""]
    assert await queue.answer("dead", [answer_to(lost.rows[0])]) == [""]  # counted once
    (first,) = await queue.answer("dead", [answer_to(lost.rows[1], b"first")])
    assert first
    assert await queue.answer("w", [answer_to(taken.rows[1], b"second")]) == [""]
    read = await queue.answers("", 9, wait_s=0)
    assert [(one.key, one.body, one.deliveries) for one in read] == [
        ("a", b"!", 2),
        ("b", b"first", 2),
    ]
    card = await queue.card()
    assert (card.taken_over, card.answered_twice) == (2, 2)


async def test_a_row_that_ends_too_many_workers_is_parked(opened):
    queue, time, _ = opened
    await begin(queue, "a", "b")
    for worker in range(MOST_DELIVERIES):
        (taken,) = (await queue.take(f"w{worker}", 1, wait_s=0)).rows
        assert (taken.row.key, taken.deliveries) == ("a", worker + 1)
        await time.goes_on(queue, LEASE_S + 2.5)
    assert keys_of(await queue.take("last", 9, wait_s=0)) == ["b"]
    (parked,) = await queue.answers("", 9, wait_s=0)
    assert (parked.key, parked.is_parked, parked.deliveries) == ("a", True, MOST_DELIVERIES)
    assert (await queue.card()).parked == 1


async def test_leases_go_on_while_no_call_comes_and_when_the_clock_jumps(opened):
    queue, time, _ = opened
    await begin(queue, "a")
    taken = await queue.take("w1", 1, wait_s=0)
    for jump in (3600, -7200, 0):  # as while the server is stopped
        time.now += jump
        assert keys_of(await queue.take("w2", 1, wait_s=0)) == []
    assert not (await queue.beat("w1", b"", [taken.rows[0].entry])).lost


async def test_rows_given_back_come_first_and_count_no_delivery(opened):
    queue, _, _ = opened
    await begin(queue, "a", "b", "c")
    taken = await queue.take("w1", 2, wait_s=0)
    await queue.give_back("w1", [one.entry for one in taken.rows])
    await queue.give_back("w1", [one.entry for one in taken.rows])
    again = await queue.take("w2", 3, wait_s=0)
    assert [(one.row.key, one.deliveries) for one in again.rows] == [("a", 1), ("b", 1), ("c", 1)]
    await queue.leave("w2")
    left = await queue.take("w3", 3, wait_s=0)
    assert [(one.row.key, one.deliveries) for one in left.rows] == [("a", 2), ("b", 2), ("c", 2)]
    assert list((await queue.card()).workers) == ["w1", "w3"]


async def test_a_worker_finds_the_rows_of_a_lost_reply(opened):
    queue, _, _ = opened
    await begin(queue, "a", "b")
    taken = await queue.take("w", 2, wait_s=0)
    beat = await queue.beat("w", b"report", [taken.rows[0].entry])
    assert (beat.has_more, beat.lost, beat.has_holder) == (True, [], True)
    assert list((await queue.own("w")).rows) == list(taken.rows)
    assert not (await queue.beat("w", b"report", [one.entry for one in taken.rows])).has_more
    assert (await queue.card()).workers == {"w": b"report"}


async def test_a_worker_learns_which_of_its_answers_are_stored(opened):
    queue, _, _ = opened
    await begin(queue, "a", "b")
    taken = await queue.take("w", 2, wait_s=0)
    entries = await queue.answer("w", [answer_to(one) for one in taken.rows])
    assert entries == await queue.answer("w", [answer_to(one) for one in taken.rows])
    before = (await queue.beat("w", b"", [])).stored_before
    assert [is_before(entry, before) for entry in entries] == [False, False]
    await queue.stored("h", [entries[0]])
    before = (await queue.beat("w", b"", [])).stored_before
    assert [is_before(entry, before) for entry in entries] == [True, False]
    await queue.stored("h", [entries[1]])
    before = (await queue.beat("w", b"", [])).stored_before
    assert [is_before(entry, before) for entry in entries] == [True, True]
    assert await queue.answer("w", [answer_to(one) for one in taken.rows]) == ["", ""]
    assert (await queue.card()).answered_twice == 0


async def test_after_a_loss_answers_are_kept_before_their_rows_are_put_again(opened):
    queue, _, lose = opened
    epoch = await begin(queue, "a", "b")
    taken = await queue.take("w", 2, wait_s=0)
    lose()
    assert (await queue.take("w", 2, wait_s=0)).state is None
    assert (await queue.beat("w", b"", [])).state is None
    assert await queue.answer("w", [answer_to(taken.rows[0])]) is None
    assert not await queue.put("h", rows("a"))
    held = await queue.hold("h", b"settings", lease_s=LEASE_S)
    assert held.epoch != epoch
    (entry,) = await queue.answer("w", [answer_to(taken.rows[0])])
    assert entry
    await queue.put("h", rows("a", "b"))
    assert keys_of(await queue.take("w2", 9, wait_s=0)) == ["b"]
    assert await queue.answer("w", [answer_to(taken.rows[1])]) != [""]
    assert [one.key for one in await queue.answers("", 9, wait_s=0)] == ["a", "b"]


async def test_after_a_loss_a_row_that_two_workers_have_counts_as_given_twice(opened):
    queue, _, lose = opened
    await begin(queue, "a", "b", "c")
    old = await queue.take("w1", 3, wait_s=0)
    lose()
    await begin(queue, "a", "b", "c")
    assert keys_of(await queue.take("w2", 1, wait_s=0)) == ["a"]
    assert keys_of(await queue.take("w1", 1, wait_s=0)) == ["b"]
    assert all(await queue.answer("w1", [answer_to(one) for one in old.rows]))
    read = await queue.answers("", 9, wait_s=0)
    assert [(one.key, one.deliveries) for one in read] == [("a", 2), ("b", 1), ("c", 1)]


async def test_one_process_holds_and_another_takes_over_after_its_lease(opened):
    queue, time, _ = opened
    await begin(queue, "a")
    other = await queue.hold("other", b"new", lease_s=LEASE_S)
    assert (other.is_held, other.holder) == (False, "h")
    assert not await queue.put("other", rows("b"))
    assert not await queue.stored("other", [])
    assert not await queue.change_state("other", "paused")
    assert not await queue.end("other", forget=True)
    await queue.change_state("h", "draining")
    await time.goes_on(queue, LEASE_S + 2.5)
    assert (await queue.card()).holder == ""
    assert (await queue.hold("other", b"new", lease_s=LEASE_S)).is_held
    card = await queue.card()
    assert (card.holder, card.state, card.settings, card.waiting) == ("other", "running", b"new", 1)
    assert not (await queue.hold("h", b"settings", lease_s=LEASE_S)).is_held


async def test_states_stop_workers_and_a_forgotten_run_leaves_nothing(opened):
    queue, _, _ = opened
    epoch = await begin(queue, "a", "b")
    assert await queue.change_state("h", "paused")
    assert (await queue.take("w", 1, wait_s=0)).state == "paused"
    assert await queue.change_state("h", "running")
    taken = await queue.take("w", 1, wait_s=0)
    assert keys_of(taken) == ["a"]
    assert await queue.end("h", forget=True)
    assert await queue.end("h", forget=True)  # safe to repeat
    assert (await queue.take("w", 1, wait_s=0)).state == "ended"
    assert await queue.answer("w", [answer_to(taken.rows[0])]) == [""]
    card = await queue.card()
    assert (card.state, card.waiting, card.taken, card.holder) == ("ended", 0, 0, "")
    held = await queue.hold("h2", b"", lease_s=LEASE_S)
    assert held.is_held
    assert held.epoch != epoch
    assert (await queue.card()).state == "running"


async def test_a_holder_that_lets_go_leaves_rows_and_answers(opened):
    queue, _, _ = opened
    epoch = await begin(queue, "a", "b")
    taken = await queue.take("w", 1, wait_s=0)
    await queue.answer("w", [answer_to(taken.rows[0])])
    assert await queue.end("h", forget=False)
    assert await queue.end("h", forget=False)
    assert keys_of(await queue.take("w", 1, wait_s=0)) == ["b"]
    held = await queue.hold("h2", b"", lease_s=LEASE_S)
    assert (held.is_held, held.epoch) == (True, epoch)
    assert len(await queue.answers("", 9, wait_s=0)) == 1


async def test_only_rows_that_no_worker_has_are_withdrawn(opened):
    queue, _, _ = opened
    await begin(queue, "a", "b", "c")
    taken = await queue.take("w", 2, wait_s=0)
    await queue.give_back("w", [taken.rows[1].entry])
    assert list(await queue.withdraw("h", ["a", "b", "c"])) == ["b", "c"]
    assert list(await queue.withdraw("h", ["a", "b"])) == ["b"]  # safe to repeat
    assert keys_of(await queue.take("w", 9, wait_s=0)) == []


async def test_waiting_ends_with_the_first_row_answer_or_change(opened):
    queue, _, _ = opened
    await begin(queue)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.testing.wait_all_tasks_blocked(0.05)
            await queue.put("h", rows("a"))

        with trio.fail_after(1):
            taken = await queue.take("w", 1, wait_s=60)
    assert keys_of(taken) == ["a"]
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.testing.wait_all_tasks_blocked(0.05)
            await queue.answer("w", [answer_to(taken.rows[0])])
            await queue.change_state("h", "draining")

        with trio.fail_after(1):
            assert len(await queue.answers("", 1, wait_s=60)) == 1
    assert (await queue.take("w", 1, wait_s=0.01)).state == "draining"


async def test_memory_can_be_taken_away_and_lose_replies():
    queue = MemoryQueue("r", clock=Time())
    other = queue.another()
    await begin(queue, "a")
    other.away = True
    with pytest.raises(ServerAway, match="the shared run r in memory"):
        await other.take("w", 1, wait_s=0)
    other.away, other.loses_replies = False, True
    with pytest.raises(ServerAway):
        await other.take("w", 1, wait_s=0)
    assert keys_of(await queue.own("w")) == ["a"]


async def test_a_server_lists_its_runs_gives_every_key_an_expiry_and_must_keep_a_log(server):
    server.clear()
    queue = ValkeyQueue(ServerUrl.parse(server.url), "r1")
    async with queue.open():
        await begin(queue, "a", "b")
        taken = await queue.take("w", 1, wait_s=0)
        await queue.beat("w", b"", [])
        await queue.answer("w", [answer_to(taken.rows[0])])
        for name in server.cli("KEYS", "*").split():
            assert int(server.cli("TTL", name)) > 6 * 86400, name
        assert await runs_at(queue._server) == ["r1"]
        await queue.end("h", forget=True)
        assert await runs_at(queue._server) == []
        assert server.cli("KEYS", "*").split() == ["callsheet:run:{r1}:card"]
    with valkey_server() as keeps_nothing:
        queue = ValkeyQueue(ServerUrl.parse(keeps_nothing.url), "r1")
        async with queue.open():
            with pytest.raises(UnsuitableServer, match="appendonly yes"):
                await queue.check()


async def test_a_put_that_comes_too_late_puts_nothing(opened):
    queue, _, _ = opened
    await begin(queue, "a")
    late = queue._puts
    taken = await queue.take("w", 1, wait_s=0)
    (entry,) = await queue.answer("w", [answer_to(taken.rows[0])])
    await queue.stored("h", [entry])
    await queue.put("h", rows("b"))
    queue._puts = late - 1  # the network delivers the first put again
    assert await queue.put("h", rows("a"))
    assert keys_of(await queue.take("w", 9, wait_s=0)) == ["b"]
