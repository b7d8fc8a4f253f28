"""A cut at any step of the scheduler, and actors to cut off, for the tests of cancellation."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import final

import attrs
import trio

from callsheet.runtime import Actor, Message, Runtime, RuntimeSnapshot, handles
from callsheet.runtime.testing import check_conservation, open_test_runtime, run_virtual

LIMIT_S = 1000.0  # nothing here takes as long unless it hangs


@final
class Cut(trio.abc.Instrument):
    """Cancels a block at the nth step of the scheduler, whichever task it is that steps.

    Args:
        at: number of the step within the block, from 1.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.is_done = False  # whether it has cut
        self.scope: trio.CancelScope | None = None
        self.snapshot: Callable[[], RuntimeSnapshot] | None = None
        self.findings: list[AssertionError] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.snapshot is not None:
            try:
                check_conservation(self.snapshot())
            except AssertionError as error:
                self.findings.append(error)
        if self.scope is not None:
            self.steps += 1
            if self.steps == self.at:
                self.is_done = True
                self.scope.cancel()

    @contextmanager
    def here(self) -> Generator[None]:
        """Cut somewhere in this block."""
        with trio.CancelScope() as scope:
            self.scope = scope
            try:
                yield
            finally:
                self.scope = None


Scenario = Callable[[Runtime, Cut], Awaitable[None]]


def cut_at_steps(scenario: Scenario, *, every: int = 1, around_runtime: bool = False) -> int:
    """Run a scenario with a cut at its steps until one is too late; return the number of steps.

    Args:
        scenario: has a block to cut, and checks what must hold after it, cut or not.
        every: cut at the first step, at each so many steps after it, and at the last one.
        around_runtime: cut the runtime's whole block instead of that in the scenario.
    """
    at = 1
    run = partial(_run_once, around_runtime=around_runtime)
    while run_virtual(run, scenario, at, seed=at):
        at += every
    last = at - 1
    while last > at - every and not run_virtual(run, scenario, last, seed=last):
        last -= 1
    return last


async def _run_once(scenario: Scenario, at: int, *, around_runtime: bool) -> bool:
    before = trio.lowlevel.current_statistics().tasks_living
    Resource.opened = 0
    cut = Cut(at)
    trio.lowlevel.add_instrument(cut)
    try:
        with trio.fail_after(LIMIT_S), cut.here() if around_runtime else trio.CancelScope():
            async with open_test_runtime(drain_s=LIMIT_S) as runtime:
                cut.snapshot = runtime.snapshot
                await scenario(runtime, Cut(0) if around_runtime else cut)
                if not around_runtime:
                    await check_that_it_works(runtime)
    except BaseException as error:
        error.add_note(f"with a cut at step {at}")
        raise
    finally:
        trio.lowlevel.remove_instrument(cut)
    assert cut.findings == [], f"R9, with a cut at step {at}"
    assert trio.lowlevel.current_statistics().tasks_living == before, f"a task is left, cut at {at}"
    assert Resource.opened == 0, f"a context is left open, with a cut at step {at}"
    return cut.is_done


async def check_that_it_works(runtime: Runtime) -> None:
    """Assert that nothing waits or runs any more, and that actors start and reply."""
    for actor in runtime.snapshot().actors:
        assert actor.pending == 0, actor
    after = await runtime.spawn("after", Plain)
    assert await after.ask(Work()) == "done"


# ---------------------------------------------------------------- actors


@attrs.frozen
class Work(Message[str]):
    """Takes some seconds."""

    seconds: float = 0.0


@attrs.frozen
class Do(Message[object]):
    """Makes the actor do something with what it owns."""

    what: Callable[["Plain"], Awaitable[object]]


@attrs.frozen
class Gone(Message[None]):
    """Is delivered by a watch."""


class Plain(Actor):
    """Has no hooks."""

    @handles(Work)
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return "done"

    @handles(Do)
    async def do(self, message: Do) -> object:
        return await message.what(self)

    @handles(Gone)
    async def gone(self, message: Gone) -> None:
        pass


class Hooked(Plain):
    """Waits in each hook, and owns a context."""

    async def started(self) -> None:
        await self.enter_async_context(open_resource())
        await trio.sleep(1)

    async def draining(self) -> None:
        await trio.lowlevel.checkpoint()

    async def stopped(self) -> None:
        await trio.sleep(1)


class Owner(Hooked):
    """Owns a child and a pool as well."""

    async def started(self) -> None:
        await super().started()
        await self.spawn("child", Hooked)
        await self.spawn_pool("pool", Plain, size=2)


@final
class Resource:
    """Counts the contexts that are open."""

    opened = 0


@asynccontextmanager
async def open_resource() -> AsyncGenerator[Resource]:
    """A context that waits when it is entered and when it is left."""
    await trio.lowlevel.checkpoint()
    Resource.opened += 1
    try:
        await trio.lowlevel.checkpoint()
        yield Resource()
        await trio.lowlevel.checkpoint()
    finally:
        Resource.opened -= 1
