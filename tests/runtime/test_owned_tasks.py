"""R15: background tasks that an actor owns, and errors at the clean-up of handlers (R8, R16)."""

from functools import partial

import attrs
import pytest
import trio
from recording_actors import NO_PAUSE, CrashRecorder, crashes_in
from sample_actors import Add, Counter, Fail, Work

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    Message,
    RestartIntensityExceeded,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import open_test_runtime


class Refresher(Counter):
    """Has a background task that ends as it is told to.

    Args:
        journal: gets what the task and the hooks do.
        error: what the task raises in the first incarnation, after a second.
    """

    def __init__(self, journal: list[str], error: Exception | None = None) -> None:
        super().__init__()
        self.journal = journal
        self.error = error

    async def started(self) -> None:
        self.journal.append("+")
        self.nursery.start_soon(self.refresh)

    async def refresh(self) -> None:
        try:
            await trio.sleep(1)
            if self.error is not None:
                raise self.error
            await trio.sleep_forever()
        except trio.Cancelled:
            self.journal.append("cancelled")
            raise

    async def stopped(self) -> None:
        self.journal.append("stopped")

    @handles(Work)
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return message.name


def once(journal, error):
    """Return a factory whose first actor only gets an error."""
    errors = [error]
    return lambda: Refresher(journal, errors.pop() if errors else None)


async def test_background_tasks_run_until_the_stopped_hook_has_returned(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        await runtime.spawn("a", partial(Refresher, journal))
        await trio.sleep(5)
        assert journal == ["+"]
    assert journal == ["+", "stopped", "cancelled"]
    assert runtime.shutdown_report is not None
    assert runtime.shutdown_report.seconds == 0, "a drain does not wait for background tasks"


async def test_a_background_task_that_fails_crashes_the_actor_with_its_own_exception(
    autojump_clock,
):
    journal: list[str] = []
    crashes = CrashRecorder()
    error = OSError("no route")
    async with open_test_runtime(restarts=NO_PAUSE, instruments=[crashes]) as runtime:
        ref = await runtime.spawn("a", once(journal, error))
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Work("long", 100))
        assert caught.value.__cause__ is error
        await trio.sleep(0.01)
        assert [crash.error for crash in crashes.seen] == [error]
        assert await ref.ask(Add(1)) == 1
        assert runtime.snapshot()["test/a"].incarnation == 2
        assert journal == ["+", "stopped", "+"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_message_in_progress_is_delivered_again_when_a_background_task_fails(
    autojump_clock, concurrency
):
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        factory = once([], OSError("no route"))
        ref = await runtime.spawn("a", factory, redeliver=1, concurrency=concurrency)
        assert await ref.ask(Work("long", 3)) == "long"
        assert runtime.snapshot()["test/a"].incarnation == 2


async def test_a_background_task_that_fails_during_the_start_is_a_failed_start(autojump_clock):
    class Slow(Counter):
        async def started(self) -> None:
            self.nursery.start_soon(self.crash)
            await trio.sleep(10)

        async def crash(self) -> None:
            raise OSError("at the start")

    async with open_test_runtime() as runtime:
        with pytest.raises(OSError, match="at the start"):
            await runtime.spawn("a", Slow)
        await runtime.spawn("a", Counter)


async def test_a_task_that_a_handler_starts_lives_on_after_its_message(autojump_clock):
    seen: list[int] = []

    class Later(Actor):
        @handles(Add)
        async def add(self, message: Add) -> int:
            self.nursery.start_soon(self.later, message.by)
            return 0

        async def later(self, by: int) -> None:
            await trio.sleep(by)
            seen.append(by)

    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("later", Later)
        for by in (1, 2, 100):
            await ref.ask(Add(by))
        await trio.sleep(5)
        assert seen == [1, 2]
    assert seen == [1, 2]


async def test_cancelling_the_whole_nursery_is_a_crash_that_says_so(autojump_clock):
    class Confused(Counter):
        @handles(Work)
        async def work(self, message: Work) -> str:
            self.nursery.cancel_scope.cancel()
            await trio.sleep(1)
            return "not reached"

    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", Confused)
        with pytest.raises(ActorCrashed, match="nursery of test/a was cancelled"):
            await ref.ask(Work("a"))
        assert await ref.ask(Add(1)) == 1


async def test_errors_at_the_clean_up_of_background_tasks_are_a_crash_of_the_incarnation(
    autojump_clock, log
):
    class Untidy(Counter):
        async def started(self) -> None:
            self.nursery.start_soon(self.background)

        async def background(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("untidy")

    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("a", Untidy)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Fail(KeyError("first")))
        assert isinstance(caught.value.__cause__, KeyError), "the first error is the cause"
        await trio.sleep(0.01)
        assert crashes_in(log) == [("app/a", "restart")]
    assert crashes_in(log) == [("app/a", "restart"), ("app/a", "leave")]
    hidden = [one for one in log if one["event"] == "close_failed"]
    assert [type(one["error"]) for one in hidden] == [ValueError]


async def test_the_nursery_is_only_for_hooks_and_handlers(autojump_clock):
    actors: list[Counter] = []

    def make() -> Counter:
        actors.append(Counter())
        return actors[-1]

    async with open_test_runtime() as runtime:
        ref = await runtime.spawn("a", make)
        with pytest.raises(RuntimeError, match="has no task yet"):
            _ = actors[0].nursery
        assert await ref.ask(Add(1)) == 1
    with pytest.raises(RuntimeError, match="is not running"):
        _ = actors[0].nursery


# ---------------------------------------------------------------- errors at clean-up


@attrs.frozen
class Untidy(Message[None]):
    """Is handled in a nursery with a task whose clean-up raises."""


class Messy(Counter):
    @handles(Untidy)
    async def untidy(self, message: Untidy) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.task)

    async def task(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("untidy")


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_what_a_handlers_nursery_raises_when_the_drain_runs_out_is_a_crash(
    autojump_clock, log, concurrency
):
    """Trial 7: it came out of `open_runtime`, and there was no crash event."""
    crashes = CrashRecorder()
    async with open_runtime("app", drain_s=1, instruments=[crashes]) as runtime:
        ref = await runtime.spawn("messy", Messy, concurrency=concurrency)
        await ref.tell(Untidy())
        await trio.sleep(1)
    (crash,) = crashes.seen
    assert isinstance(crash.error, ExceptionGroup)
    assert [type(error) for error in crash.error.exceptions] == [ValueError]
    assert crashes_in(log) == [("app/messy", "leave")]


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_the_error_of_the_block_is_not_wrapped_by_what_a_handler_raises(
    autojump_clock, log, concurrency
):
    """Trial 7: `except KeyError` around the runtime missed it."""
    with pytest.raises(KeyError, match="mine"):
        async with open_runtime("app") as runtime:
            ref = await runtime.spawn("messy", Messy, concurrency=concurrency)
            await ref.tell(Untidy())
            await trio.sleep(1)
            raise KeyError("mine")
    assert crashes_in(log) == [("app/messy", "leave")]


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_what_a_handler_raises_when_its_caller_gives_up_is_a_crash(
    autojump_clock, concurrency
):
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("messy", Messy, concurrency=concurrency)
        with trio.move_on_after(1):
            await ref.ask(Untidy())
        await trio.sleep(1)
        assert runtime.snapshot()["test/messy"].incarnation == 2
        assert await ref.ask(Add(1)) == 1


async def test_what_the_stopped_hook_raises_is_a_crash(autojump_clock, log):
    class BadEnd(Counter):
        async def stopped(self) -> None:
            raise ValueError("at the end")

    with pytest.raises(KeyError, match="mine"):
        async with open_runtime("app") as runtime:
            await runtime.spawn("a", BadEnd)
            raise KeyError("mine")
    assert crashes_in(log) == [("app/a", "leave")]


async def test_background_tasks_that_crash_over_and_over_escalate(autojump_clock, log):
    class Hopeless(Counter):
        async def started(self) -> None:
            self.nursery.start_soon(self.crash)

        async def crash(self) -> None:
            await trio.sleep(0.1)
            raise OSError("again")

    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NO_PAUSE) as runtime:
            await runtime.spawn("a", Hopeless)
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, OSError)
    assert [decision for _, decision in crashes_in(log)] == ["restart"] * 5 + ["fail upward"]
