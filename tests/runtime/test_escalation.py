"""R7: restart intensity, back-off, and failures that go upward."""

from functools import partial

import attrs
import pytest
import trio
from recording_actors import (
    NO_PAUSE,
    NO_RESTARTS,
    CrashRecorder,
    End,
    Recorder,
    crashes_in,
    spawn_all,
)
from sample_actors import Add, Counter, Declared, Fail, Work

from callsheet.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Message,
    RestartIntensityExceeded,
    RestartPolicy,
    State,
    handles,
    open_runtime,
)

# ---------------------------------------------------------------- intensity and back-off


async def test_each_supervisor_counts_its_own_crashes_in_a_sliding_window(autojump_clock):
    policy = RestartPolicy(max_restarts=1, period_s=10, base_s=0)
    async with open_runtime(restarts=NO_RESTARTS) as runtime:
        branches = [await runtime.supervise(name, restarts=policy) for name in "xy"]
        refs = [await branch.spawn("a", Counter) for branch in branches]
        for ref in refs:
            ref.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert [child.restarts_left for child in runtime.snapshot().root.children] == [0, 0]
        await trio.sleep(8.9)
        assert [child.restarts_left for child in runtime.snapshot().root.children] == [0, 0]
        await trio.sleep(0.1)
        assert [child.restarts_left for child in runtime.snapshot().root.children] == [1, 1]
        refs[0].tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert [child.restarts_left for child in runtime.snapshot().root.children] == [0, 1]


async def test_the_back_off_doubles_and_resets_after_a_healthy_incarnation(autojump_clock):
    policy = RestartPolicy(max_restarts=99, period_s=1, base_s=1, cap_s=50, healthy_s=100)
    crashes = CrashRecorder()
    async with open_runtime(restarts=policy, seed="x", instruments=[crashes]) as runtime:
        counter = await runtime.spawn("counter", Counter)
        for _ in range(12):
            counter.tell_nowait(Fail(KeyError("bug")))
            await counter.ask(Add(0))
            await trio.sleep(50)
        pauses = [crash.restart_in_s for crash in crashes.seen]
        assert all(pause <= min(50, 2.0**k) for k, pause in enumerate(pauses))
        assert max(pauses) > 10
        crashes.seen.clear()
        await trio.sleep(100)
        counter.tell_nowait(Fail(KeyError("bug")))
        await counter.ask(Add(0))
        (crash,) = crashes.seen
        assert crash.restart_in_s <= 1
        assert crash.uptime_s >= 100


async def test_a_permanent_actor_that_always_stops_itself_does_not_spin(autojump_clock):
    """Every restart counts, as in Erlang/OTP, even if the actor stopped itself."""

    class Quitter(Recorder):
        async def started(self) -> None:
            self.journal.append("+")
            if len(self.journal) > 1:
                self.stop()

    journal: list[str] = []
    with trio.fail_after(10), pytest.raises(RestartIntensityExceeded, match="ended"):
        async with open_runtime(restarts=NO_PAUSE) as runtime:
            quitter = await runtime.spawn("quitter", partial(Quitter, "q", journal))
            quitter.tell_nowait(End())
            while journal.count("+") < 50:  # it spins without time passing
                await trio.lowlevel.checkpoint()
            raise AssertionError("it is restarted for ever")
    assert journal.count("+") == 6


async def test_a_declared_error_spends_no_restart(autojump_clock):
    async with open_runtime(restarts=NO_RESTARTS) as runtime:
        counter = await runtime.spawn("counter", Counter)
        with pytest.raises(Declared):
            await counter.ask(Fail(Declared()))
        assert runtime.snapshot()[counter.path].incarnation == 1


# ---------------------------------------------------------------- escalation


async def test_the_parent_restarts_a_supervisor_with_all_its_children_and_refs_stay_good(
    autojump_clock, log
):
    journal: list[str] = []
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        (before,) = await spawn_all(runtime, "z", journal)
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
        twig = await branch.supervise("twig")
        a, b = await spawn_all(branch, "ab", journal)
        (c,) = await spawn_all(twig, "c", journal)
        journal.clear()
        b.tell_nowait(Fail(KeyError("bug")))
        assert [await ref.ask(Add(1)) for ref in (a, b, c, before)] == [1, 1, 1, 1]
        assert "".join(journal) == "-b-a-c+c+a+b"
        branches = [node for node in runtime.snapshot() if node.path == branch.path]
        assert branches[0].incarnation == 2
        assert branches[0].restarts_left == 0
        assert crashes_in(log) == [(b.path, "fail upward"), (branch.path, "restart")]


async def test_no_actor_below_a_pausing_supervisor_is_shown_as_running(autojump_clock):
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow, seed="s") as runtime:
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
        twig = await branch.supervise("twig")
        a, b = await spawn_all(branch, "ab", [])
        (c,) = await spawn_all(twig, "c", [])
        b.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        below = [node for node in runtime.snapshot() if node.path != "callsheet"]
        assert {node.path: node.state for node in below} == dict.fromkeys(
            (branch.path, twig.path, a.path, b.path, c.path), State.RESTARTING
        )
        c.tell_nowait(Add(1))
        assert await c.ask(Add(1)) == 2, "the mailbox was open all the time (R2)"


async def test_the_escalation_is_one_exception_whose_notes_list_the_chain_in_order(
    autojump_clock, log
):
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NO_RESTARTS) as runtime:
            branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
            twig = await branch.supervise("twig", restarts=NO_RESTARTS)
            leaf = await twig.spawn("leaf", Counter)
            leaf.tell_nowait(Fail(KeyError("bug")))
            await trio.sleep_forever()
    notes = caught.value.__notes__
    starts = [
        "app/branch/twig/leaf crashed: KeyError",
        "app/branch/twig gave up",
        "app/branch/twig crashed: RestartIntensityExceeded",
        "app/branch gave up",
        "app/branch crashed: RestartIntensityExceeded",
        "app gave up",
    ]
    assert len(notes) == len(starts)
    assert all(note.startswith(start) for note, start in zip(notes, starts, strict=True))
    causes, error = [], caught.value
    while error is not None:
        causes.append(type(error))
        error = error.__cause__
    assert causes == [RestartIntensityExceeded] * 3 + [KeyError]
    assert crashes_in(log) == [
        ("app/branch/twig/leaf", "fail upward"),
        ("app/branch/twig", "fail upward"),
        ("app/branch", "fail upward"),
    ]


@pytest.mark.parametrize("others", [0, 3])
async def test_the_failure_is_raised_alone_even_if_the_block_fails_too(autojump_clock, others):
    """The usual way: the block asks, the actor crashes, and the ask raises out of the block."""
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NO_RESTARTS) as runtime:
            for number in range(others):
                await runtime.spawn(f"other-{number}", Counter)
            counter = await runtime.spawn("counter", Counter)
            await counter.ask(Fail(KeyError("bug")))
    notes = caught.value.__notes__
    assert notes[0].startswith("app/counter crashed: KeyError")
    assert any("ActorCrashed" in note for note in notes[1:]), "a note names the block's own error"


async def test_the_failure_is_raised_even_if_the_block_is_cancelled_before_all_have_stopped(
    autojump_clock,
):
    with trio.move_on_after(1) as scope, pytest.raises(RestartIntensityExceeded):
        async with open_runtime("app", restarts=NO_RESTARTS) as runtime:
            other = await runtime.spawn("other", partial(Recorder, "p", []))
            counter = await runtime.spawn("counter", Counter)
            other.tell_nowait(Work("a", 3))
            counter.tell_nowait(Fail(KeyError("bug")))
            await trio.sleep_forever()
    assert scope.cancel_called


async def test_two_failures_at_once_are_both_in_the_log_and_in_the_notes(autojump_clock, log):
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NO_RESTARTS) as runtime:
            one, two = [await runtime.spawn(name, Counter) for name in ("one", "two")]
            one.tell_nowait(Fail(KeyError("first bug")))
            two.tell_nowait(Fail(OSError("second bug")))
            await trio.sleep_forever()
    notes = "\n".join(caught.value.__notes__)
    assert "first bug" in notes
    assert "second bug" in notes
    assert sorted(crashes_in(log)) == [("app/one", "fail upward"), ("app/two", "fail upward")]


async def test_an_error_without_a_message_is_named_by_its_class():
    with pytest.raises(
        RestartIntensityExceeded, match=r"^app/counter crashed with OSError; app allows 0 restarts"
    ) as caught:
        async with open_runtime("app", restarts=NO_RESTARTS) as runtime:
            counter = await runtime.spawn("counter", Counter)
            with pytest.raises(ActorCrashed, match=r"crashed with OSError \(the work may have run"):
                await counter.ask(Fail(OSError()))
            await trio.sleep_forever()
    assert caught.value.__notes__[0] == "app/counter crashed: OSError"


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_two_failures_at_once_are_both_in_the_log_when_both_are_restarted(
    autojump_clock, log, strategy
):
    async with open_runtime("app", strategy=strategy, restarts=NO_PAUSE) as runtime:
        refs = [await runtime.spawn(name, Counter) for name in ("one", "two")]
        for ref in refs:
            ref.tell_nowait(Fail(KeyError(ref.path)))
        assert [await ref.ask(Add(1)) for ref in refs] == [1, 1]
        assert [runtime.snapshot()[ref.path].incarnation for ref in refs] in ([2, 2], [2, 3])
    assert sorted(crashes_in(log)) == [("app/one", "restart"), ("app/two", "restart")]


async def test_a_child_that_crashes_while_its_group_is_stopped_is_reported_and_restarted(
    autojump_clock, log
):
    class Sore(Recorder):
        async def stopped(self) -> None:
            self.journal.append("-")
            if len(self.journal) == 2:
                raise OSError("sore")

    async with open_runtime("app", strategy="one_for_all", restarts=NO_PAUSE) as runtime:
        counter = await runtime.spawn("counter", Counter)
        sore = await runtime.spawn("sore", partial(Sore, "s", []))
        await trio.sleep(1)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert await sore.ask(Add(1)) == 1
        assert await counter.ask(Add(1)) == 1
        assert runtime.snapshot()[sore.path].incarnation == 2
        assert crashes_in(log) == [("app/counter", "restart"), ("app/sore", "restart")]


async def test_a_group_restart_is_not_blocked_by_work_that_waits_for_the_one_that_crashed(
    autojump_clock,
):
    """The ask queues at the crashed actor, which restarts only when the caller has stopped."""

    @attrs.frozen
    class Delegate(Message[str]):
        pass

    class Boss(Actor):
        @handles(Delegate, raises=(ActorStopped,))
        async def delegate(self, message: Delegate) -> str:
            return await recorder.ask(Work("a", 0))

    async with open_runtime("app", strategy="one_for_all", restarts=NO_PAUSE) as runtime:
        recorder = await runtime.spawn("recorder", partial(Recorder, "p", []))
        boss = await runtime.spawn("boss", Boss)
        recorder.tell_nowait(Work("long", 1))
        recorder.tell_nowait(Fail(KeyError("bug")))
        boss.tell_nowait(Delegate())
        await trio.sleep(1000)
        states = [actor.state for actor in runtime.snapshot().actors]
        assert states == [State.RUNNING, State.RUNNING]
        assert [actor.incarnation for actor in runtime.snapshot().actors] == [2, 2]
