"""What the machines do to a tree: random scripts of sends, orders, pauses and an end."""

from typing import Literal

import attrs
from cues import (
    AskOn,
    Crash,
    Cue,
    Forward,
    Keep,
    Later,
    Quit,
    Reel,
    Refuse,
    Release,
    Shielded,
    Steady,
    TellOn,
    Urgent,
    Watch,
)
from hypothesis import strategies as st
from players import Mood, Place, Troupe

from callsheet.runtime import Coalesce, RestartPolicy
from callsheet.runtime._core import RESTARTS
from callsheet.runtime.supervision.restarts import STRATEGIES

__all__ = ["Manage", "Pause", "Script", "Send", "Step", "scripts"]


@attrs.frozen
class Patience:
    """When a client gives up: after seconds, or after checkpoints; or never."""

    seconds: float | None = None
    checkpoints: int | None = None


@attrs.frozen
class Send:
    """A client sends one message."""

    how: Literal["ask", "tell", "tell_nowait", "submit", "stream"]
    to: int
    message: Cue | Reel
    timeout: float
    patience: Patience


@attrs.frozen
class Manage:
    """A client gives an order about one child."""

    order: Literal["stop", "restart", "remove", "respawn", "stop_ref", "spawn", "pool"]
    whom: int
    place: Place
    patience: Patience


@attrs.frozen
class Pause:
    """Nothing new for a while: of virtual time, or of checkpoints."""

    seconds: float = 0.0
    checkpoints: int = 0


Step = Send | Manage | Pause


@attrs.frozen
class Script:
    """A tree, what is done to it, how it ends, and in which order tasks run."""

    tree: Troupe
    steps: tuple[Step, ...]
    ending: Literal["end", "error", "cancel"]
    cut_at: int | None  # the ending comes at this step of Trio's, if not after all others
    drain_s: float
    seed: int


def by_kind(message: object) -> str:
    return type(message).__name__


def by_length(message: object) -> float:
    return getattr(message, "seconds", 0.0)


brief = st.sampled_from([0.0, 0.0, 0.1, 1.0])
long = st.sampled_from([0.0, 0.5, 2.0, 8.0])
numbers = st.integers(0, 7)
ways = st.lists(numbers, max_size=3).map(tuple)

plain_cues = st.one_of(
    [st.builds(kind, seconds=long) for kind in (Cue, Steady, Shielded, Urgent, Refuse)]
)
cues = st.one_of(
    plain_cues,
    plain_cues,
    st.builds(Crash, seconds=brief),
    st.builds(Quit, seconds=brief),
    st.builds(AskOn, seconds=long, way=ways, timeout=st.sampled_from([0.5, 5.0, 1e9])),
    st.builds(TellOn, seconds=brief, way=ways),
    st.builds(Forward, seconds=brief, way=ways, crashes=st.booleans()),
    st.builds(Keep),
    st.builds(Release, seconds=brief),
    st.builds(Later, cue=plain_cues | st.builds(Crash), after=long, again=st.booleans()),
    st.builds(Watch, seconds=brief, whom=numbers),
)
reels = st.builds(Reel, items=st.integers(0, 4), seconds=brief, crashes=st.booleans())
patience = st.one_of(
    st.just(Patience()),
    st.builds(Patience, seconds=st.sampled_from([0.0, 0.3, 3.0, 20.0])),
    st.builds(Patience, checkpoints=st.integers(0, 12)),
)
calm = st.just(Mood())
moods = calm | st.builds(
    Mood,
    failing_starts=st.frozensets(st.integers(1, 4), max_size=2),
    started_s=brief,
    starts_timer=st.booleans(),
    draining_s=brief,
    draining_crashes=st.sampled_from([False, False, True]),
    releases=st.booleans(),
    stopped_s=st.sampled_from([0.0, 0.0, 1.0, 10.0]),
    stopped_crashes=st.sampled_from([False, False, True]),
    crash_on_message=st.none() | st.integers(1, 4),
    crash_at_checkpoint=st.none() | st.integers(1, 8),
)
places = st.builds(
    Place,
    mood=moods,
    capacity=st.integers(1, 3),
    overflow=st.sampled_from(["block", "reject", "drop_newest", "drop_oldest"]),
    priority=st.sampled_from([None, None, by_length]),
    concurrency=st.integers(1, 3),
    max_deferred=st.none() | st.integers(1, 2),
    restart=st.sampled_from(RESTARTS),
    stop_s=st.sampled_from([5.0, float("inf"), 0.5, 0.0]),
    redeliver=st.integers(0, 2),
) | st.builds(Place, mood=moods, overflow=st.just(Coalesce(by_kind)))
policies = st.builds(
    RestartPolicy,
    max_restarts=st.sampled_from([50, 50, 3, 1, 0]),
    period_s=st.sampled_from([1.0, 10.0, 60.0]),
    base_s=st.sampled_from([0.0, 0.5]),
    cap_s=st.just(2.0),
    healthy_s=st.sampled_from([0.0, 5.0]),
)


def troupes(depth: int) -> st.SearchStrategy[Troupe]:
    child = places | troupes(depth - 1) if depth else places
    return st.builds(
        Troupe,
        children=st.lists(child, min_size=1, max_size=3).map(tuple),
        strategy=st.sampled_from(STRATEGIES),
        policy=policies,
        restart=st.sampled_from(RESTARTS),
        stop_s=st.sampled_from([0.0, 0.5, 5.0, float("inf")]),
    )


hows = st.sampled_from(["ask", "ask", "ask", "ask", "tell", "tell_nowait", "submit"])
timeouts = st.sampled_from([3.0, 30.0, float("inf"), 0.5, 0.0])
sends = st.builds(Send, hows, numbers, cues, timeouts, patience) | st.builds(
    Send, st.just("stream"), numbers, reels, timeouts, patience
)
orders = st.builds(
    Manage,
    st.sampled_from(["stop", "restart", "remove", "respawn", "stop_ref", "spawn", "pool"]),
    numbers,
    places,
    patience,
)
pauses = st.builds(Pause, seconds=brief) | st.builds(Pause, checkpoints=st.integers(0, 6))


def scripts(min_steps: int, max_steps: int) -> st.SearchStrategy[Script]:
    """Scripts of so many steps."""
    step = st.one_of(pauses, pauses, *[sends] * 7, orders)  # what shrinks becomes a pause of 0
    return st.builds(
        Script,
        tree=troupes(2),
        steps=st.lists(step, min_size=min_steps, max_size=max_steps).map(tuple),
        ending=st.sampled_from(["end", "error", "cancel"]),
        cut_at=st.none() | st.none() | st.integers(1, 400),
        drain_s=st.sampled_from([0.0, 1.0, 10.0]),
        seed=st.integers(0, 1_000_000),
    )
