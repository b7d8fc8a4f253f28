"""R15: async context managers that an actor owns."""

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Self

import attrs
import pytest
import trio
from recording_actors import NO_PAUSE, crashes_in
from sample_actors import Add, Counter, Fail, Work

from callsheet.runtime import (
    ActorCrashed,
    Message,
    RestartIntensityExceeded,
    RestartPolicy,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime, run_virtual

NO_LIMIT = RestartPolicy(max_restarts=1_000_000, base_s=0)


@attrs.frozen
class Enter(Message[str]):
    name: str


@attrs.define
class Client:
    """A context manager like an HTTP client: it keeps a list of what happens to it.

    Args:
        name: the name in the journal.
        journal: the list.
        open_s: seconds that opening takes.
        close_s: seconds that closing takes.
        fails: "open" or "close": where it raises.
    """

    name: str
    journal: list[str]
    open_s: float = 0.0
    close_s: float = 0.0
    fails: str = ""
    is_open: bool = False

    async def __aenter__(self) -> Self:
        await trio.sleep(self.open_s)
        if self.fails == "open":
            raise OSError(f"{self.name} does not open")
        self.journal.append(f"+{self.name}")
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False
        try:
            await trio.sleep(self.close_s)
        except trio.Cancelled:
            self.journal.append(f"cut {self.name}")
            raise
        self.journal.append(f"-{self.name}")
        if self.fails == "close":
            raise OSError(f"{self.name} does not close")


@asynccontextmanager
async def connection(journal: list[str], fails_after: float) -> AsyncGenerator[str]:
    """A context manager with a nursery of its own, whose task fails after some seconds."""

    async def keep_alive() -> None:
        await trio.sleep(fails_after)
        raise OSError("connection lost")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive)
        try:
            yield "connected"
        finally:
            journal.append("left")
            nursery.cancel_scope.cancel()


class Owner(Counter):
    """Enters contexts in `started` and in a handler.

    Args:
        journal: the list for the contexts and the hooks.
        contexts: the contexts of `started`.
    """

    def __init__(self, journal: list[str], *contexts) -> None:
        super().__init__()
        self.journal = journal
        self.contexts = contexts

    async def started(self) -> None:
        for context in self.contexts:
            self.last = await self.enter_async_context(context())

    async def stopped(self) -> None:
        self.journal.append("stopped")

    @handles(Enter)
    async def enter(self, message: Enter) -> str:
        client = await self.enter_async_context(Client(message.name, self.journal))
        return client.name

    @handles(Work)
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return message.name


def owner(journal, *names, **options):
    return partial(Owner, journal, *(partial(Client, name, journal, **options) for name in names))


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_contexts_are_left_in_reverse_order_after_the_stopped_hook(
    autojump_clock, concurrency
):
    """Trial 13: leaving one in `stopped` corrupted the stack of cancel scopes."""
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("a", owner(journal, "x", "y"), concurrency=concurrency)
        assert await ref.ask(Enter("z")) == "z"
        assert await ref.ask(Add(1)) == 1
        assert journal == ["+x", "+y", "+z"]
    assert journal == ["+x", "+y", "+z", "stopped", "-z", "-y", "-x"]


async def test_the_next_incarnation_opens_its_own(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", owner(journal, "x", "y"))
        with pytest.raises(ActorCrashed):
            await ref.ask(Fail(KeyError("bug")))
        assert await ref.ask(Add(1)) == 1
        assert journal == ["+x", "+y", "stopped", "-y", "-x", "+x", "+y"]


async def test_contexts_are_left_when_the_start_fails(autojump_clock):
    journal: list[str] = []
    contexts = [partial(Client, "x", journal), partial(Client, "y", journal, fails="open")]
    async with open_test_runtime() as runtime:
        with pytest.raises(OSError, match="y does not open"):
            await runtime.spawn("a", partial(Owner, journal, *contexts))
    assert journal == ["+x", "-x"]


async def test_contexts_are_left_when_the_block_raises(autojump_clock):
    journal: list[str] = []
    with pytest.raises(KeyError):
        async with open_test_runtime() as runtime:
            await runtime.spawn("a", owner(journal, "x", "y", close_s=1))
            raise KeyError("mine")
    assert journal == ["+x", "+y", "stopped", "-y", "-x"]


async def test_contexts_are_left_within_five_seconds_together(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("a", owner(journal, "x", "y", "z", close_s=3))
        begun = trio.current_time()
        await runtime.stop(ref)
        assert trio.current_time() == begun + 5
    assert journal[3:] == ["stopped", "-z", "cut y", "cut x"]


@pytest.mark.parametrize("stop_s", [0, 2, 4])
async def test_all_contexts_are_left_within_the_limit_of_the_stop(autojump_clock, stop_s):
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        factory = owner(journal, "x", "y", close_s=3)
        ref = await runtime.spawn("a", factory, stop_s=stop_s)
        begun = trio.current_time()
        await runtime.stop(ref)
        assert trio.current_time() == begun + stop_s
    assert (
        journal[2:]
        == {
            0: ["cut y", "cut x"],  # and no hook
            2: ["stopped", "cut y", "cut x"],
            4: ["stopped", "-y", "cut x"],
        }[stop_s]
    )


async def test_a_stop_shortens_the_closing_that_goes_on(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", owner(journal, "x", close_s=4), stop_s=1)
        await ref.tell(Fail(KeyError("bug")))
        await trio.sleep(1)
        begun = trio.current_time()
        await runtime.stop(ref)
        assert trio.current_time() == begun + 1
    assert journal == ["+x", "stopped", "cut x"]


async def test_the_error_of_entering_is_raised_where_it_was_entered(autojump_clock):
    class Careful(Counter):
        @handles(Work)
        async def work(self, message: Work) -> str:
            try:
                await self.enter_async_context(Client("x", [], fails="open"))
            except OSError as error:
                return str(error)
            return "open"

    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("a", Careful)
        assert await ref.ask(Work("a")) == "x does not open"
        assert await ref.ask(Add(1)) == 1


async def test_an_error_while_a_context_is_left_is_a_crash_and_the_others_are_left(
    autojump_clock, log
):
    journal: list[str] = []
    async with open_runtime("app") as runtime:
        await runtime.spawn("a", owner(journal, "x", "y", fails="close"))
    assert journal == ["+x", "+y", "stopped", "-y", "-x"]
    assert crashes_in(log) == [("app/a", "leave")]
    (crash,) = [one for one in log if one["event"] == "actor_crashed"]
    (later,) = [one for one in log if one["event"] == "close_failed"]
    assert (str(crash["error"]), str(later["error"])) == ("y does not close", "x does not close")


async def test_an_error_while_a_context_is_left_does_not_hide_the_crash(autojump_clock, log):
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", owner([], "x", fails="close"))
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Fail(KeyError("bug")))
        assert isinstance(caught.value.__cause__, KeyError)
        await ref.ask(Add(1))
        (crash,) = [one for one in log if one["event"] == "actor_crashed"]
        assert isinstance(crash["error"], KeyError)


async def test_a_context_that_fails_by_itself_crashes_the_actor_with_its_error(autojump_clock, log):
    journal: list[str] = []
    lost: list[str] = []
    contexts = [partial(Client, "x", journal), partial(connection, lost, 10)]
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", partial(Owner, journal, *contexts))
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Work("long", 100))
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup), "as the context raised it"
        assert str(group.exceptions[0]) == "connection lost"
        assert await ref.ask(Add(1)) == 1
        assert journal == ["+x", "stopped", "-x", "+x"]
    assert lost == ["left", "left"]


async def test_a_context_that_ends_early_without_an_error_is_a_crash_that_says_so(autojump_clock):
    @asynccontextmanager
    async def brief() -> AsyncGenerator[None]:
        with trio.move_on_after(1):
            yield

    class Trusting(Counter):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await self.enter_async_context(brief())
            await trio.sleep(message.seconds)
            return "done"

    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", Trusting)
        assert await ref.ask(Work("a", 0.5)) == "done"
        await trio.sleep(1)
        assert runtime.snapshot()["test/a"].incarnation == 2
        with pytest.raises(ActorCrashed, match=r"a context of test/a, ended by itself"):
            await ref.ask(Work("b", 5))


async def test_contexts_that_fail_over_and_over_escalate(autojump_clock):
    with pytest.raises(RestartIntensityExceeded):
        async with open_runtime(restarts=NO_PAUSE) as runtime:
            await runtime.spawn("a", partial(Owner, [], partial(connection, [], 0.1)))
            await trio.sleep_forever()


async def test_handlers_do_not_see_context_variables_that_a_context_sets(autojump_clock):
    variable = ContextVar("variable", default="before")

    @asynccontextmanager
    async def setting() -> AsyncGenerator[None]:
        variable.set("inside")
        yield

    class Reader(Counter):
        async def started(self) -> None:
            await self.enter_async_context(setting())

        @handles(Work)
        async def work(self, message: Work) -> str:
            return variable.get()

    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("a", Reader)
        assert await ref.ask(Work("a")) == "before"


@pytest.mark.parametrize("open_s", [0, 2])
async def test_a_caller_that_gives_up_closes_the_context_that_its_handler_enters(
    autojump_clock, open_s
):
    journal: list[str] = []

    class Slow(Counter):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await self.enter_async_context(Client("x", journal, open_s=open_s))
            return "entered"

    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("a", Slow)
        with trio.move_on_after(1) as wait:
            await ref.ask(Work("a"))
        assert wait.cancelled_caught == (open_s > 1)
        assert await ref.ask(Add(1)) == 1
        assert journal == ([] if open_s else ["+x"])
    assert journal == ([] if open_s else ["+x", "-x"])


async def test_nothing_is_entered_after_the_end(autojump_clock):
    owners: list[Owner] = []

    class Late(Owner):
        async def started(self) -> None:
            owners.append(self)
            await self.enter_async_context(self.leave_late())

        @asynccontextmanager
        async def leave_late(self) -> AsyncGenerator[None]:
            yield
            with pytest.raises(RuntimeError, match="has ended, so it can open nothing more"):
                await self.enter_async_context(Client("x", self.journal))

        async def stopped(self) -> None:
            await self.enter_async_context(Client("last", self.journal))

    journal: list[str] = []
    async with open_test_runtime() as runtime:
        await runtime.spawn("a", partial(Late, journal))
    assert journal == ["+last", "-last"]
    with pytest.raises(RuntimeError, match="is not running"):
        await owners[0].enter_async_context(Client("x", []))


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_cancelling_at_every_checkpoint_leaves_no_context_open(every):
    """The whole runtime is cancelled at the nth step of a program that opens and crashes."""

    async def scenario(step: int) -> bool:
        clients: list[Client] = []

        def client() -> Client:
            clients.append(Client("x", []))
            return clients[-1]

        class Program(Counter):
            async def started(self) -> None:
                await self.enter_async_context(client())

            @handles(Work)
            async def work(self, message: Work) -> str:
                await self.enter_async_context(client())
                await self.spawn(message.name, partial(Owner, [], client))
                return "done"

        count = 0

        class Cancel(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal count
                count += 1
                if count == step:
                    scope.cancel()

        instrument = Cancel()
        with trio.CancelScope() as scope:
            trio.lowlevel.add_instrument(instrument)
            try:
                async with open_test_runtime(restarts=NO_PAUSE) as runtime:
                    ref = await runtime.spawn("a", Program)
                    await ref.ask(Work("one"))
                    await ref.tell(Fail(KeyError("bug")))
                    await ref.ask(Work("two"))
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert not any(one.is_open for one in clients)
        return scope.cancel_called

    step = 1
    while run_virtual(scenario, step, seed=step):
        step += every
    assert step > 60, "the program has many steps"


@pytest.mark.slow
def test_memory_does_not_grow_over_restarts(log):
    async def count_objects() -> list[int]:
        found = []
        async with open_runtime(restarts=NO_LIMIT) as runtime:
            ref = await runtime.spawn("a", Program)
            for number in range(200):
                await ref.tell(Fail(KeyError("bug")))
                await ref.ask(Add(1))
                log.clear()
                await trio.sleep(10)  # Trio keeps a cancel scope until its deadline
                if number % 50 == 49:
                    gc.collect()
                    found.append(len(gc.get_objects()))
        return found

    class Program(Counter):
        async def started(self) -> None:
            self.nursery.start_soon(trio.sleep_forever)
            await self.enter_async_context(Client("x", []))
            await self.spawn("child", Counter)

    first, *_, last = run_virtual(count_objects)
    assert last < first + 150
