"""R1, R3, R9 under everything at once: random trees, faults, floods and ends, at any checkpoint."""

from collections import Counter

import attrs
import pytest
from cues import AskOn, Crash, Cue, Forward, Keep, Reel
from hypothesis import HealthCheck, given, settings
from players import Mood, Place, Troupe
from scripts import Manage, Patience, Pause, Script, Send, scripts
from stage import play

from callsheet.runtime import RestartPolicy

FEWEST_STEPS = 10_000
OUTCOMES = (
    *("ActorCrashed", "ActorStopped", "AskTimedOut", "Deadlock", "Dropped", "MailboxFull"),
    *("AlreadyPresent", "AlreadyRunning", "ChildNotFound", "ChildRestarting"),
    *("RestartIntensityExceeded", "Boom"),
)
"""What must have come up, or the scripts have become too tame to show anything."""


def play_all(examples: int, *, derandomize: bool) -> Counter[str]:
    """Play so many random scripts; what was done in them."""
    done: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),  # a script is large, by intent
    )
    @given(scripts(min_steps=30, max_steps=50))
    def machine(script):
        done.update(play(script))

    machine()
    return done


def test_no_script_makes_an_asker_hang_or_loses_a_message_or_leaves_a_task():
    done = play_all(400, derandomize=True)
    print(dict(done))
    assert done["steps"] >= FEWEST_STEPS
    assert [outcome for outcome in OUTCOMES if not done[outcome]] == []


@pytest.mark.slow
def test_none_of_many_more_scripts_does_so_either():
    done = play_all(10_000, derandomize=False)
    print(dict(done))
    assert done["steps"] >= 20 * FEWEST_STEPS


# A small tree in which much goes on at once, for the ends below.
ROUGH = RestartPolicy(max_restarts=4, period_s=10, base_s=0.5, cap_s=1)
STORM = Script(
    tree=Troupe(
        strategy="rest_for_one",
        policy=ROUGH,
        children=(
            Place(mood=Mood(stopped_s=1.0, releases=True), capacity=1, redeliver=1),
            Troupe(
                strategy="one_for_all",
                policy=ROUGH,
                children=(
                    Place(concurrency=2, capacity=1, mood=Mood(starts_timer=True)),
                    Place(mood=Mood(crash_at_checkpoint=3), restart="transient", max_deferred=1),
                ),
            ),
        ),
    ),
    steps=(
        Send("ask", 0, Cue(seconds=2.0), 30.0, Patience()),
        Send("ask", 0, AskOn(way=(1, 2)), 30.0, Patience()),
        Send("ask", 1, Forward(way=(2, 0)), 30.0, Patience()),
        Send("stream", 1, Reel(items=4, seconds=0.1), 30.0, Patience()),
        Pause(seconds=0.2),
        Send("ask", 2, Keep(), 30.0, Patience()),
        Send("ask", 2, Cue(seconds=1.0), 30.0, Patience(checkpoints=3)),
        Send("tell", 1, Crash(), 30.0, Patience()),
        Manage("stop", 2, Place(), Patience()),
        Send("ask", 0, Keep(), 1.0, Patience()),
        Pause(seconds=1.0),
        Manage("restart", 2, Place(), Patience()),
        Send("submit", 2, Cue(seconds=1.0), 30.0, Patience()),
        Send("ask", 0, Crash(), 30.0, Patience()),
        Pause(seconds=1.0),
    ),
    ending="end",
    cut_at=None,
    drain_s=3.0,
    seed=0,
)


@pytest.mark.parametrize("ending", ["end", "error", "cancel"])
def test_the_storm_may_end_at_each_of_its_checkpoints(ending):
    storm = attrs.evolve(STORM, ending=ending)
    last = play(storm)["scheduler steps"]
    assert last > 100
    for cut_at in range(1, last + 1):
        try:
            play(attrs.evolve(storm, cut_at=cut_at, seed=cut_at))
        except BaseException as error:
            error.add_note(f"when it was ended at checkpoint {cut_at}")
            raise


def test_a_script_that_is_played_again_goes_the_same_way():
    assert play(STORM) == play(STORM)
    ways = {tuple(sorted(play(attrs.evolve(STORM, seed=seed)).items())) for seed in range(20)}
    assert len(ways) > 1, "another seed gives another order"
