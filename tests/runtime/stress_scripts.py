"""Random scripts of the stress tests: a tree, sends, management calls, pauses and an end."""

from math import inf
from typing import Literal, get_args

import attrs
from hypothesis import strategies as st
from stress_actors import ActorSpec, Behaviour, SupervisorSpec
from stress_messages import (
    AskOn,
    Crash,
    Forward,
    Hold,
    Nest,
    Own,
    RaiseDeclared,
    Release,
    SendItems,
    SetTimer,
    Shielded,
    StopItself,
    TellOn,
    Uninterruptible,
    Urgent,
    Wait,
    Watch,
)

from callsheet.runtime import Coalesce, RestartPolicy, StopOrder
from callsheet.runtime._core import RESTARTS, STRATEGIES

__all__ = ["Manage", "Pause", "Script", "Send", "Step", "scripts"]


@attrs.frozen
class CancelAfter:
    """When a client cancels its call: after seconds, after checkpoints, or never."""

    seconds: float | None = None
    checkpoints: int | None = None


@attrs.frozen
class Send:
    """A client sends one message."""

    method: Literal["ask", "tell", "tell_nowait", "submit", "stream", "wait_stopped"]
    to: int
    message: Wait | SendItems
    timeout: float
    cancel_after: CancelAfter


Operation = Literal["stop", "restart", "remove", "respawn", "stop_ref", "spawn", "pool", "resize"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@attrs.frozen
class Manage:
    """A client stops, starts, removes or adds a child."""

    operation: Operation
    target: int
    spec: ActorSpec
    cancel_after: CancelAfter


@attrs.frozen
class Pause:
    """The script waits: for some virtual time, or for some checkpoints."""

    seconds: float = 0.0
    checkpoints: int = 0


Step = Send | Manage | Pause


@attrs.frozen
class Script:
    """A tree, the steps to run against it, how the block ends, and a seed."""

    tree: SupervisorSpec
    steps: tuple[Step, ...]
    ending: Literal["end", "error", "cancel"]
    cut_at: int | None  # end at this step of Trio's scheduler, if not earlier
    drain_s: float
    seed: int
    instrument_fails_at: int | None = None  # number of the call at which an instrument raises


def by_kind(message: object) -> str:
    return type(message).__name__


def by_length(message: object) -> float:
    return getattr(message, "seconds", 0.0)


def failing_priority(message: object) -> float:
    if isinstance(message, Hold | RaiseDeclared):
        raise TypeError("no priority")
    return float("nan") if isinstance(message, Urgent | Shielded) else by_length(message)


def failing_key(message: object) -> object:
    if isinstance(message, Hold | RaiseDeclared):
        raise TypeError("no key")
    return [] if isinstance(message, Shielded) else by_kind(message)  # a list has no hash


brief = st.sampled_from([0.0, 0.0, 0.1, 1.0])
long = st.sampled_from([0.0, 0.5, 2.0, 8.0])
numbers = st.integers(0, 7)
routes = st.lists(numbers, max_size=3).map(tuple)

plain_messages = st.one_of(
    [
        st.builds(kind, seconds=long)
        for kind in (Wait, Uninterruptible, Shielded, Urgent, RaiseDeclared)
    ]
)
owns = st.builds(
    Own,
    seconds=brief,
    what=st.sampled_from(["task", "context", "child", "pool", "supervisor"]),
    fails=st.booleans(),
)
messages = st.one_of(
    plain_messages,
    plain_messages,
    st.builds(Crash, seconds=brief),
    st.builds(StopItself, seconds=brief),
    st.builds(AskOn, seconds=long, route=routes, timeout=st.sampled_from([0.5, 5.0, inf])),
    st.builds(TellOn, seconds=brief, route=routes),
    st.builds(Forward, seconds=brief, route=routes, crashes=st.booleans()),
    st.builds(Hold),
    st.builds(Release, seconds=brief),
    st.builds(
        SetTimer, message=plain_messages | st.builds(Crash), after=long, periodic=st.booleans()
    ),
    st.builds(
        Watch, seconds=brief, target=numbers, fails=st.booleans(), is_cancelled=st.booleans()
    ),
    st.builds(Nest, seconds=brief, crashes=st.booleans()),
    owns,
)
item_messages = st.builds(SendItems, items=st.integers(0, 4), seconds=brief, crashes=st.booleans())
cancel_after = st.one_of(
    st.just(CancelAfter()),
    st.builds(CancelAfter, seconds=st.sampled_from([0.0, 0.3, 3.0, 20.0])),
    st.builds(CancelAfter, checkpoints=st.integers(0, 12)),
)
no_behaviour = st.just(Behaviour())
behaviours = no_behaviour | st.builds(
    Behaviour,
    failing_starts=st.frozensets(st.integers(1, 4), max_size=2),
    started_s=brief,
    starts_timer=st.booleans(),
    draining_s=brief,
    draining_crashes=st.sampled_from([False, False, True]),
    releases=st.booleans(),
    stopped_s=st.sampled_from([0.0, 0.0, 1.0, 10.0]),
    stopped_crashes=st.sampled_from([False, False, True]),
    owns=st.lists(owns, max_size=2).map(tuple),
    crash_on_message=st.none() | st.integers(1, 4),
    crash_at_checkpoint=st.none() | st.integers(1, 8),
)
actor_specs = st.builds(
    ActorSpec,
    behaviour=behaviours,
    capacity=st.integers(1, 3),
    overflow=st.sampled_from(["block", "reject", "drop_newest", "drop_oldest"]),
    priority=st.sampled_from([None, None, by_length, failing_priority]),
    concurrency=st.integers(1, 3),
    max_deferred=st.none() | st.integers(1, 2),
    restart=st.sampled_from(RESTARTS),
    start_s=st.sampled_from([None, None, None, 0.5]),
    stop_s=st.sampled_from([5.0, float("inf"), 0.5, 0.0]),
    redeliver=st.integers(0, 2),
) | st.builds(
    ActorSpec,
    behaviour=behaviours,
    overflow=st.sampled_from([Coalesce(by_kind), Coalesce(failing_key)]),
)
policies = st.builds(
    RestartPolicy,
    max_restarts=st.sampled_from([50, 50, 3, 1, 0]),
    period_s=st.sampled_from([1.0, 10.0, 60.0]),
    base_s=st.sampled_from([0.0, 0.5]),
    cap_s=st.just(2.0),
    healthy_s=st.sampled_from([0.0, 5.0]),
)


def supervisor_specs(depth: int) -> st.SearchStrategy[SupervisorSpec]:
    child = actor_specs | supervisor_specs(depth - 1) if depth else actor_specs
    return st.builds(
        SupervisorSpec,
        children=st.lists(child, min_size=1, max_size=3).map(tuple),
        strategy=st.sampled_from(STRATEGIES),
        policy=policies,
        restart=st.sampled_from(RESTARTS),
        start_s=st.sampled_from([None, None, None, 2.0]),
        stop_s=st.sampled_from([0.0, 0.5, 5.0, float("inf")]),
        stop_order=st.sampled_from(get_args(StopOrder)),
        max_children=st.sampled_from([None, None, 2, 5]),
    )


methods = st.sampled_from(
    ["ask", "ask", "ask", "ask", "tell", "tell_nowait", "submit", "wait_stopped"]
)
timeouts = st.sampled_from([3.0, 30.0, float("inf"), 0.5, 0.0])
sends = st.builds(Send, methods, numbers, messages, timeouts, cancel_after) | st.builds(
    Send, st.just("stream"), numbers, item_messages, timeouts, cancel_after
)
operations = st.builds(
    Manage,
    st.sampled_from(OPERATIONS),
    numbers,
    actor_specs,
    cancel_after,
)
pauses = st.builds(Pause, seconds=brief) | st.builds(Pause, checkpoints=st.integers(0, 6))


def scripts(min_steps: int, max_steps: int) -> st.SearchStrategy[Script]:
    """Generate scripts with a number of steps in the given range."""
    step = st.one_of(pauses, pauses, *[sends] * 7, operations)  # examples shrink to pauses of 0
    return st.builds(
        Script,
        tree=supervisor_specs(2),
        steps=st.lists(step, min_size=min_steps, max_size=max_steps).map(tuple),
        ending=st.sampled_from(["end", "error", "cancel"]),
        cut_at=st.none() | st.none() | st.integers(1, 400),
        drain_s=st.sampled_from([0.0, 1.0, 10.0]),
        seed=st.integers(0, 1_000_000),
        instrument_fails_at=st.none() | st.integers(1, 60),
    )
