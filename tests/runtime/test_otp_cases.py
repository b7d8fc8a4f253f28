"""R7: the cases of Erlang/OTP's supervisor: kinds, intensity, strategies and failing restarts.

The journals have starts (+), failed starts (!) and ends (-) of children by their names. The cases
of dynamic children and of trees are in `test_otp_trees`.
"""

from functools import partial

import pytest
import trio
from recording_actors import NO_PAUSE, End, Recorder, spawn_all
from sample_actors import Add, Fail, Work

from callsheet.runtime import (
    ActorStopped,
    RestartIntensityExceeded,
    RestartPolicy,
    State,
    open_runtime,
)

CRASH = Fail(KeyError("bug"))
NORMAL = End()


def states_of(runtime) -> str:
    """Return the children of the root: a capital letter for one that is stopped."""
    shown = {State.RUNNING: str.lower, State.STOPPED: str.upper}
    children = runtime.snapshot().root.children
    return "".join(shown[child.state](child.path.rpartition("/")[2]) for child in children)


# ---------------------------------------------------------------- kinds

RESTARTED = {
    "one_for_one": "-b+b",
    "one_for_all": "-b-c-a+a+b+c",
    "rest_for_one": "-b-c+b+c",
}  # when the second of three children has ended


@pytest.mark.parametrize("strategy", RESTARTED)
@pytest.mark.parametrize(
    ("restart", "end", "is_restarted", "after"),
    [
        ("permanent", CRASH, True, "abc"),
        ("permanent", NORMAL, True, "abc"),
        ("transient", CRASH, True, "abc"),
        ("transient", NORMAL, False, "aBc"),
        ("temporary", CRASH, False, "ac"),
        ("temporary", NORMAL, False, "ac"),
    ],
)
async def test_what_the_end_of_a_child_of_each_kind_does_to_it_and_to_its_siblings(  # noqa: PLR0917  # pytest names them
    autojump_clock, strategy, restart, end, is_restarted, after
):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        await spawn_all(runtime, "a", journal)
        (b,) = await spawn_all(runtime, "b", journal, restart=restart)
        await spawn_all(runtime, "c", journal)
        journal.clear()
        b.tell_nowait(end)
        await trio.sleep(1)
        assert "".join(journal) == (RESTARTED[strategy] if is_restarted else "-b")
        assert states_of(runtime) == after
        assert runtime.snapshot().restarts_left == (4 if is_restarted else 5)
        if is_restarted:
            assert await b.ask(Add(1)) == 1
        else:
            with pytest.raises(ActorStopped):
                await b.ask(Add(1))


@pytest.mark.parametrize(
    ("strategy", "expected", "after"),
    [
        ("one_for_one", "-c+c", "abcde"),
        ("one_for_all", "-c-e-d-b-a+a+c+d", "acd"),
        ("rest_for_one", "-c-e-d+c+d", "abcd"),
    ],
)
@pytest.mark.parametrize("end", [CRASH, NORMAL])
async def test_a_group_restart_starts_transient_siblings_and_removes_temporary_ones(
    autojump_clock, strategy, expected, after, end
):
    """A transient child did not end by itself here, so it comes back; a temporary one never."""
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        refs = {}
        for name, restart in zip(
            "abcde", ("transient", "temporary", "permanent", "transient", "temporary"), strict=True
        ):
            (refs[name],) = await spawn_all(runtime, name, journal, restart=restart)
        journal.clear()
        refs["c"].tell_nowait(end)
        await trio.sleep(1)
        assert "".join(journal) == expected
        assert states_of(runtime) == after


# ---------------------------------------------------------------- intensity


@pytest.mark.parametrize(
    ("crashes_at", "outcome"),
    [
        ([0, 1], "lives"),  # as many as allowed
        ([0, 1, 2], "fails"),  # one more
        pytest.param([0, 0, 0], "fails", marks=pytest.mark.slow),
        ([0, 1, 9.9], "fails"),  # the first is still in the window
        ([0, 1, 10.1], "lives"),  # it has slid out
        pytest.param([0, 1, 10.1, 10.2], "fails", marks=pytest.mark.slow),
        pytest.param([0, 1, 10.1, 11.2], "lives", marks=pytest.mark.slow),
        ([0, 9, 18, 27, 36], "lives"),  # never more than two in ten seconds
    ],
)
@pytest.mark.parametrize("spread", [False, True])
async def test_the_intensity_is_a_number_of_restarts_in_a_period_of_all_children_together(
    autojump_clock, crashes_at, outcome, spread
):
    policy = RestartPolicy(max_restarts=2, period_s=10, base_s=0)
    failures: list[RestartIntensityExceeded] = []
    try:
        async with open_runtime(restarts=policy) as runtime:
            refs = await spawn_all(runtime, "abc", [])
            for number, at in enumerate(crashes_at):
                await trio.sleep_until(at)
                refs[number % 3 if spread else 0].tell_nowait(CRASH)
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep_until(100)
            assert states_of(runtime) == "abc"
    except RestartIntensityExceeded as error:
        failures.append(error)
    assert len(failures) == (outcome == "fails")
    assert trio.current_time() == (crashes_at[-1] if failures else 100)
    assert all(isinstance(error.__cause__, KeyError) for error in failures)


@pytest.mark.parametrize(
    ("restart", "end", "counts"),
    [
        ("permanent", CRASH, True),
        ("permanent", NORMAL, True),
        ("transient", CRASH, True),
        ("transient", NORMAL, False),
        ("temporary", CRASH, False),
        ("temporary", NORMAL, False),
    ],
)
async def test_only_ends_that_lead_to_a_restart_count(autojump_clock, restart, end, counts):
    has_failed = False
    try:
        async with open_runtime(restarts=RestartPolicy(max_restarts=0)) as runtime:
            (a, b) = await spawn_all(runtime, "ab", [], restart=restart)
            a.tell_nowait(end)
            await trio.sleep(1)
            assert await b.ask(Add(1)) == 1
    except RestartIntensityExceeded:
        has_failed = True
    assert has_failed is counts


@pytest.mark.parametrize("strategy", RESTARTED)
async def test_a_group_restart_counts_once_however_many_children_it_restarts(
    autojump_clock, strategy
):
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        refs = await spawn_all(runtime, "abcdefgh", [])
        for left in (4, 3, 2):
            refs[0].tell_nowait(CRASH)
            await trio.sleep(1)
            assert runtime.snapshot().restarts_left == left


# ---------------------------------------------------------------- failing restarts


@pytest.mark.parametrize(
    ("strategy", "failing", "expected"),
    [
        # The child that has crashed fails to start again, once or twice.
        ("one_for_one", {"b": 1}, "-b!b+b"),
        ("one_for_one", {"b": 2}, "-b!b!b+b"),
        ("one_for_all", {"b": 1}, "-b-c-a+a!b-a+a+b+c"),
        ("rest_for_one", {"b": 1}, "-b-c!b+b+c"),
        ("rest_for_one", {"b": 2}, "-b-c!b!b+b+c"),
        # A sibling that is restarted with it fails. The next attempt stops what was started.
        ("one_for_all", {"a": 1}, "-b-c-a!a+a+b+c"),
        ("one_for_all", {"c": 1}, "-b-c-a+a+b!c-b-a+a+b+c"),
        ("one_for_all", {"a": 1, "c": 1}, "-b-c-a!a+a+b!c-b-a+a+b+c"),
        # rest_for_one goes on with the child that failed: those before it do not depend on it.
        ("rest_for_one", {"c": 1}, "-b-c+b!c+c"),
        ("rest_for_one", {"b": 1, "c": 1}, "-b-c!b+b!c+c"),
        ("rest_for_one", {"c": 3}, "-b-c+b!c!c!c+c"),
    ],
)
async def test_a_restart_that_fails_is_tried_again_by_the_strategy(
    autojump_clock, strategy, failing, expected
):
    journal: list[str] = []
    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        refs = {}
        for name in "abc":
            errors = [None, *[OSError("no port")] * failing.get(name, 0), None]
            refs[name] = await runtime.spawn(name, partial(Recorder, name, journal, errors))
        journal.clear()
        refs["b"].tell_nowait(CRASH)
        reply = await refs["b"].submit(Work("x", 0))
        await trio.sleep(1)
        assert "".join(journal) == expected
        assert states_of(runtime) == "abc"
        assert runtime.snapshot().restarts_left == 5 - 1 - sum(failing.values())
        assert await reply.wait() == "x by b", "its mailbox was kept (R2)"


async def test_a_child_that_crashes_while_a_later_one_fails_to_start_is_restarted_with_it(
    autojump_clock,
):
    journal: list[str] = []
    patient = RestartPolicy(base_s=1, cap_s=1)
    async with open_runtime(strategy="rest_for_one", restarts=patient, seed="s") as runtime:
        _, b = await spawn_all(runtime, "ab", journal)
        errors = [None, OSError("no port"), None]
        await runtime.spawn("c", partial(Recorder, "c", journal, errors))
        journal.clear()
        b.tell_nowait(CRASH)
        while "!c" not in journal:  # noqa: ASYNC110  # in virtual time
            await trio.sleep(0.01)
        b.tell_nowait(CRASH)
        await trio.sleep(5)
        assert "".join(journal) == "-b-c+b!c-b+b+c"
        assert states_of(runtime) == "abc"


@pytest.mark.parametrize("strategy", RESTARTED)
@pytest.mark.parametrize("failing", "bc")
async def test_restarts_that_always_fail_exceed_the_intensity_and_leave_nothing_running(
    autojump_clock, strategy, failing
):
    journal: list[str] = []
    failures: list[RestartIntensityExceeded] = []
    try:
        async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
            refs = {}
            for name in "abc":
                errors = [None, *[OSError("no port") if name == failing else None] * 9]
                refs[name] = await runtime.spawn(name, partial(Recorder, name, journal, errors))
            refs["b"].tell_nowait(CRASH)
            await trio.sleep(1)
            assert states_of(runtime) == "abc"
    except RestartIntensityExceeded as error:
        failures.append(error)
    assert all(isinstance(error.__cause__, OSError) for error in failures)
    # The restart of b alone never starts c again; else there are a crash and five attempts.
    expected = 0 if (strategy, failing) == ("one_for_one", "c") else 5
    assert journal.count(f"!{failing}") == expected
    assert len(failures) == (expected > 0)
    for name in "abc":
        assert journal.count(f"+{name}") == journal.count(f"-{name}")


@pytest.mark.parametrize("strategy", RESTARTED)
async def test_a_restart_that_takes_too_long_fails_and_is_tried_again(autojump_clock, strategy):
    starts: list[float] = []

    class SlowOnce(Recorder):
        async def started(self) -> None:
            starts.append(trio.current_time())
            if len(starts) == 2:
                await trio.sleep(100)

    async with open_runtime(strategy=strategy, restarts=NO_PAUSE) as runtime:
        slow = await runtime.spawn("slow", partial(SlowOnce, "s", []), start_s=3)
        slow.tell_nowait(CRASH)
        assert await slow.ask(Add(1)) == 1
        assert starts == [0, 0, 3]
        assert runtime.snapshot().restarts_left == 3


@pytest.mark.parametrize("strategy", RESTARTED)
async def test_what_waits_for_a_child_that_fails_to_start_again_is_handled_in_the_end(
    autojump_clock, strategy
):
    async with open_runtime(strategy=strategy, restarts=RestartPolicy(base_s=2)) as runtime:
        errors = [None, OSError("no port"), OSError("no port"), None]
        a = await runtime.spawn("a", partial(Recorder, "a", [], errors))
        a.tell_nowait(CRASH)
        replies = [await a.submit(Work(name, 0)) for name in "xyz"]
        assert [await reply.wait() for reply in replies] == ["x by a", "y by a", "z by a"]
