"""R1, R3, R9, R15 to R17 in random trees, under faults and floods, ended at any checkpoint."""

from collections import Counter

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from stress_actors import ActorSpec, Behaviour, SupervisorSpec
from stress_messages import AskOn, Crash, Forward, Hold, SendItems, Wait
from stress_runner import run_script
from stress_scripts import CancelAfter, Manage, Pause, Script, Send, scripts

from callsheet.runtime import RestartPolicy

OUTCOMES = (
    *("ActorCrashed", "ActorStopped", "AskTimedOut", "Deadlock", "Dropped", "MailboxFull"),
    *("MailboxFunctionFailed", "StartTimedOut", "TooManyChildren"),
    *("AlreadyPresent", "AlreadyRunning", "ChildNotFound", "ChildRestarting", "ChildStopping"),
    *("RestartIntensityExceeded", "BlockError"),
    *("pool done", "resize done", "stop done", "stop_ref done", "wait_stopped done"),
)
"""Outcomes that must occur; otherwise the scripts do not exercise enough."""
RARE = ("AlreadyPresent", "Deadlock", "RestartIntensityExceeded", "StartTimedOut", "pool done")
"""Those of them that forty scripts may lack."""


def run_all(examples: int, *, derandomize: bool) -> Counter[str]:
    """Run a number of random scripts; return how often each outcome occurred."""
    done: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),  # scripts are large on purpose
    )
    @given(scripts(min_steps=30, max_steps=50))
    def run_one(script):
        done.update(run_script(script))

    run_one()
    return done


def test_no_script_makes_a_caller_hang_or_loses_a_message_or_leaves_a_task():
    done = run_all(40, derandomize=True)
    print(dict(done))
    assert done["steps"] >= 1_000
    assert [outcome for outcome in OUTCOMES if not done[outcome] and outcome not in RARE] == []


@pytest.mark.slow
def test_no_script_of_four_hundred_does_so():
    done = run_all(400, derandomize=True)
    print(dict(done))
    assert done["steps"] >= 10_000
    assert [outcome for outcome in OUTCOMES if not done[outcome]] == []


@pytest.mark.slow
def test_no_script_of_many_more_does_so():
    done = run_all(10_000, derandomize=False)
    print(dict(done))
    assert done["steps"] >= 200_000


ENDINGS = ("end", "error", "cancel")

# A small tree with many concurrent events, for the tests below.
POLICY = RestartPolicy(max_restarts=4, period_s=10, base_s=0.5, cap_s=1)
STORM = Script(
    tree=SupervisorSpec(
        strategy="rest_for_one",
        policy=POLICY,
        children=(
            ActorSpec(behaviour=Behaviour(stopped_s=1.0, releases=True), capacity=1, redeliver=1),
            SupervisorSpec(
                strategy="one_for_all",
                policy=POLICY,
                children=(
                    ActorSpec(concurrency=2, capacity=1, behaviour=Behaviour(starts_timer=True)),
                    ActorSpec(
                        behaviour=Behaviour(crash_at_checkpoint=3),
                        restart="transient",
                        max_deferred=1,
                    ),
                ),
            ),
        ),
    ),
    steps=(
        Send("ask", 0, Wait(seconds=2.0), float("inf"), CancelAfter()),
        Send("ask", 0, AskOn(route=(1, 2), timeout=1e9), float("inf"), CancelAfter()),
        Send("ask", 1, Forward(route=(2, 0)), float("inf"), CancelAfter()),
        Send("stream", 1, SendItems(items=4, seconds=0.1), 30.0, CancelAfter()),
        Pause(seconds=0.2),
        Send("ask", 2, Hold(), 30.0, CancelAfter()),
        Send("ask", 2, Wait(seconds=1.0), 30.0, CancelAfter(checkpoints=3)),
        Send("tell", 1, Crash(), 30.0, CancelAfter()),
        Manage("stop", 2, ActorSpec(), CancelAfter()),
        Send("ask", 0, Hold(), 1.0, CancelAfter()),
        Pause(seconds=1.0),
        Manage("restart", 2, ActorSpec(), CancelAfter()),
        Send("submit", 2, Wait(seconds=1.0), 30.0, CancelAfter()),
        Send("ask", 0, Crash(), 30.0, CancelAfter()),
        Pause(seconds=1.0),
    ),
    ending="end",
    cut_at=None,
    drain_s=3.0,
    seed=0,
)


@pytest.mark.parametrize(
    ("ending", "every"),
    [("end", 5), *(pytest.param(it, 1, marks=pytest.mark.slow) for it in ENDINGS)],
)
def test_the_storm_may_end_at_each_of_its_checkpoints(ending, every):
    storm = attrs.evolve(STORM, ending=ending)
    last = run_script(storm)["scheduler steps"]
    assert last > 100
    for cut_at in (*range(1, last, every), last):
        try:
            run_script(attrs.evolve(storm, cut_at=cut_at, seed=cut_at))
        except BaseException as error:
            error.add_note(f"when the script was ended at checkpoint {cut_at}")
            raise


def test_a_script_that_is_run_again_has_the_same_outcomes():
    assert run_script(STORM) == run_script(STORM)
    routes = {
        tuple(sorted(run_script(attrs.evolve(STORM, seed=seed)).items())) for seed in range(4)
    }
    assert len(routes) > 1, "another seed gives another order"
