"""R12: snapshots of the tree, as values and as text."""

import io
from functools import partial

import pytest
import trio
from sample_actors import Add, Counter, Fail, Holder, Keep, Work, Worker

from callsheet.runtime import (
    ActorCrashed,
    RestartPolicy,
    dump,
    format_tree,
    open_runtime,
)

NO_PAUSE = RestartPolicy(base_s=0)
NO_RESTARTS = RestartPolicy(max_restarts=0)
SLOW = RestartPolicy(base_s=100, cap_s=100)


async def test_the_text_shows_a_tree_in_several_states_a_line_each(autojump_clock):
    async with open_runtime("app", restarts=SLOW, seed="s", drain_s=0) as runtime:
        await runtime.spawn("idle", Counter)
        branch = await runtime.supervise("branch", strategy="one_for_all")
        busy = await branch.spawn("busy", partial(Worker, []), concurrency=5, capacity=2)
        twig = await branch.supervise("twig", strategy="rest_for_one", restarts=NO_RESTARTS)
        holder = await twig.spawn("holder", Holder)
        crashed = await runtime.spawn("crashed", Counter)
        await runtime.spawn("stopped", Counter)
        await runtime.root.stop_child("stopped")
        await holder.submit(Keep())
        for number in range(5):
            busy.tell_nowait(Work(str(number), 60))
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(2)
        for number in range(2):
            busy.tell_nowait(Work(str(number), 60))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.tell, Work("more", 60))
            await trio.sleep(1.5)
            crashed.tell_nowait(Fail(KeyError("bug")))
            await trio.testing.wait_all_tasks_blocked()
            crashed.tell_nowait(Add(1))
            text = format_tree(runtime.snapshot())
            nursery.cancel_scope.cancel()
        in_progress = ", ".join(["Work for 3.5 s"] * 3)
        assert text.splitlines() == [
            "app  running, one_for_one, 4 restarts left",
            "├── idle  running, idle",
            "├── branch  running, one_for_all, 5 restarts left",
            (
                f"│   ├── busy  running, handling {in_progress} and 2 more, "
                "2 of 2 waiting for up to 1.5 s, 1 sender waiting for room"
            ),
            "│   └── twig  running, rest_for_one, 0 restarts left",
            "│       └── holder  running, idle, 1 deferred, 1 handled",
            "├── crashed  restarting, idle, 1 of 64 waiting for up to 0.0 s, 1 failed",
            "└── stopped  stopped, idle",
        ]


async def test_dump_prints_one_runtime_or_all_that_are_open(autojump_clock):
    everything, one = io.StringIO(), io.StringIO()
    async with open_runtime("outer"), open_runtime("inner") as inner:
        await inner.spawn("counter", Counter)
        dump(file=everything)
        dump(inner, file=one)
    outer_text = "outer  running, one_for_one, 5 restarts left\n"
    inner_text = "inner  running, one_for_one, 5 restarts left\n└── counter  running, idle\n"
    assert everything.getvalue() == outer_text + inner_text
    assert one.getvalue() == inner_text
    nothing = io.StringIO()
    dump(file=nothing)
    assert nothing.getvalue() == ""


# ---------------------------------------------------------------- as values


async def test_iterating_over_a_snapshot_gives_each_node_before_those_below_it(autojump_clock):
    async with open_runtime("app") as runtime:
        await runtime.spawn("a", Counter)
        b = await runtime.supervise("b")
        await b.spawn("c", Counter)
        d = await b.supervise("d")
        await d.spawn("e", Counter)
        await runtime.spawn("f", Counter)
        snapshot = runtime.snapshot()
    paths = ["app", "app/a", "app/b", "app/b/c", "app/b/d", "app/b/d/e", "app/f"]
    assert [node.path for node in snapshot] == paths
    assert [node.path for node in snapshot.actors] == ["app/a", "app/b/c", "app/b/d/e", "app/f"]
    assert snapshot["app/b/d/e"].path == "app/b/d/e"
    for missing in ("app/b", "app/x"):
        with pytest.raises(KeyError):
            snapshot[missing]


async def test_a_snapshot_stays_as_it_was(autojump_clock):
    async with open_runtime("app") as runtime:
        counter = await runtime.spawn("counter", Counter)
        snapshot = runtime.snapshot()
        await counter.ask(Add(1))
        assert snapshot[counter.path].counts.handled == 0
        assert runtime.snapshot()[counter.path].counts.handled == 1


async def test_a_snapshot_has_the_last_crashes_of_actors_and_pools(autojump_clock):
    async with open_runtime("app", restarts=RestartPolicy(max_restarts=100, base_s=0)) as runtime:
        single = await runtime.spawn("single", Counter)
        pool = await runtime.spawn_pool("pool", Counter, size=1)
        single.tell_nowait(Fail(KeyError("one")))
        await trio.sleep(1)
        began = trio.current_time()
        pool.tell_nowait(Fail(ValueError("x" * 5_000)))
        await trio.sleep(1)
        first, second = runtime.snapshot().crashes
        assert (first.path, first.kind, first.text) == ("app/single", "KeyError", "'one'")
        assert (second.path, second.kind) == ("app/pool/worker-1", "ValueError")
        assert second.text == "x" * 1_000
        assert (first.at, second.at) == pytest.approx((began - 1, began))
        for number in range(60):
            single.tell_nowait(Fail(KeyError(number)))
        await trio.sleep(1)
        assert [one.text for one in runtime.snapshot().crashes] == [str(n) for n in range(10, 60)]


async def test_an_exception_whose_message_cannot_be_written_is_a_crash_like_others(autojump_clock):
    class Mute(Exception):
        def __str__(self):
            raise ValueError("a bug")

    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        counter = await runtime.spawn("counter", Counter)
        with pytest.raises(ActorCrashed, match="crashed with Mute: its message cannot be written"):
            await counter.ask(Fail(Mute()))
        assert await counter.ask(Add(1)) == 1
        (crash,) = runtime.snapshot().crashes
        assert (crash.kind, crash.text) == ("Mute", "its message cannot be written")
