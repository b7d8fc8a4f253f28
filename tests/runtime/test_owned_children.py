"""R15: children that one incarnation of an actor owns."""

from functools import partial

import attrs
import pytest
import trio
from recording_actors import NO_PAUSE, NO_RESTARTS, Recorder, crashes_in
from sample_actors import Add, Counter, Fail, Unknown, Work

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AlreadyRunning,
    Deadlock,
    Message,
    Ref,
    RestartIntensityExceeded,
    State,
    format_tree,
    handles,
    open_runtime,
)
from callsheet.runtime.testing import check_conservation, open_test_runtime


@attrs.frozen
class Children(Message[tuple[Ref, ...]]):
    """Asks for the refs to the children."""


@attrs.frozen
class Spawn(Message[Ref]):
    """Starts another child."""

    name: str
    restart: str = "permanent"


class Context:
    """A context manager that writes to a journal."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name = name
        self.journal = journal

    async def __aenter__(self) -> None:
        self.journal.append(f"+{self.name}")

    async def __aexit__(self, *_: object) -> None:
        self.journal.append(f"-{self.name}")


class Owner(Recorder):
    """Opens children (lower case) and contexts (upper case) in `started`."""

    def __init__(self, journal: list[str], opens: str = "ab", **settings) -> None:
        super().__init__("0", journal)
        self.opens = opens
        self.settings = settings
        self.children: list[Ref] = []

    async def started(self) -> None:
        await super().started()
        for name in self.opens:
            if name.isupper():
                await self.enter_async_context(Context(name, self.journal))
            else:
                await self.open(name, **self.settings)

    async def open(self, name: str, **settings) -> Ref:
        ref = await self.spawn(name, partial(Recorder, name, self.journal), **settings)
        self.children.append(ref)
        return ref

    @handles(Children)
    async def list_children(self, message: Children) -> tuple[Ref, ...]:
        return tuple(self.children)

    @handles(Spawn, raises=(AlreadyRunning,))
    async def another(self, message: Spawn) -> Ref:
        return await self.open(message.name, restart=message.restart)


async def test_children_are_below_the_actor_and_end_with_it_in_reverse(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime("app") as runtime:
        owner = await runtime.spawn("crawler", partial(Owner, journal))
        a, b = await owner.ask(Children())
        assert [a.path, b.path] == ["app/crawler/a", "app/crawler/b"]
        assert await a.ask(Add(1)) == 1
    assert "".join(journal) == "+0+a+b-0-b-a"


async def test_children_and_contexts_are_closed_in_one_reverse_order(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        owner = await runtime.spawn("owner", partial(Owner, journal, "AbCdE"))
        await owner.ask(Spawn("f"))
    assert "".join(journal) == "+0+A+b+C+d+E+f-0-f-E-d-C-b-A"


@pytest.mark.parametrize("how", ["crash", "cancel"])
async def test_the_order_of_closing_is_kept_after_a_crash_and_a_cancellation(autojump_clock, how):
    journal: list[str] = []
    with trio.move_on_after(5):
        async with open_test_runtime(restarts=NO_PAUSE) as runtime:
            owner = await runtime.spawn("owner", partial(Owner, journal, "AbC"))
            journal.clear()
            if how == "crash":
                await owner.tell(Fail(KeyError("bug")))
                await trio.sleep(1)
                assert "".join(journal) == "-0-C-b-A+0+A+b+C"
                journal.clear()
            await trio.sleep_forever()
    assert "".join(journal) == "-0-C-b-A"


async def test_the_names_are_free_again_after_a_restart_of_the_owner(autojump_clock):
    """Trial 13: an actor that spawned a child in `started` crashed on `AlreadyRunning`."""
    journal: list[str] = []
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        owner = await runtime.spawn("owner", partial(Owner, journal))
        before, _ = await owner.ask(Children())
        with pytest.raises(ActorCrashed):
            await owner.ask(Fail(KeyError("bug")))
        after, _ = await owner.ask(Children())
        assert "".join(journal) == "+0+a+b-0-b-a+0+a+b"
        assert before.path == after.path
        assert before != after
        with pytest.raises(ActorStopped):
            await before.ask(Add(1))
        assert await after.ask(Add(1)) == 1


async def test_a_child_that_crashes_is_restarted_alone(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        owner = await runtime.spawn("owner", partial(Owner, journal))
        a, b = await owner.ask(Children())
        await b.ask(Add(5))
        with pytest.raises(ActorCrashed):
            await a.ask(Fail(KeyError("bug")))
        assert await a.ask(Add(1)) == 1
        assert await b.ask(Add(1)) == 6
        assert "".join(journal) == "+0+a+b-a+a"


async def test_children_that_crash_too_often_crash_their_owner(autojump_clock, log):
    journal: list[str] = []
    async with open_runtime("app", restarts=NO_PAUSE) as runtime:
        owner = await runtime.spawn("owner", partial(Owner, journal))
        a, _ = await owner.ask(Children())
        for _ in range(6):
            with pytest.raises(ActorCrashed):
                await a.ask(Fail(KeyError("bug")))
        await trio.sleep(1)
        again, _ = await owner.ask(Children())
        assert again != a
        assert await again.ask(Add(1)) == 1
    crashes = [one for one in log if one["event"] == "actor_crashed"]
    assert [one["decision"] for one in crashes] == ["restart"] * 5 + ["fail upward", "restart"]
    assert crashes[-1]["actor"] == "app/owner"
    assert isinstance(crashes[-1]["error"], RestartIntensityExceeded)
    assert "app/owner allows 5 restarts" in str(crashes[-1]["error"])


async def test_crash_loops_of_children_reach_the_root_through_their_owners(autojump_clock):
    class Hopeless(Counter):
        async def started(self) -> None:
            self.nursery.start_soon(self.crash)

        async def crash(self) -> None:
            await trio.sleep(0.01)
            raise OSError("again")

    class Parent(Counter):
        async def started(self) -> None:
            await self.spawn("hopeless", Hopeless)

    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NO_PAUSE) as runtime:
            await runtime.spawn("parent", Parent)
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, RestartIntensityExceeded)
    assert isinstance(caught.value.__cause__.__cause__, OSError)


async def test_a_drain_drains_the_actor_and_then_its_children(autojump_clock):
    class Boss(Owner):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(message.seconds)
            return await self.children[0].ask(message)

    async with open_test_runtime() as runtime:
        owner = await runtime.spawn("owner", partial(Boss, []))
        a, b = await owner.ask(Children())
        replies = [await owner.submit(Work("one", 1)), await owner.submit(Work("two", 1))]
        replies += [await a.submit(Work("three", 1)), await b.submit(Work("four", 1))]
    assert [reply.result() for reply in replies] == [
        "one by a",
        "two by a",
        "three by a",
        "four by b",
    ]
    report = runtime.shutdown_report
    assert report is not None
    assert report.is_clean
    assert [stop.path for stop in report.stops] == ["test/owner", "test/owner/b", "test/owner/a"]
    assert [stop.drained for stop in report.stops] == [2, 1, 3]


async def test_messages_that_children_lose_are_in_the_report(autojump_clock):
    async with open_test_runtime(drain_s=2) as runtime:
        owner = await runtime.spawn("owner", partial(Owner, []))
        a, _ = await owner.ask(Children())
        for _ in range(5):
            await a.tell(Work("long", 1.5))
        plan = runtime.shutdown_plan()
        assert [stop.path for stop in plan.stops] == ["test/owner", "test/owner/b", "test/owner/a"]
        await trio.sleep(0.1)
    report = runtime.shutdown_report
    assert report is not None
    assert [(stop.path, stop.drained, stop.lost) for stop in report.stops] == [
        ("test/owner", 0, 0),
        ("test/owner/b", 0, 0),
        ("test/owner/a", 1, 4),
    ]
    assert report.seconds == 2


async def test_after_a_crash_children_finish_what_is_in_progress_and_no_more(autojump_clock):
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        owner = await runtime.spawn("owner", partial(Owner, []))
        a, _ = await owner.ask(Children())
        first, second = await a.submit(Work("one", 2)), await a.submit(Work("two", 2))
        await trio.sleep(1)
        begun = trio.current_time()
        with pytest.raises(ActorCrashed):
            await owner.ask(Fail(KeyError("bug")))
        await owner.ask(Children())
        assert trio.current_time() == begun + 1
        assert first.result() == "one by a"
        with pytest.raises(ActorStopped, match="not started"):
            second.result()


async def test_a_child_that_does_not_end_delays_the_next_incarnation_by_five_seconds(
    autojump_clock,
):
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        owner = await runtime.spawn("owner", partial(Owner, []))
        a, b = await owner.ask(Children())
        lost = [await a.submit(Work("one", 100)), await b.submit(Work("two", 100))]
        await trio.sleep(1)
        begun = trio.current_time()
        with pytest.raises(ActorCrashed):
            await owner.ask(Fail(KeyError("bug")))
        await owner.ask(Children())
        assert trio.current_time() == begun + 5
        for slot in lost:
            with pytest.raises(ActorStopped, match="may have run"):
                slot.result()


async def test_snapshots_show_the_children(autojump_clock):
    async with open_test_runtime("app") as runtime:
        owner = await runtime.spawn("owner", partial(Owner, []))
        await owner.ask(Children())
        snapshot = runtime.snapshot()
        assert [one.path for one in snapshot.actors] == ["app/owner", "app/owner/a", "app/owner/b"]
        assert [one.path for one in snapshot["app/owner"].children] == [
            "app/owner/a",
            "app/owner/b",
        ]
        assert snapshot["app/owner/b"].state is State.RUNNING
        assert format_tree(snapshot).splitlines()[1:] == [
            "└── owner  running, idle, 1 handled",
            "    ├── a  running, idle",
            "    └── b  running, idle",
        ]
    snapshot = runtime.snapshot()
    assert {one.state for one in snapshot.actors} == {State.STOPPED}
    check_conservation(snapshot)


async def test_a_child_may_end_and_be_stopped_before_its_owner(autojump_clock):
    journal: list[str] = []
    async with open_test_runtime() as runtime:
        owner = await runtime.spawn("owner", partial(Owner, journal))
        a, _ = await owner.ask(Children())
        with pytest.raises(AlreadyRunning):
            await owner.ask(Spawn("a"))
        await runtime.stop(a)
        await owner.ask(Spawn("a"))
        brief = await owner.ask(Spawn("c", restart="temporary"))
        with pytest.raises(ActorCrashed):
            await brief.ask(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert [one.path for one in runtime.snapshot()["test/owner"].children] == [
            "test/owner/b",
            "test/owner/a",
        ]
    assert "".join(journal) == "+0+a+b-a+a+c-c-0-a-b"


async def test_an_owned_supervisor_has_its_own_strategy_and_children(autojump_clock, log):
    journal: list[str] = []

    class Manager(Owner):
        async def started(self) -> None:
            await super().started()
            team = await self.supervise("team", strategy="one_for_all", restarts=NO_PAUSE)
            for name in "xy":
                ref = await team.spawn(name, partial(Recorder, name, self.journal))
                self.children.append(ref)

    async with open_test_runtime() as runtime:
        owner = await runtime.spawn("owner", partial(Manager, journal, "a"))
        _, x, _ = await owner.ask(Children())
        assert x.path == "test/owner/team/x"
        await x.tell(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert "".join(journal) == "+0+a+x+y-x-y+x+y"
        journal.clear()
    assert "".join(journal) == "-0-y-x-a"


async def test_children_may_own_children(autojump_clock):
    class Nested(Counter):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.depth = depth

        async def started(self) -> None:
            if self.depth:
                self.below = await self.spawn("below", partial(Nested, self.depth - 1))

        @handles(Work)
        async def work(self, message: Work) -> str:
            return await self.below.ask(message) if self.depth else message.name

    async with open_test_runtime("app") as runtime:
        ref = await runtime.spawn("top", partial(Nested, 3))
        assert await ref.ask(Work("deep")) == "deep"
        assert "app/top/below/below/below" in [one.path for one in runtime.snapshot().actors]
    assert runtime.shutdown_report is not None
    assert len(runtime.shutdown_report.stops) == 4


async def test_deadlocks_with_children_are_found(autojump_clock):
    class Child(Actor):
        def __init__(self, owner: Ref) -> None:
            self.owner = owner

        @handles(Work)
        async def work(self, message: Work) -> str:
            return await self.owner.ask(message)

    class Parent(Counter):
        async def started(self) -> None:
            self.child = await self.spawn("child", partial(Child, self.ref))

        @handles(Work)
        async def work(self, message: Work) -> str:
            return await self.child.ask(message)

    async with open_test_runtime("app", restarts=NO_PAUSE) as runtime:
        ref = await runtime.spawn("parent", Parent)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Work("a"))
        error = caught.value
        while not isinstance(error, Deadlock):
            error = error.__cause__
        assert set(error.cycle) == {"app/parent", "app/parent/child"}


async def test_a_start_that_fails_ends_the_children_that_it_had_started(autojump_clock):
    journal: list[str] = []

    class Half(Owner):
        async def started(self) -> None:
            await super().started()
            raise OSError("half way")

    async with open_test_runtime() as runtime:
        with pytest.raises(OSError, match="half way"):
            await runtime.spawn("owner", partial(Half, journal))
        assert "".join(journal) == "+0+a+b-b-a"
        await runtime.spawn("owner", partial(Owner, journal))


async def test_wrong_uses_are_errors_at_the_caller(autojump_clock):
    class Wrong(Owner):
        @handles(Unknown)
        async def wrong(self, message: Unknown) -> None:
            with pytest.raises(ValueError, match="capacity"):
                await self.spawn("c", Counter, capacity=0)
            with pytest.raises(ZeroDivisionError):
                await self.spawn("c", lambda: 1 / 0)
            with pytest.raises(ValueError, match="strategy"):
                await self.supervise("c", strategy="none")
            await self.spawn("c", Counter)

    async with open_test_runtime(restarts=NO_RESTARTS) as runtime:
        ref = await runtime.spawn("owner", partial(Wrong, []))
        await ref.ask(Unknown())


async def test_the_events_of_an_owner_are_not_doubled(autojump_clock, log):
    async with open_test_runtime(restarts=NO_PAUSE) as runtime:
        owner = await runtime.spawn("owner", partial(Owner, []))
        a, _ = await owner.ask(Children())
        with pytest.raises(ActorCrashed):
            await a.ask(Fail(KeyError("bug")))
        await a.ask(Add(1))
    assert crashes_in(log) == [("test/owner/a", "restart")]
