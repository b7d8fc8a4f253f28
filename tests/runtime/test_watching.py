"""Watching an actor until it stops, why it has stopped, and finding it by its path."""

import gc
import weakref
from collections.abc import Callable
from functools import partial

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    ChildNotFound,
    Ended,
    Message,
    Ref,
    RestartIntensityExceeded,
    RestartPolicy,
    Watch,
    handles,
    open_runtime,
)

NEVER = RestartPolicy(max_restarts=0)


@attrs.frozen
class Gone(Message[None]):
    path: str
    reason: str
    error: Exception | None


@attrs.frozen
class WatchOther(Message[Watch]):
    ref: Ref
    on: Callable[[Ended], Message[object]]


@attrs.frozen
class Fail(Message[None]):
    pass


@attrs.frozen
class Unknown(Message[None]):
    pass


class Watcher(Actor):
    def __init__(self, seen: list[tuple[float, Gone]]) -> None:
        self.seen = seen

    @handles(WatchOther)
    async def watch_other(self, message: WatchOther) -> Watch:
        return await self.watch(message.ref, on=message.on)

    @handles(Gone)
    async def gone(self, message: Gone) -> None:
        self.seen.append((trio.current_time(), message))


class Frail(Actor):
    @handles(Fail)
    async def fail(self, message: Fail) -> None:
        raise KeyError("bug")


def as_message(ended: Ended) -> Gone:
    return Gone(ended.path, ended.reason, ended.error)


async def spawn_watcher(runtime, **settings):
    seen: list[tuple[float, Gone]] = []
    return await runtime.spawn("watcher", partial(Watcher, seen), **settings), seen


async def test_a_watcher_gets_its_message_at_the_end_but_not_at_a_restart(autojump_clock):
    async with open_runtime("app") as runtime:
        frail = await runtime.spawn("frail", Frail)
        watcher, seen = await spawn_watcher(runtime, capacity=1)
        await watcher.ask(WatchOther(frail, as_message))
        await frail.tell(Fail())
        await trio.sleep(10)
        assert seen == []
        await runtime.stop(frail)
        await wait_all_tasks_blocked()
        assert seen == [(10, Gone("app/frail", "stopped", None))]
        await watcher.ask(WatchOther(frail, as_message))
        await wait_all_tasks_blocked()
        assert len(seen) == 2, "it had stopped already"


@pytest.mark.parametrize("restart", ["temporary", "transient"])
async def test_a_crash_that_leads_to_no_restart_is_the_reason(autojump_clock, restart):
    async with open_runtime("app") as runtime:
        pond = await runtime.supervise("pond", restarts=NEVER, restart="temporary")
        frail = await pond.spawn("frail", Frail, restart=restart)
        watcher, seen = await spawn_watcher(runtime)
        await watcher.ask(WatchOther(frail, as_message))
        await frail.tell(Fail())
        await trio.sleep(1)
        ((_, gone),) = seen
        if restart == "temporary":
            assert (gone.reason, type(gone.error)) == ("crashed", KeyError)
        else:
            assert (gone.reason, type(gone.error)) == ("gave up", RestartIntensityExceeded)
        assert await frail.wait_stopped() == Ended("app/pond/frail", gone.reason, gone.error)


async def test_a_watch_of_a_sibling_of_the_child_that_crashed_too_often_gives_up(autojump_clock):
    async with open_runtime("app") as runtime:
        pond = await runtime.supervise("pond", restarts=NEVER, restart="temporary")
        frail = await pond.spawn("frail", Frail)
        other = await pond.spawn("other", Frail)
        watcher, seen = await spawn_watcher(runtime)
        await watcher.ask(WatchOther(other, as_message))
        await frail.tell(Fail())
        await trio.sleep(1)
        assert [gone.reason for _, gone in seen] == ["gave up"]


async def test_a_watch_that_is_cancelled_delivers_nothing_and_leaves_nothing(autojump_clock):
    async with open_runtime() as runtime:
        other = await runtime.spawn("other", Frail)
        watcher, seen = await spawn_watcher(runtime)
        watch = await watcher.ask(WatchOther(other, as_message))
        watch.cancel()
        watch.cancel()
        assert not other._cell._watches
        await runtime.stop(other)
        await trio.sleep(1)
        assert seen == []
        watch.cancel()


@pytest.mark.slow
async def test_watchers_that_have_stopped_are_not_called_and_not_kept(autojump_clock):
    alive: list[weakref.ref[Watcher]] = []

    class Kept(Watcher):
        def __init__(self) -> None:
            super().__init__([])
            alive.append(weakref.ref(self))

    async with open_runtime() as runtime:
        other = await runtime.spawn("other", Frail)
        for number in range(300):
            watcher = await runtime.spawn(f"watcher-{number}", Kept, restart="temporary")
            await watcher.ask(WatchOther(other, as_message))
            await runtime.stop(watcher)
        del watcher
        gc.collect()
        assert not other._cell._watches
        assert [ref for ref in alive if ref() is not None] == []


async def test_a_function_of_a_watch_that_fails_harms_no_other_actor(autojump_clock, caplog):
    def fail(ended: Ended) -> Message[object]:
        raise ValueError("a bug of the watcher")

    async with open_runtime() as runtime:
        other = await runtime.spawn("other", Frail)
        watcher, seen = await spawn_watcher(runtime)
        await watcher.ask(WatchOther(other, fail))
        await watcher.ask(WatchOther(other, lambda _: Unknown()))
        await watcher.ask(WatchOther(other, as_message))
        await runtime.stop(other)
        await trio.sleep(1)
        assert [gone.reason for _, gone in seen] == ["stopped"]
        assert runtime.snapshot()[watcher.path].incarnation == 1


async def test_a_child_that_is_started_again_is_watched_again(autojump_clock):
    async with open_runtime("app") as runtime:
        other = await runtime.spawn("other", Frail)
        watcher, seen = await spawn_watcher(runtime)
        for count in (1, 2):
            await watcher.ask(WatchOther(other, as_message))
            await runtime.root.stop_child("other")
            await wait_all_tasks_blocked()
            assert len(seen) == count
            await runtime.root.restart_child("other")


async def test_a_watch_set_in_started_tells_of_an_actor_that_had_stopped(autojump_clock):
    async with open_runtime("app") as runtime:
        other = await runtime.spawn("other", Frail)
        await runtime.root.stop_child("other")
        seen: list[tuple[float, Gone]] = []

        class Boss(Watcher):
            async def started(self) -> None:
                self.watching = await self.watch(other, on=as_message)

        await runtime.spawn("boss", partial(Boss, seen))
        await wait_all_tasks_blocked()
        assert [gone.path for _, gone in seen] == ["app/other"]


async def test_a_restarted_watcher_hears_only_what_its_new_incarnation_watches(autojump_clock):
    """R15: a watch belongs to one incarnation."""
    async with open_runtime() as runtime:
        other = await runtime.spawn("other", Frail)
        seen: list[tuple[float, Gone]] = []

        class Boss(Watcher):
            async def started(self) -> None:
                await self.watch(other, on=as_message)

            @handles(Fail)
            async def fail(self, message: Fail) -> None:
                raise KeyError("bug")

        boss = await runtime.spawn("boss", partial(Boss, seen))
        for _ in range(3):
            await boss.tell(Fail())
            await trio.sleep(40)
        assert len(other._cell._watches) == 1
        await runtime.stop(other)
        await trio.sleep(1)
        assert len(seen) == 1


# ---------------------------------------------------------------- finding


async def test_a_ref_is_found_by_its_path():
    async with open_runtime("app") as runtime:
        branch = await runtime.supervise("branch")
        leaf = await branch.spawn("leaf", Frail)
        assert runtime.ref("app/branch/leaf") == leaf
        await branch.stop_child("leaf")
        assert runtime.ref("app/branch/leaf") == leaf, "a stopped child has its place"
        branch.remove_child("leaf")
        with pytest.raises(ChildNotFound, match="no child 'leaf'; below it: nothing"):
            runtime.ref("app/branch/leaf")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", "paths start with 'app'"),
        ("other/leaf", "paths start with 'app'"),
        ("app", "app is a supervisor, which handles no messages; below it: leaf, branch"),
        ("app/branch", "app/branch is a supervisor"),
        ("app/twig", "app has no child 'twig'; below it: leaf, branch"),
        ("app/leaf/vein", "app/leaf has no child 'vein'; below it: nothing"),
        ("app//leaf", "app has no child ''"),
    ],
)
async def test_a_path_without_an_actor_is_refused_with_what_there_is(path, error):
    async with open_runtime("app") as runtime:
        await runtime.spawn("leaf", Frail)
        await runtime.supervise("branch")
        with pytest.raises(ChildNotFound, match=error):
            runtime.ref(path)
