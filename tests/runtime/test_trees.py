"""R7: trees of supervisors: order, strategies, and kinds of children."""

from functools import partial

import pytest
import trio
from recording_actors import NO_PAUSE, NO_RESTARTS, End, Recorder, crashes_in, spawn_all
from sample_actors import Add, Fail, Work

from callsheet.runtime import ActorStopped, RestartIntensityExceeded, State, open_runtime

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
        branch = await runtime.supervise("branch", strategy=strategy, restarts=NO_PAUSE)
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
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
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
async def test_a_group_restart_keeps_mailboxes_and_refs_and_finishes_messages_in_progress(
    autojump_clock, strategy
):
    answers: dict[str, str] = {}

    async def caller(ref, name: str) -> None:
        answers[name] = await ref.ask(Work(name, 1))

    journal: list[str] = []
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", strategy=strategy, restarts=NO_PAUSE)
        refs = await spawn_all(branch, "abc", journal)
        async with trio.open_nursery() as nursery:
            for ref in refs:
                for number in range(3):
                    nursery.start_soon(caller, ref, f"{ref.path[-1]}{number}")
                    await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.5)
            refs[0]._cell.urgent.insert(0, (Fail(KeyError("bug")), None, 0.0, None))  # next in line
            refs[0]._cell.counts.bypassed += 1
        assert sorted(answers) == [f"{name}{number}" for name in "abc" for number in range(3)]
        snapshot = runtime.snapshot()
        assert [snapshot[ref.path].incarnation for ref in refs] == [2, 2, 2]
        assert all(snapshot[ref.path].is_conserved for ref in refs)
        assert [await ref.ask(Add(1)) for ref in refs] == [1, 1, 1]


async def test_a_start_that_fails_halfway_stops_what_it_started_and_is_tried_again(
    autojump_clock, log
):
    journal: list[str] = []
    start_errors = [None, OSError("no port"), OSError("no port yet"), None]
    async with open_runtime() as runtime:
        branch = await runtime.supervise("branch", strategy="one_for_all", restarts=NO_PAUSE)
        (a,) = await spawn_all(branch, "a", journal)
        await branch.spawn("b", partial(Recorder, "b", journal, start_errors))
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
    start_errors = [None, *(OSError("no port") for _ in range(9))]
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_runtime(strategy="one_for_all", restarts=NO_PAUSE) as runtime:
            (a,) = await spawn_all(runtime, "a", journal)
            await runtime.spawn("b", partial(Recorder, "b", journal, start_errors))
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
        ("permanent", True, "restarts"),
        ("permanent", False, "restarts"),
        ("transient", True, "restarts"),
        ("transient", False, "stops"),
        ("temporary", True, "forgotten"),
        ("temporary", False, "forgotten"),
    ],
)
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_kinds_of_children_and_how_they_end(  # noqa: PLR0917  # pytest names them
    autojump_clock, log, strategy, restart, crash, outcome
):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        (ref,) = await spawn_all(runtime, "a", journal, restart=restart)
        ref.tell_nowait(Fail(KeyError("bug")) if crash else End())
        await trio.sleep(1)
        states = {actor.path: actor.state for actor in runtime.snapshot().actors}
        if outcome == "restarts":
            assert states == {ref.path: State.RUNNING}
            assert await ref.ask(Add(1)) == 1
        else:
            with pytest.raises(ActorStopped):
                ref.tell_nowait(Add(1))
            assert states == ({ref.path: State.STOPPED} if outcome == "stops" else {})
    expected = "restart" if outcome == "restarts" else "leave"
    assert crashes_in(log) == ([(ref.path, expected)] if crash else [])


async def test_messages_queued_when_an_actor_stops_itself_wait_for_the_next_one(
    autojump_clock,
):
    async with open_runtime() as runtime:
        recorder = await runtime.spawn("recorder", partial(Recorder, "p", []))
        recorder.tell_nowait(End())
        recorder.tell_nowait(Add(3))
        assert await recorder.ask(Add(4)) == 7
        assert runtime.snapshot()[recorder.path].incarnation == 2


async def test_messages_queued_when_a_transient_actor_stops_itself_fail_as_not_started(
    autojump_clock,
):
    async with open_runtime() as runtime:
        recorder = await runtime.spawn("recorder", partial(Recorder, "p", []), restart="transient")
        recorder.tell_nowait(End())
        with pytest.raises(ActorStopped, match="was not started"):
            await recorder.ask(Add(4))
        assert runtime.snapshot()[recorder.path].is_conserved


@pytest.mark.parametrize("how", ["stop_child", "ends itself"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_group_restart_leaves_stopped_children_stopped(autojump_clock, log, strategy, how):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
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


async def test_a_group_restart_removes_temporary_children(autojump_clock):
    journal: list[str] = []
    async with open_runtime(strategy="one_for_all", restarts=NO_PAUSE) as runtime:
        (a,) = await spawn_all(runtime, "a", journal)
        (b,) = await spawn_all(runtime, "b", journal, restart="temporary")
        a.tell_nowait(Fail(KeyError("bug")))
        await trio.sleep(1)
        assert [actor.path for actor in runtime.snapshot().actors] == [a.path]
        with pytest.raises(ActorStopped):
            b.tell_nowait(Add(1))


async def test_a_restarted_supervisor_leaves_stopped_children_stopped_and_removes_temporary_ones(
    autojump_clock,
):
    journal: list[str] = []
    async with open_runtime(restarts=NO_PAUSE) as runtime:
        branch = await runtime.supervise("branch", restarts=NO_RESTARTS)
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
