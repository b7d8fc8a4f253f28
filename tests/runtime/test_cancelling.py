"""R1, R3, R4, R9, R15, R16: a call may be cancelled at each step of the scheduler.

Each scenario has a block with one operation. The block is cancelled at its first step, in another
run at a later one, and so on until it ends before that. Afterwards the scenario checks that the
names are free and the actors work. The sweep checks that no message, task or context is left.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from cancelled_actors import (
    Cut,
    Do,
    Gone,
    Hooked,
    Owner,
    Plain,
    Work,
    cut_at_steps,
    open_resource,
)

from callsheet.runtime import (
    ChildNotFound,
    PoolRef,
    Ref,
    Runtime,
    StartTimedOut,
    State,
    StopOrder,
)

# ---------------------------------------------------------------- starts


async def spawn(runtime: Runtime, cut: Cut) -> None:
    with cut.here():
        await runtime.spawn("x", Owner)
    await check_name(runtime, Owner)


async def spawn_with_a_limit(runtime: Runtime, cut: Cut) -> None:
    with cut.here():
        await runtime.spawn("x", Owner, start_s=3)
    await check_name(runtime, Owner)


async def spawn_that_times_out(runtime: Runtime, cut: Cut) -> None:
    with cut.here():
        with pytest.raises((StartTimedOut, trio.Cancelled)) as caught:
            await runtime.spawn("x", Owner, start_s=1.5)
        if isinstance(caught.value, trio.Cancelled):
            raise caught.value
    assert runtime.snapshot().actors == ()
    await check_name(runtime, Owner)


async def spawn_pool(runtime: Runtime, cut: Cut) -> None:
    with cut.here():
        await runtime.spawn_pool("x", Owner, size=3, start_s=9)
    await check_name(runtime, Owner)


async def spawn_pool_without_hooks(runtime: Runtime, cut: Cut) -> None:
    with cut.here():
        await runtime.spawn_pool("x", Plain, size=3)
    await check_name(runtime, Plain)


async def restart_child(runtime: Runtime, cut: Cut) -> None:
    branch = await runtime.supervise("branch", start_s=9)
    refs = [await branch.spawn(name, Owner) for name in "ab"]
    await runtime.root.stop_child("branch")
    with cut.here():
        await runtime.root.restart_child("branch")
    if state_of(runtime, "branch") is State.STOPPED:
        await runtime.root.restart_child("branch")
    for ref in refs:
        assert await ref.ask(Work()) == "done"


async def check_name(runtime: Runtime, factory: type[Plain]) -> None:
    """Free the name x if it is in use, use it again, and free it once more."""
    if runtime.snapshot().actors:
        await runtime.stop(runtime.ref(f"{runtime.name}/x"))
    x = await runtime.spawn("x", factory)
    assert await x.ask(Work()) == "done"
    await runtime.stop(x)


def state_of(runtime: Runtime, name: str) -> State:
    return next(one.state for one in runtime.snapshot().root.children if one.path.endswith(name))


# ---------------------------------------------------------------- stops


async def start_branch(runtime: Runtime, stop_order: StopOrder) -> list[Ref]:
    """Start a branch of actors, each with a message in progress and one that waits."""
    branch = await runtime.supervise("branch", stop_order=stop_order)
    refs = [
        await branch.spawn("plain", Plain),
        await branch.spawn("owner", Owner),
        await branch.spawn_pool("pool", Plain, size=2),
        await (await branch.supervise("twig", stop_order=stop_order)).spawn("leaf", Hooked),
    ]
    for ref in refs:
        for _ in range(2):
            await ref.tell(Work(1))
    return refs


async def stop_supervisor(runtime: Runtime, cut: Cut, stop_order: StopOrder) -> None:
    refs = await start_branch(runtime, stop_order)
    with cut.here():
        await runtime.root.stop_child("branch")
    for ref in refs:  # the stop goes on without its caller
        await ref.wait_stopped()
    await trio.testing.wait_all_tasks_blocked()
    assert state_of(runtime, "branch") is State.STOPPED
    snapshot = runtime.snapshot()
    assert [snapshot[ref.path].counts.handled for ref in refs] == [2, 2, 2, 2], "it was a drain"
    await runtime.root.restart_child("branch")
    for ref in refs:
        assert await ref.ask(Work()) == "done"


async def stop_child(runtime: Runtime, cut: Cut) -> None:
    x = await runtime.spawn("x", Owner)
    for _ in range(2):
        await x.tell(Work(1))
    with cut.here():
        await runtime.root.stop_child("x")
    await x.wait_stopped()
    await trio.testing.wait_all_tasks_blocked()
    await runtime.root.restart_child("x")
    assert await x.ask(Work()) == "done"


async def stop(runtime: Runtime, cut: Cut) -> None:
    x = await runtime.spawn("x", Owner)
    for _ in range(2):
        await x.tell(Work(1))
    with cut.here():
        await runtime.stop(x)
    await x.wait_stopped()
    await trio.testing.wait_all_tasks_blocked()
    await check_name(runtime, Owner)


async def stop_with_a_limit(runtime: Runtime, cut: Cut) -> None:
    x = await runtime.spawn("x", Owner, stop_s=2.5)
    await x.tell(Work(100))
    with cut.here():
        await runtime.stop(x)
    await x.wait_stopped()
    await trio.testing.wait_all_tasks_blocked()
    await check_name(runtime, Owner)


async def stop_pool(runtime: Runtime, cut: Cut) -> None:
    pool = await runtime.spawn_pool("x", Hooked, size=2)
    for _ in range(5):
        await pool.tell(Work(1))
    with cut.here():
        await runtime.stop(pool)
    await pool.wait_stopped()
    await trio.testing.wait_all_tasks_blocked()
    await check_name(runtime, Hooked)


async def wait_stopped(runtime: Runtime, cut: Cut) -> None:
    x = await runtime.spawn("x", Hooked)
    async with trio.open_nursery() as nursery:
        with cut.here():
            nursery.start_soon(runtime.stop, x)
            await x.wait_stopped()
        if not cut.is_done:
            assert not x._cell._watches
    assert not x._cell._watches
    await check_name(runtime, Hooked)


# ---------------------------------------------------------------- pools


async def ask_pool(runtime: Runtime, cut: Cut) -> None:
    pool = await runtime.spawn_pool("x", Hooked, size=2, capacity=1)
    with cut.here():
        async with trio.open_nursery() as nursery:
            for _ in range(5):  # two are handled, one waits, two wait for room
                nursery.start_soon(pool.ask, Work(1))
    await check_pool(runtime, pool, 2)


async def tell_pool(runtime: Runtime, cut: Cut) -> None:
    pool = await runtime.spawn_pool("x", Plain, size=2, capacity=1, key=lambda _: "same")
    with cut.here():
        for _ in range(4):
            await pool.tell(Work(1))
    await trio.sleep(5)
    await check_pool(runtime, pool, 1)


async def resize_pool(runtime: Runtime, cut: Cut) -> None:
    pool = await runtime.spawn_pool("x", Owner, size=1, stop_s=20)
    with cut.here():
        async with trio.open_nursery() as nursery:
            for size in (3, 1, 2):
                pool.resize(size)
                for _ in range(2):
                    nursery.start_soon(pool.ask, Work(1))
                await trio.sleep(0.5)
    pool.resize(2)
    await trio.sleep(10)
    await check_pool(runtime, pool, 2)


async def check_pool(runtime: Runtime, pool: PoolRef, size: int) -> None:
    """Assert that all members work side by side."""
    assert runtime.snapshot()[pool.path].pending == 0
    assert pool.load == 0
    before = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(size):
            nursery.start_soon(pool.ask, Work(1))
    assert trio.current_time() - before == 1
    await check_name(runtime, Plain)


# ---------------------------------------------------------------- what an actor owns


Doing = Callable[[Plain], Awaitable[Any]]


async def cut_a_handler(runtime: Runtime, cut: Cut, doing: Doing) -> None:
    """Cut an ask whose handler does something; then ask for the same again."""
    x = await runtime.spawn("x", Plain)
    with cut.here():
        await x.ask(Do(doing))
    await x.ask(Do(doing))
    assert await x.ask(Work()) == "done"
    assert runtime.snapshot()[x.path].incarnation == 1, "its caller alone is cancelled (R4)"


async def enter_async_context(runtime: Runtime, cut: Cut) -> None:
    async def doing(actor: Plain) -> None:
        await actor.enter_async_context(open_resource())

    await cut_a_handler(runtime, cut, doing)


async def spawn_owned(runtime: Runtime, cut: Cut) -> None:
    async def doing(actor: Plain) -> None:
        child = await actor.spawn("child", Owner)
        await child.ask(Work())
        await runtime.stop(child)

    await cut_a_handler(runtime, cut, partial(stop_before, runtime, doing))


async def spawn_pool_owned(runtime: Runtime, cut: Cut) -> None:
    async def doing(actor: Plain) -> None:
        child = await actor.spawn_pool("child", Hooked, size=2)
        await child.ask(Work())
        await runtime.stop(child)

    await cut_a_handler(runtime, cut, partial(stop_before, runtime, doing))


async def stop_before(runtime: Runtime, doing: Doing, actor: Plain) -> None:
    """Stop the child that the handler which was cut has left, if any, and start another one."""
    try:
        left = runtime.ref(f"{actor.ref.path}/child")
    except ChildNotFound:
        pass
    else:
        await runtime.stop(left)
    await doing(actor)


async def supervise_owned(runtime: Runtime, cut: Cut) -> None:
    numbers = iter("abc")

    async def doing(actor: Plain) -> None:
        below = await actor.supervise(next(numbers), strategy="one_for_all")
        child = await below.spawn("child", Hooked)
        await child.ask(Work())

    await cut_a_handler(runtime, cut, doing)


async def watch(runtime: Runtime, cut: Cut) -> None:
    other = await runtime.spawn("other", Hooked)

    async def doing(actor: Plain) -> None:
        one = await actor.watch(other, on=lambda _: Gone())
        await trio.lowlevel.checkpoint()
        one.cancel()

    await cut_a_handler(runtime, cut, doing)
    x = runtime.ref(f"{runtime.name}/x")
    await runtime.stop(x)
    assert not other._cell._watches, "the watch of a handler that was cut ends with its actor"


# ---------------------------------------------------------------- portals


async def portal_ask(runtime: Runtime, cut: Cut) -> None:
    """The call of another thread is given up at any step."""
    x = await runtime.spawn("x", Plain, capacity=1)
    portal = runtime.portal()
    futures = [portal.submit(x, Work(1)) for _ in range(3)]
    with cut.here():
        while not all(future.done() for future in futures):  # noqa: ASYNC110  # in virtual time
            await trio.sleep(0.1)
    for future in futures:
        future.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert x.load == 0
    assert await x.ask(Work()) == "done"


SCENARIOS = {
    function.__name__: function
    for function in (
        *(spawn, spawn_with_a_limit, spawn_that_times_out, spawn_pool, spawn_pool_without_hooks),
        *(restart_child, stop_child, stop, stop_with_a_limit, stop_pool, wait_stopped),
        *(ask_pool, tell_pool, resize_pool),
        *(enter_async_context, spawn_owned, spawn_pool_owned, supervise_owned, watch),
        portal_ask,
    )
}
for order in ("reverse", "together"):
    SCENARIOS[f"stop_supervisor, {order}"] = partial(stop_supervisor, stop_order=order)


LONG = {"resize_pool", "restart_child", "stop_supervisor, reverse"}  # whose steps are many


@pytest.mark.parametrize(
    ("name", "every"),
    [
        *((name, 5) for name in SCENARIOS if name not in LONG),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in SCENARIOS),
    ],
)
def test_a_caller_may_be_cancelled_at_each_step(name, every):
    assert cut_at_steps(SCENARIOS[name], every=every) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_runtime_may_be_cancelled_at_each_step(name):
    assert cut_at_steps(SCENARIOS[name], around_runtime=True) > 1
