"""R1, R11: a shutdown can be printed as a plan beforehand, and as a report afterwards."""

from functools import partial
from math import inf

import attrs
import pytest
import trio
from sample_actors import Add, Counter, Fail, Holder, Keep, Work, Worker

from callsheet.runtime import (
    Actor,
    ActorStopped,
    AskFailed,
    AskTimedOut,
    Message,
    RestartPolicy,
    State,
    Verdict,
    handles,
    open_runtime,
)

SLOW = RestartPolicy(base_s=100, cap_s=100)


def counts(report) -> dict[str, tuple[int, int, int]]:
    return {stop.path: (stop.drained, stop.expired, stop.lost) for stop in report.stops}


# ---------------------------------------------------------------- beforehand


async def test_the_plan_has_order_action_and_counts_before_anything_happens(autojump_clock):
    async with open_runtime("app", drain_s=60) as runtime:
        assert str(runtime.shutdown_plan()) == "shutdown, 60 s in total:"
        await runtime.spawn("first", Counter)
        branch = await runtime.supervise("branch")
        holder = await branch.spawn("holder", Holder, stop_s=5)
        worker = await branch.spawn("worker", partial(Worker, []), stop_s=0)
        busy = await runtime.spawn("busy", partial(Worker, []), concurrency=2)
        for number in range(5):
            busy.tell_nowait(Work(str(number), 1))
        for number in range(3):
            worker.tell_nowait(Work(str(number), 1))
        await holder.submit(Keep())
        await trio.testing.wait_all_tasks_blocked()
        plan = runtime.shutdown_plan()
        assert str(plan).splitlines() == [
            "shutdown, 60 s in total:",
            "  1. drain app/busy: 2 in progress, 3 waiting, 0 deferred",
            "  2. cancel app/branch/worker: 1 in progress and 2 waiting will be lost",
            "  3. drain app/branch/holder within 5 s: 0 in progress, 0 waiting, 1 deferred",
            "  4. drain app/first: 0 in progress, 0 waiting, 0 deferred",
        ]
        assert runtime.shutdown_plan() == plan, "making it changes nothing"
        assert runtime.shutdown_report is None
    report = runtime.shutdown_report
    assert [stop.path for stop in report.stops] == [stop.path for stop in plan.stops]


async def test_the_plan_leaves_out_what_is_stopped(autojump_clock):
    async with open_runtime("app") as runtime:
        for name in "ab":
            await runtime.spawn(name, Counter)
        await runtime.root.stop_child("a")
        assert [stop.path for stop in runtime.shutdown_plan().stops] == ["app/b"]


async def test_the_plan_knows_the_limits_of_the_supervisors_above(autojump_clock):
    async with open_runtime("app") as runtime:
        hasty = await runtime.supervise("hasty", stop_s=0)
        await hasty.spawn("a", Counter)
        patient = await runtime.supervise("patient", stop_s=3)
        twig = await patient.supervise("twig", stop_s=9)
        await twig.spawn("b", Counter)
        await twig.spawn("c", Counter, stop_s=1)
        plan = runtime.shutdown_plan()
        assert [(stop.path, stop.action, stop.within_s) for stop in plan.stops] == [
            ("app/patient/twig/c", "drain", 1),
            ("app/patient/twig/b", "drain", 3),
            ("app/hasty/a", "cancel", 0),
        ]


async def test_the_plan_says_what_is_stopped_side_by_side(autojump_clock):
    async with open_runtime("app") as runtime:
        await runtime.spawn("first", Counter)
        team = await runtime.supervise("team", stop_order="together")
        await team.spawn("a", Counter)
        pair = await team.supervise("pair", stop_order="together", stop_s=0)
        await pair.spawn("b", Counter)
        plan = runtime.shutdown_plan()
        assert [(stop.path, stop.together) for stop in plan.stops] == [
            ("app/team/pair/b", ("app/team", "app/team/pair")),
            ("app/team/a", ("app/team",)),
            ("app/first", ()),
        ]
        assert str(plan).splitlines()[2:] == [
            "  2. drain app/team/a side by side in app/team: 0 in progress, 0 waiting, 0 deferred",
            "  3. drain app/first: 0 in progress, 0 waiting, 0 deferred",
        ]


# ---------------------------------------------------------------- afterwards


async def test_the_report_has_the_drained_messages_and_the_duration(autojump_clock):
    async with open_runtime("app") as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []))
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(1))  # before the shutdown, so not of its doing
        for number in range(3):
            worker.tell_nowait(Work(str(number), 1.5))
    report = runtime.shutdown_report
    assert counts(report) == {"app/counter": (0, 0, 0), "app/worker": (3, 0, 0)}
    assert report.seconds == 4.5
    assert report.is_clean
    assert str(report).splitlines() == [
        "shut down in 4.50 s:",
        "  app/counter: 0 drained, 0 expired, 0 lost",
        "  app/worker: 3 drained, 0 expired, 0 lost",
    ]


async def test_the_report_counts_what_the_deadline_interrupted(autojump_clock):
    verdicts: list[Verdict] = []

    async def caller(ref, name: str) -> None:
        with pytest.raises(AskFailed) as caught:
            await ref.ask(Work(name, 2))
        verdicts.append(caught.value.verdict)

    async with trio.open_nursery() as nursery, open_runtime("app", drain_s=3) as runtime:
        counter = await runtime.spawn("counter", Counter)
        worker = await runtime.spawn("worker", partial(Worker, []))
        worker.tell_nowait(Work("done", 2))
        for name in "ab":
            nursery.start_soon(caller, worker, name)
            await trio.testing.wait_all_tasks_blocked()
        counter.tell_nowait(Add(1))
    report = runtime.shutdown_report
    assert counts(report)["app/worker"] == (1, 0, 2)
    assert report.seconds == 3
    assert not report.is_clean
    assert [stop.path for stop in report.stops if not stop.is_clean] == ["app/worker"]
    assert verdicts == [Verdict.MAY_HAVE_RUN, Verdict.NOT_STARTED]
    assert all(actor.is_conserved for actor in runtime.snapshot().actors)


async def test_messages_that_expire_or_are_cancelled_during_the_drain_are_not_lost(autojump_clock):
    async def caller(ref) -> None:
        with pytest.raises(AskTimedOut):
            await ref.ask(Work("too late", 1), timeout=2)

    async def quitter(ref) -> None:
        with trio.move_on_after(2):
            await ref.ask(Work("given up", 1))

    async with trio.open_nursery() as nursery, open_runtime("app") as runtime:
        worker = await runtime.spawn("worker", partial(Worker, []))
        worker.tell_nowait(Work("long", 5))
        nursery.start_soon(caller, worker)
        nursery.start_soon(quitter, worker)
        await trio.testing.wait_all_tasks_blocked()
    assert counts(runtime.shutdown_report) == {"app/worker": (1, 2, 0)}
    assert runtime.shutdown_report.is_clean


async def test_temporary_actors_are_in_the_report_too(autojump_clock):
    async with open_runtime("app", drain_s=3) as runtime:
        branch = await runtime.supervise("branch")
        for supervisor in (runtime, branch):
            worker = await supervisor.spawn("t", partial(Worker, []), restart="temporary")
            worker.tell_nowait(Work("a", 2))
            worker.tell_nowait(Work("b", 2))
    assert counts(runtime.shutdown_report) == {"app/t": (1, 0, 1), "app/branch/t": (1, 0, 1)}


async def test_there_is_no_report_when_the_block_raised_an_error(autojump_clock):
    with pytest.raises(LookupError):
        async with open_runtime() as runtime:
            raise LookupError
    assert runtime.shutdown_report is None


# ---------------------------------------------------------------- the drain


async def test_actors_started_first_still_serve_the_others_during_the_drain(autojump_clock):
    """Children of nested supervisors too: the composer first, the requests last."""
    order: list[str] = []

    class Stage(Actor):
        def __init__(self, name: str, to=None) -> None:
            self.name = name
            self.to = to

        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(1)
            return message.name if self.to is None else await self.to.ask(message)

        async def stopped(self) -> None:
            order.append(self.name)

    answers: list[str] = []

    async def caller(ref, name: str) -> None:
        answers.append(await ref.ask(Work(name)))

    async with trio.open_nursery() as nursery, open_runtime(drain_s=inf) as runtime:
        back = await runtime.supervise("back")
        last = await back.spawn("last", partial(Stage, "last"))
        middle = await back.spawn("middle", partial(Stage, "middle", last))
        front = await runtime.supervise("front")
        first = await front.spawn("first", partial(Stage, "first", middle))
        for name in "abc":
            nursery.start_soon(caller, first, name)
        await trio.testing.wait_all_tasks_blocked()
    assert sorted(answers) == ["a", "b", "c"]
    assert order == ["first", "middle", "last"]
    assert runtime.shutdown_report.is_clean


async def test_an_actor_that_crashes_during_the_drain_is_restarted_for_the_others(
    autojump_clock, log
):
    @attrs.frozen
    class Delegate(Message[int]):
        pass

    class Boss(Actor):
        @handles(Delegate)
        async def delegate(self, message: Delegate) -> int:
            await trio.sleep(1)
            counter.tell_nowait(Fail(KeyError("bug")))
            return await counter.ask(Add(2))

    async with open_runtime("app", drain_s=1000) as runtime:
        counter = await runtime.spawn("counter", Counter)
        boss = await runtime.spawn("boss", Boss)
        boss.tell_nowait(Delegate())
    assert counts(runtime.shutdown_report)["app/boss"] == (1, 0, 0)
    assert runtime.shutdown_report.seconds < 20
    crashes = [event for event in log if event["event"] == "actor_crashed"]
    assert [(one["actor"], one["decision"]) for one in crashes] == [("app/counter", "restart")]


async def test_a_crash_at_the_same_time_as_the_end_of_the_block_is_reported(autojump_clock, log):
    async with open_runtime("app") as runtime:
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
    assert [event["event"] for event in log] == ["actor_crashed"]


@pytest.mark.parametrize("drain_s", [5, 1000])
async def test_messages_that_wait_for_a_restart_are_handled_in_time(autojump_clock, drain_s):
    async with open_runtime("app", restarts=SLOW, drain_s=drain_s, seed="s") as runtime:
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        counter.tell_nowait(Add(1))
        assert runtime.snapshot()[counter.path].state is State.RESTARTING
    done = drain_s == 1000
    assert counts(runtime.shutdown_report) == {"app/counter": (1, 0, 0) if done else (0, 0, 1)}


async def test_a_restarting_actor_without_messages_does_not_delay_the_drain(autojump_clock):
    async with open_runtime("app", restarts=SLOW, drain_s=1000, seed="s") as runtime:
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
    assert runtime.shutdown_report.seconds == 0
    assert runtime.shutdown_report.is_clean


async def test_messages_below_a_restarting_supervisor_are_drained(autojump_clock):
    never = RestartPolicy(max_restarts=0)
    async with open_runtime("app", restarts=SLOW, drain_s=1000, seed="s") as runtime:
        branch = await runtime.supervise("branch", restarts=never)
        counter = await branch.spawn("counter", Counter)
        other = await branch.spawn("other", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        other.tell_nowait(Add(1))
    assert counts(runtime.shutdown_report) == {
        "app/branch/counter": (0, 0, 0),
        other.path: (1, 0, 0),
    }


async def test_a_branch_that_was_stopped_while_restarting_continues_when_restarted(autojump_clock):
    never = RestartPolicy(max_restarts=0)
    async with open_runtime("app", restarts=SLOW, seed="s") as runtime:
        branch = await runtime.supervise("branch", restarts=never, stop_s=1)
        counter = await branch.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        await runtime.root.stop_child("branch")
        await runtime.root.restart_child("branch")
        await trio.sleep(10)
        assert await counter.ask(Add(1)) == 1


async def test_an_actor_that_is_spawned_during_the_drain_is_drained_too(autojump_clock):
    journal: list[str] = []

    class Boss(Worker):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(1)
            helper = await runtime.spawn("helper", partial(Worker, journal))
            await helper.tell(Work("late", 1))
            return message.name

    async with open_runtime("app") as runtime:
        boss = await runtime.spawn("boss", partial(Boss, []))
        boss.tell_nowait(Work("a"))
    assert journal == ["begin late", "end late", "stopped"]
    assert counts(runtime.shutdown_report) == {"app/helper": (1, 0, 0), "app/boss": (1, 0, 0)}


# ---------------------------------------------------------------- the end


async def test_wait_stopped_returns_at_the_end_of_an_actor_and_not_at_a_restart(
    autojump_clock,
):
    ends: dict[str, float] = {}

    async def wait_for(ref) -> None:
        await ref.wait_stopped()
        ends[ref.path] = trio.current_time()

    async with trio.open_nursery() as nursery, open_runtime("app") as runtime:
        start = trio.current_time()
        first, second = [await runtime.spawn(name, partial(Worker, [])) for name in "ab"]
        for ref in (first, second):
            nursery.start_soon(wait_for, ref)
        first.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(5)
        assert not ends
        second.tell_nowait(Work("x", 2))
        first.tell_nowait(Work("y", 3))
    assert {path: end - start for path, end in ends.items()} == {"app/a": 8, "app/b": 7}
    await first.wait_stopped()  # and at once from then on


@pytest.mark.parametrize("way", ["end", "error", "cancelled", "deadline"])
async def test_nothing_outlives_the_block_however_it_is_left(autojump_clock, way):
    before = trio.lowlevel.current_statistics().tasks_living
    refs = []
    with trio.move_on_after(3 if way == "cancelled" else inf):
        try:
            async with open_runtime(drain_s=1 if way == "deadline" else 100) as runtime:
                branch = await runtime.supervise("branch", strategy="one_for_all")
                for number in range(3):
                    refs.append(
                        await branch.spawn(f"w{number}", partial(Worker, []), concurrency=2)
                    )
                    for name in "abc":
                        refs[-1].tell_nowait(Work(name, 2))
                refs.append(await runtime.spawn("counter", Counter))
                await trio.sleep(0.5)
                if way == "error":
                    raise LookupError  # noqa: TRY301  # out of the block is the point
                if way == "cancelled":
                    await trio.sleep_forever()
        except LookupError:
            assert way == "error"
    assert trio.lowlevel.current_statistics().tasks_living == before
    for ref in refs:
        with pytest.raises(ActorStopped):
            ref.tell_nowait(Work("late"))
        with pytest.raises(ActorStopped):
            await ref.ask(Work("late"))
    assert {node.state for node in runtime.snapshot()} == {State.STOPPED}
    assert all(actor.is_conserved and not actor.pending for actor in runtime.snapshot().actors)


class Leader(Actor):
    """Owns a worker; passes work on to it, and crashes at the message "crash"."""

    async def started(self) -> None:
        self.worker = await self.spawn("worker", partial(Worker, []))

    @handles(Work)
    async def work(self, message: Work) -> str:
        if message.name == "crash":
            raise ValueError("bug")
        await self.worker.tell(message)
        await trio.sleep(2)
        return message.name


async def test_the_report_has_the_children_of_an_incarnation_that_crashes_in_the_drain(
    autojump_clock,
):
    """R9, R15, R16: and those of the next incarnation, which have the same paths."""
    async with open_runtime("app") as runtime:
        leader = await runtime.spawn("leader", Leader)
        await leader.ask(Work("before the shutdown", 1))
        for name in ("first", "crash", "second", "third"):
            leader.tell_nowait(Work(name, 1))
    assert counts(runtime.shutdown_report) == {
        "app/leader": (3, 0, 1),
        "app/leader/worker": (3, 0, 0),
    }
