"""R7: trees of supervisors: strategies, kinds, intensity, escalation, dynamic children."""

from functools import partial
from math import inf, nan

import attrs
import pytest
import trio
from troupe import Add, Counter, Declared, Fail, Work

from callsheet.runtime import (
    Actor,
    ActorCrash,
    ActorStopped,
    AlreadyPresent,
    AlreadyRunning,
    ChildNotFound,
    ChildRestarting,
    Instrument,
    Message,
    RestartIntensityExceeded,
    RestartPolicy,
    State,
    handles,
    open_runtime,
)

EAGER = RestartPolicy(max_restarts=5, period_s=30, base_s=0)
NEVER = RestartPolicy(max_restarts=0)


@attrs.frozen
class End(Message[None]):
    """Ends the actor by its own decision."""


class Player(Counter):
    """Notes its starts (+) and ends (-) in a journal; may fail to start as often as it is told."""

    def __init__(
        self, name: str, journal: list[str], moods: list[Exception | None] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.journal = journal
        self.moods = moods

    async def started(self) -> None:
        mood = self.moods.pop(0) if self.moods else None
        if mood is not None:
            self.journal.append(f"!{self.name}")
            raise mood
        self.journal.append(f"+{self.name}")

    async def stopped(self) -> None:
        self.journal.append(f"-{self.name}")

    @handles(Work)
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return f"{message.name} by {self.name}"

    @handles(End)
    async def end(self, message: End) -> None:
        self.stop()


class Crashes(Instrument):
    """Keeps every crash."""

    def __init__(self) -> None:
        self.seen: list[ActorCrash] = []

    def actor_crashed(self, event: ActorCrash) -> None:
        self.seen.append(event)


def crashes_in(log) -> list[tuple[str, str]]:
    return [(one["actor"], one["decision"]) for one in log if one["event"] == "actor_crashed"]


async def spawn_all(supervisor, names: str, journal: list[str], **settings):
    return [
        await supervisor.spawn(name, partial(Player, name, journal), **settings) for name in names
    ]


# ---------------------------------------------------------------- order and strategies


async def test_a_tree_starts_in_order_and_stops_in_reverse_branch_by_branch(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        await spawn_all(runtime, "a", journal)
        branch = await runtime.supervise("branch")
        await spawn_all(branch, "bc", journal)
        twig = await branch.supervise("twig")
        await spawn_all(twig, "de", journal)
        await spawn_all(runtime, "f", journal)
        assert "".join(journal) == "+a+b+c+d+e+f"
        journal.clear()
    assert "".join(journal) == "-f-e-d-c-b-a"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", "-b+b"),
        ("one_for_all", "-b-c-a+a+b+c"),
        ("rest_for_one", "-b-c+b+c"),
    ],
)
async def test_each_strategy_stops_in_reverse_and_starts_in_order(
    autojump_clock, strategy, expected
):
    journal: list[str] = []
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", strategy=strategy, restarts=EAGER)
        refs = await spawn_all(branch, "abc", journal)
        journal.clear()
        refs[1].tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert "".join(journal) == expected
        journal.clear()
    assert "".join(journal) == "-c-b-a", "a group restart keeps the order of stops"


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_the_root_takes_a_strategy_too_and_restarts_whole_branches_with_it(
    autojump_clock, strategy
):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=EAGER) as runtime:
        await spawn_all(runtime, "a", journal)
        (b,) = await spawn_all(runtime, "b", journal)
        branch = await runtime.supervise("branch")
        await spawn_all(branch, "cd", journal)
        journal.clear()
        b.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert (
            "".join(journal)
            == {
                "one_for_one": "-b+b",
                "one_for_all": "-b-d-c-a+a+b+c+d",
                "rest_for_one": "-b-d-c+b+c+d",
            }[strategy]
        )


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_group_restart_keeps_mailboxes_and_refs_and_lets_work_in_hand_finish(
    autojump_clock, strategy
):
    answers: dict[str, str] = {}

    async def asker(ref, name: str) -> None:
        answers[name] = await ref.ask(Work(name, 1))

    journal: list[str] = []
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", strategy=strategy, restarts=EAGER)
        refs = await spawn_all(branch, "abc", journal)
        async with trio.open_nursery() as nursery:
            for ref in refs:
                for number in range(3):
                    nursery.start_soon(asker, ref, f"{ref.path[-1]}{number}")
                    await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.5)
            refs[0]._cell.urgent.insert(0, (Fail(KeyError("bug")), None, 0.0))  # next in line
            refs[0]._cell.tally.bypassed += 1
        assert sorted(answers) == [f"{name}{number}" for name in "abc" for number in range(3)]
        snapshot = runtime.snapshot()
        assert [snapshot[ref.path].incarnation for ref in refs] == [2, 2, 2]
        assert all(snapshot[ref.path].is_conserved for ref in refs)
        assert [await ref.ask(Add(1)) for ref in refs] == [1, 1, 1]


async def test_a_start_that_fails_half_way_stops_what_it_started_and_tries_again(
    autojump_clock, log
):
    journal: list[str] = []
    moods = [None, OSError("no port"), OSError("no port yet"), None]
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", strategy="one_for_all", restarts=EAGER)
        (a,) = await spawn_all(branch, "a", journal)
        await branch.spawn("b", partial(Player, "b", journal, moods))
        await spawn_all(branch, "c", journal)
        journal.clear()
        a.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert "".join(journal) == "-a-c-b" + "+a!b-a" * 2 + "+a+b+c"
        assert runtime.snapshot().root.children[0].restarts_left == 5 - 3, "failed starts count"
        assert crashes_in(log) == [
            ("callsheet/branch/a", "restart"),
            ("callsheet/branch/b", "restart"),
            ("callsheet/branch/b", "restart"),
        ]


async def test_a_group_that_never_starts_again_exceeds_the_intensity(autojump_clock):
    journal: list[str] = []
    moods = [None, *(OSError("no port") for _ in range(9))]
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime(strategy="one_for_all", restarts=EAGER) as runtime:
            (a,) = await spawn_all(runtime, "a", journal)
            await runtime.spawn("b", partial(Player, "b", journal, moods))
            a.tell_nowait(Fail(KeyError("bug")))
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, OSError)
    assert journal.count("!b") == 5
    assert journal[-1] == "-a", "what it had started half-way is stopped"
    assert journal.count("+a") == journal.count("-a")


# ---------------------------------------------------------------- kinds of children


@pytest.mark.parametrize(
    ("restart", "crash", "outcome"),
    [
        ("permanent", True, "lives"),
        ("permanent", False, "lives"),
        ("transient", True, "lives"),
        ("transient", False, "rests"),
        ("temporary", True, "forgotten"),
        ("temporary", False, "forgotten"),
    ],
)
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_kinds_of_children_and_how_they_end(  # noqa: PLR0917  # pytest names them
    autojump_clock, log, strategy, restart, crash, outcome
):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=EAGER) as runtime:
        (ref,) = await spawn_all(runtime, "a", journal, restart=restart)
        ref.tell_nowait(Fail(KeyError("bug")) if crash else End())
        await trio.sleep(1)
        states = {actor.path: actor.state for actor in runtime.snapshot().actors}
        if outcome == "lives":
            assert states == {ref.path: State.RUNNING}
            assert await ref.ask(Add(1)) == 1
        else:
            with pytest.raises(ActorStopped):
                ref.tell_nowait(Add(1))
            assert states == ({ref.path: State.STOPPED} if outcome == "rests" else {})
    expected = "restart" if outcome == "lives" else "leave"
    assert crashes_in(log) == ([(ref.path, expected)] if crash else [])


async def test_what_waits_when_an_actor_ends_itself_waits_for_its_next_life(autojump_clock):
    async with open_runtime() as runtime:
        player = await runtime.spawn("player", partial(Player, "p", []))
        player.tell_nowait(End())
        player.tell_nowait(Add(3))
        assert await player.ask(Add(4)) == 7
        assert runtime.snapshot()[player.path].incarnation == 2


async def test_what_waits_when_a_transient_actor_ends_itself_is_told_it_was_not_started(
    autojump_clock,
):
    async with open_runtime() as runtime:
        player = await runtime.spawn("player", partial(Player, "p", []), restart="transient")
        player.tell_nowait(End())
        with pytest.raises(ActorStopped, match="was not started"):
            await player.ask(Add(4))
        assert runtime.snapshot()[player.path].is_conserved


@pytest.mark.parametrize("how", ["stop_child", "ends itself"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_group_restart_lets_those_rest_that_rest(autojump_clock, log, strategy, how):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=EAGER) as runtime:
        (a,) = await spawn_all(runtime, "a", journal)
        (b,) = await spawn_all(
            runtime, "b", journal, restart="transient" if how == "ends itself" else "permanent"
        )
        await spawn_all(runtime, "c", journal)
        if how == "ends itself":
            b.tell_nowait(End())
        else:
            await runtime.root.stop_child("b")
        await trio.sleep(1)
        journal.clear()
        a.tell_nowait(Fail(KeyError("bug")))
        with trio.move_on_after(5):
            await trio.sleep(1)
        assert "".join(journal) == "-a-c+a+c"
        assert runtime.snapshot()[b.path].state is State.STOPPED
        await runtime.root.restart_child("b")
        assert await b.ask(Add(1)) == 1


async def test_a_group_restart_forgets_temporary_children(autojump_clock):
    journal: list[str] = []
    async with open_runtime(strategy="one_for_all", restarts=EAGER) as runtime:
        (a,) = await spawn_all(runtime, "a", journal)
        (b,) = await spawn_all(runtime, "b", journal, restart="temporary")
        a.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert [actor.path for actor in runtime.snapshot().actors] == [a.path]
        with pytest.raises(ActorStopped):
            b.tell_nowait(Add(1))


async def test_a_restarted_supervisor_lets_those_rest_that_rest_and_forgets_the_temporary(
    autojump_clock,
):
    journal: list[str] = []
    async with open_runtime(restarts=EAGER) as runtime:
        branch = await runtime.supervise("branch", restarts=NEVER)
        (a,) = await spawn_all(branch, "a", journal)
        (b,) = await spawn_all(branch, "b", journal)
        (c,) = await spawn_all(branch, "c", journal, restart="temporary")
        await branch.stop_child("b")
        a.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        states = {actor.path: actor.state for actor in runtime.snapshot().actors}
        assert states == {a.path: State.RUNNING, b.path: State.STOPPED}
        with pytest.raises(ActorStopped):
            c.tell_nowait(Add(1))
        await branch.restart_child("b")
        assert await b.ask(Add(1)) == 1


# ---------------------------------------------------------------- intensity and back-off


async def test_each_supervisor_counts_its_own_crashes_in_a_sliding_window(autojump_clock):
    policy = RestartPolicy(max_restarts=1, period_s=10, base_s=0)
    async with open_runtime(restarts=NEVER) as runtime:
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


async def test_the_back_off_doubles_and_starts_over_after_a_healthy_life(autojump_clock):
    policy = RestartPolicy(max_restarts=99, period_s=1, base_s=1, cap_s=50, healthy_s=100)
    crashes = Crashes()
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
        assert crash.lived_s >= 100


async def test_a_permanent_actor_that_only_ever_ends_itself_does_not_spin(autojump_clock):
    """Erlang/OTP counts every restart, whatever it answers."""

    class Quitter(Player):
        async def started(self) -> None:
            self.journal.append("+")
            if len(self.journal) > 1:
                self.stop()

    journal: list[str] = []
    with trio.fail_after(10), pytest.raises(RestartIntensityExceeded, match="ended"):
        async with open_runtime(restarts=EAGER) as runtime:
            quitter = await runtime.spawn("quitter", partial(Quitter, "q", journal))
            quitter.tell_nowait(End())
            while journal.count("+") < 50:  # it spins without time passing
                await trio.lowlevel.checkpoint()
            raise AssertionError("it is restarted without end")
    assert journal.count("+") == 6


# ---------------------------------------------------------------- escalation


async def test_the_parent_restarts_a_supervisor_with_all_its_children_and_refs_stay_good(
    autojump_clock, log
):
    journal: list[str] = []
    async with open_runtime(restarts=EAGER) as runtime:
        (before,) = await spawn_all(runtime, "z", journal)
        branch = await runtime.supervise("branch", restarts=NEVER)
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


async def test_no_actor_below_a_supervisor_that_pauses_claims_to_run(autojump_clock):
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow, seed="s") as runtime:
        branch = await runtime.supervise("branch", restarts=NEVER)
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


async def test_what_comes_out_is_one_exception_whose_notes_tell_the_chain_in_order(
    autojump_clock, log
):
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NEVER) as runtime:
            branch = await runtime.supervise("branch", restarts=NEVER)
            twig = await branch.supervise("twig", restarts=NEVER)
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
async def test_the_failure_comes_out_alone_though_the_block_fails_of_it_too(autojump_clock, others):
    """The usual way: the block asks, the actor crashes, and the ask raises out of the block."""
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NEVER) as runtime:
            for number in range(others):
                await runtime.spawn(f"other-{number}", Counter)
            counter = await runtime.spawn("counter", Counter)
            await counter.ask(Fail(KeyError("bug")))
    notes = caught.value.__notes__
    assert notes[0].startswith("app/counter crashed: KeyError")
    assert any("ActorCrashed" in note for note in notes[1:]), "and tells of the block's own"


async def test_the_failure_comes_out_though_the_block_is_cancelled_before_all_have_stopped(
    autojump_clock,
):
    with trio.move_on_after(1) as scope, pytest.raises(RestartIntensityExceeded):
        async with open_runtime("app", restarts=NEVER) as runtime:
            other = await runtime.spawn("other", partial(Player, "p", []))
            counter = await runtime.spawn("counter", Counter)
            other.tell_nowait(Work("a", 3))
            counter.tell_nowait(Fail(KeyError("bug")))
            await trio.sleep_forever()
    assert scope.cancel_called


async def test_two_failures_at_once_are_both_in_the_log_and_in_the_notes(autojump_clock, log):
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime("app", restarts=NEVER) as runtime:
            one, two = [await runtime.spawn(name, Counter) for name in ("one", "two")]
            one.tell_nowait(Fail(KeyError("first bug")))
            two.tell_nowait(Fail(OSError("second bug")))
            await trio.sleep_forever()
    notes = "\n".join(caught.value.__notes__)
    assert "first bug" in notes
    assert "second bug" in notes
    assert sorted(crashes_in(log)) == [("app/one", "fail upward"), ("app/two", "fail upward")]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_two_failures_at_once_are_both_in_the_log_when_both_are_restarted(
    autojump_clock, log, strategy
):
    async with open_runtime("app", strategy=strategy, restarts=EAGER) as runtime:
        refs = [await runtime.spawn(name, Counter) for name in ("one", "two")]
        for ref in refs:
            ref.tell_nowait(Fail(KeyError(ref.path)))
        assert [await ref.ask(Add(1)) for ref in refs] == [1, 1]
        assert [runtime.snapshot()[ref.path].incarnation for ref in refs] in ([2, 2], [2, 3])
    assert sorted(crashes_in(log)) == [("app/one", "restart"), ("app/two", "restart")]


async def test_one_that_crashes_while_its_group_is_stopped_is_told_and_restarted(
    autojump_clock, log
):
    class Sore(Player):
        async def stopped(self) -> None:
            self.journal.append("-")
            if len(self.journal) == 2:
                raise OSError("sore")

    async with open_runtime("app", strategy="one_for_all", restarts=EAGER) as runtime:
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
    """The ask queues at the crashed actor, which starts again only when the asker has stopped."""

    @attrs.frozen
    class Delegate(Message[str]):
        pass

    class Boss(Actor):
        @handles(Delegate, raises=(ActorStopped,))
        async def delegate(self, message: Delegate) -> str:
            return await player.ask(Work("a", 0))

    async with open_runtime("app", strategy="one_for_all", restarts=EAGER) as runtime:
        player = await runtime.spawn("player", partial(Player, "p", []))
        boss = await runtime.spawn("boss", Boss)
        player.tell_nowait(Work("long", 1))
        player.tell_nowait(Fail(KeyError("bug")))
        boss.tell_nowait(Delegate())
        await trio.sleep(1000)
        states = [actor.state for actor in runtime.snapshot().actors]
        assert states == [State.RUNNING, State.RUNNING]
        assert [actor.incarnation for actor in runtime.snapshot().actors] == [2, 2]


# ---------------------------------------------------------------- stop time-outs


@pytest.mark.parametrize(("stop_s", "took", "ends"), [(0, 0, False), (2, 2, False), (inf, 9, True)])
@pytest.mark.parametrize("how", ["stop_child", "stop", "group"])
async def test_a_child_has_its_stop_time_and_is_cancelled_then(
    autojump_clock, stop_s, took, ends, how
):
    done: list[str] = []

    class Slow(Player):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(message.seconds)
            done.append(message.name)
            return message.name

    async with open_runtime(strategy="one_for_all", restarts=EAGER) as runtime:
        counter = await runtime.spawn("counter", Counter)
        slow = await runtime.spawn("slow", partial(Slow, "s", []), stop_s=stop_s)
        slow.tell_nowait(Work("a", 9))
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        if how == "stop_child":
            await runtime.root.stop_child("slow")
        elif how == "stop":
            await runtime.stop(slow)
        else:
            counter.tell_nowait(Fail(KeyError("bug")))
            await counter.ask(Add(1))
        if how == "group" and stop_s == inf:  # it may be waiting for the one that crashed
            took, ends = 5, False
        assert trio.current_time() - start == took
        assert done == (["a"] if ends else [])


async def test_a_supervisor_has_its_stop_time_for_all_below_it(autojump_clock):
    done: list[str] = []

    class Slow(Player):
        @handles(Work)
        async def work(self, message: Work) -> str:
            await trio.sleep(message.seconds)
            done.append(message.name)
            return message.name

    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", stop_s=5)
        for name in "abc":
            slow = await branch.spawn(name, partial(Slow, name, []))
            for part in range(9):
                slow.tell_nowait(Work(f"{name}{part}", 1))
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await runtime.root.stop_child("branch")
        assert trio.current_time() - start == 5
        assert 12 <= len(done) <= 15, "it is cut as a whole"


async def test_a_stop_that_is_ignored_is_complained_of_and_waited_for(autojump_clock, log):
    class Stubborn(Player):
        @handles(Work)
        async def work(self, message: Work) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(message.seconds)
            return message.name

    async with open_runtime() as runtime:
        stubborn = await runtime.spawn("stubborn", partial(Stubborn, "s", []), stop_s=2)
        stubborn.tell_nowait(Work("a", 60))
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await runtime.root.stop_child("stubborn")
        assert trio.current_time() - start == 60
    complaints = [event for event in log if event["event"] == "stop_ignored"]
    assert [(one["actor"], one["log_level"]) for one in complaints] == [(stubborn.path, "error")]


async def test_a_stop_that_is_only_slow_to_obey_is_not_complained_of(autojump_clock, log):
    class Sluggish(Player):
        async def stopped(self) -> None:
            await trio.sleep(3)

    async with open_runtime() as runtime:
        await runtime.spawn("sluggish", partial(Sluggish, "s", []), stop_s=0)
        await runtime.root.stop_child("sluggish")
    assert [event["event"] for event in log] == []


# ---------------------------------------------------------------- dynamic children


async def test_a_stopped_child_rests_with_its_name_until_it_is_restarted_or_removed(
    autojump_clock,
):
    async with open_runtime() as runtime:
        root = runtime.root
        counter = await runtime.spawn("counter", Counter)
        await counter.ask(Add(5))
        with pytest.raises(AlreadyRunning, match="counter"):
            await root.restart_child("counter")
        with pytest.raises(AlreadyRunning, match="counter"):
            root.remove_child("counter")
        await root.stop_child("counter")
        await root.stop_child("counter")  # again is harmless
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        with pytest.raises(ActorStopped):
            await counter.ask(Add(1))
        with pytest.raises(AlreadyPresent, match="restart_child"):
            await runtime.spawn("counter", Counter)
        with pytest.raises(AlreadyPresent, match="counter"):
            await runtime.supervise("counter")
        await root.restart_child("counter")
        assert await counter.ask(Add(1)) == 1, "a new incarnation behind the same ref"
        assert runtime.snapshot()[counter.path].is_conserved
        await root.stop_child("counter")
        root.remove_child("counter")
        for act in (root.restart_child, root.stop_child):
            with pytest.raises(ChildNotFound, match="nobody"):
                await act("counter")
        with pytest.raises(ChildNotFound, match="nobody"):
            root.remove_child("counter")
        other = await runtime.spawn("counter", Counter)
        assert other != counter
        with pytest.raises(ActorStopped):
            counter.tell_nowait(Add(1))


async def test_a_child_between_two_lives_is_neither_restarted_nor_removed_but_can_be_stopped(
    autojump_clock,
):
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow, seed="s") as runtime:
        root = runtime.root
        counter = await runtime.spawn("counter", Counter)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChildRestarting, match="counter"):
            await root.restart_child("counter")
        with pytest.raises(ChildRestarting, match="counter"):
            root.remove_child("counter")
        with pytest.raises(AlreadyRunning, match="counter"):
            await runtime.spawn("counter", Counter)
        await root.stop_child("counter")
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        await trio.sleep(1000)
        assert runtime.snapshot()[counter.path].state is State.STOPPED
        await root.restart_child("counter")
        assert await counter.ask(Add(1)) == 1


@pytest.mark.parametrize("stop_s", [0, 1, inf])
@pytest.mark.parametrize("waiting", [0, 2])
async def test_stopping_a_child_between_two_lives_leaves_it_at_rest_for_good(
    autojump_clock, log, stop_s, waiting
):
    slow = RestartPolicy(base_s=100, cap_s=100)
    async with open_runtime(restarts=slow, seed="s") as runtime:
        counter = await runtime.spawn("counter", Counter, stop_s=stop_s)
        counter.tell_nowait(Fail(KeyError("bug")))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(waiting):
            counter.tell_nowait(Add(1))
        await runtime.root.stop_child("counter")
        await trio.sleep(1000)
        after = runtime.snapshot()[counter.path]
        assert after.state is State.STOPPED
        assert after.is_conserved
        assert after.incarnation == (2 if waiting and stop_s == inf else 1)
        assert after.tally.handled == (waiting if stop_s == inf else 0), "a drain finishes them"
        assert after.tally.dead_lettered == (0 if stop_s == inf else waiting)
        assert crashes_in(log) == [(counter.path, "restart")]


async def test_a_child_that_crashes_while_it_is_stopped_rests_and_is_told(autojump_clock, log):
    async with open_runtime(restarts=EAGER) as runtime:
        player = await runtime.spawn("player", partial(Player, "p", []))
        player.tell_nowait(Work("a", 1))
        player.tell_nowait(Fail(KeyError("bug")))
        player.tell_nowait(Add(1))
        await runtime.root.stop_child("player")
        await trio.sleep(100)
        after = runtime.snapshot()[player.path]
        assert after.state is State.STOPPED
        assert after.is_conserved
        assert runtime.snapshot().restarts_left == 5
        assert crashes_in(log) == [(player.path, "leave")]


async def test_a_child_whose_stop_was_not_waited_for_still_comes_to_rest(autojump_clock):
    async with open_runtime() as runtime:
        player = await runtime.spawn("player", partial(Player, "p", []))
        player.tell_nowait(Work("a", 10))
        with trio.move_on_after(1):
            await runtime.root.stop_child("player")
        with trio.fail_after(60):
            await player.wait_stopped()
        await runtime.root.restart_child("player")
        assert await player.ask(Add(1)) == 1


async def test_a_start_that_fails_leaves_a_resting_child_at_rest(autojump_clock):
    moods = [None, OSError("no port"), None]
    async with open_runtime() as runtime:
        player = await runtime.spawn("player", partial(Player, "p", [], moods))
        await runtime.root.stop_child("player")
        with pytest.raises(OSError, match="no port"):
            await runtime.root.restart_child("player")
        assert runtime.snapshot()[player.path].state is State.STOPPED
        assert runtime.snapshot().restarts_left == 5, "it is the caller's failure"
        await runtime.root.restart_child("player")
        assert await player.ask(Add(1)) == 1


async def test_stopping_an_actor_twice_does_not_stop_its_successor_of_the_same_name(
    autojump_clock,
):
    async with open_runtime() as runtime:
        first = await runtime.spawn("counter", Counter)
        await runtime.stop(first)
        second = await runtime.spawn("counter", Counter)
        await runtime.stop(first)
        assert await second.ask(Add(1)) == 1


async def test_a_whole_branch_is_stopped_and_restarted_by_name(autojump_clock):
    journal: list[str] = []
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch")
        a, b = await spawn_all(branch, "ab", journal)
        await runtime.root.stop_child("branch")
        with pytest.raises(ActorStopped):
            a.tell_nowait(Add(1))
        with pytest.raises(ChildNotFound, match="does not run"):
            await branch.spawn("c", Counter)
        with pytest.raises(ChildNotFound, match="does not run"):
            await branch.restart_child("a")
        await runtime.root.restart_child("branch")
        assert [await ref.ask(Add(1)) for ref in (a, b)] == [1, 1]
        assert "".join(journal) == "+a+b-b-a+a+b"
        b.tell_nowait(Fail(KeyError("bug")))
        assert await b.ask(Add(1)) == 1, "and supervises again"


async def test_a_child_can_be_spawned_by_the_handler_of_another(autojump_clock):
    @attrs.frozen
    class Hire(Message[int]):
        name: str

    class Manager(Actor):
        @handles(Hire, raises=(AlreadyRunning,))
        async def hire(self, message: Hire) -> int:
            return await (await runtime.spawn(message.name, Counter)).ask(Add(2))

    async with open_runtime() as runtime:
        manager = await runtime.spawn("manager", Manager)
        assert await manager.ask(Hire("x")) == 2
        with pytest.raises(AlreadyRunning):
            await manager.ask(Hire("x"))


async def test_a_watcher_hears_of_the_end_but_not_of_a_restart(autojump_clock):
    @attrs.frozen
    class Gone(Message[None]):
        name: str

    heard: list[str] = []

    class Watcher(Actor):
        async def started(self) -> None:
            for ref in refs:
                self.watch(ref, Gone(ref.path))

        @handles(Gone)
        async def gone(self, message: Gone) -> None:
            heard.append(message.name)

    async with open_runtime("app", restarts=EAGER) as runtime:
        branch = await runtime.supervise("branch", restarts=NEVER)
        refs = [await branch.spawn(name, Counter) for name in "ab"]
        refs += [await branch.spawn("t", Counter, restart="temporary")]
        await runtime.spawn("watcher", Watcher)
        refs[0].tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert heard == ["app/branch/t"], "the branch was restarted, but not its temporary child"
        await branch.stop_child("a")
        await trio.sleep(1)
        assert heard[1:] == ["app/branch/a"]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"capacity": 0}, "capacity"),
        ({"concurrency": -1}, "concurrency"),
        ({"max_held": 0}, "max_held"),
        ({"restart": "always"}, "restart"),
        ({"stop_s": -1}, "stop_s"),
        ({"stop_s": nan}, "stop_s"),
        ({"redeliver": -1}, "redeliver"),
    ],
)
async def test_an_actor_s_settings_that_make_no_sense_are_refused_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=field):
            await runtime.spawn(**{"name": "x", "factory": Counter, **settings})
        assert runtime.snapshot().actors == ()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"strategy": "all_for_one"}, "strategy"),
        ({"restart": "always"}, "restart"),
        ({"stop_s": -0.1}, "stop_s"),
        ({"stop_s": nan}, "stop_s"),
    ],
)
async def test_a_supervisor_s_settings_that_make_no_sense_are_refused_by_name(settings, field):
    async with open_runtime() as runtime:
        with pytest.raises(ValueError, match=field):
            await runtime.supervise(**{"name": "x", **settings})
        assert runtime.snapshot().root.children == ()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"strategy": "all_for_one"}, "strategy"),
        ({"drain_s": -1}, "drain_s"),
        ({"drain_s": nan}, "drain_s"),
    ],
)
async def test_a_runtime_s_settings_that_make_no_sense_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=field):
        async with open_runtime(**settings):
            raise AssertionError("it should not open")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_restarts", -1),
        ("period_s", 0),
        ("period_s", nan),
        ("base_s", -1),
        ("cap_s", -1),
        ("healthy_s", -1),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        RestartPolicy(**{field: value})


async def test_a_declared_error_spends_no_restart(autojump_clock):
    async with open_runtime(restarts=NEVER) as runtime:
        counter = await runtime.spawn("counter", Counter)
        with pytest.raises(Declared):
            await counter.ask(Fail(Declared()))
        assert runtime.snapshot()[counter.path].incarnation == 1
