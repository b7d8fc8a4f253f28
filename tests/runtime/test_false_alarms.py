"""R3: a reported deadlock would not have ended by itself, and what hangs is reported.

Random actors ask, tell, stop and start each other, in pools and in groups that restart. They run
once with a search for deadlocks that notes what it finds and reports nothing. What it has found
must still wait at the end, and if anything still waits, it must have found something. In a second
run, with reports, no client hangs.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Literal
from unittest.mock import patch

import attrs
import trio
from hypothesis import event, given, settings
from hypothesis import strategies as st

from callsheet.runtime import (
    Actor,
    AskFailed,
    ChildNotFound,
    Message,
    Ref,
    RestartPolicy,
    Runtime,
    handles,
    open_runtime,
)
from callsheet.runtime._core import ref as ref_module
from callsheet.runtime._core import worker as worker_module
from callsheet.runtime.testing import run_virtual

QUIET_S = 200.0  # nothing here takes as long unless it hangs
PATIENT = RestartPolicy(max_restarts=1000, base_s=0.5, cap_s=0.5)
NAMES = "abc"
REFUSED = (AskFailed, ChildNotFound, ValueError)  # what a stopped or busy actor leads to

# ---------------------------------------------------------------- the search that reports nothing


@attrs.define(eq=False)
class Attempt:
    """One wait of a handler or hook.

    Attributes:
        what: a description.
        is_found: whether the search says that it can never end.
        outcome: how it ended; None: it still waits.
    """

    what: str
    is_found: bool = False
    outcome: Literal["done", "refused", "cut"] | None = None


@attrs.define
class BlindSearch:
    """Replaces the search for deadlocks by one that notes what it finds."""

    attempts: dict[worker_module.Worker, list[Attempt]] = attrs.field(factory=dict)
    has_found: bool = False
    _search: Callable[..., tuple[str, ...] | None] = worker_module.find_cycle

    def __call__(self, worker, *, limits_count: bool = True) -> tuple[str, ...] | None:
        cycle = self._search(worker, limits_count=limits_count)
        if limits_count and cycle is not None:
            self.has_found = True
            self.attempts[worker][-1].is_found = True
        return None

    @property
    def all(self) -> list[Attempt]:
        return [attempt for attempts in self.attempts.values() for attempt in attempts]


# ---------------------------------------------------------------- actors and steps

Action = Literal["ask", "tell", "stop", "start"]


@attrs.frozen
class Go(Message[None]):
    """Makes the actor do something with another one, which has to `Go` on in turn."""

    route: tuple[tuple[Action, str], ...] = ()
    seconds: float = 0.0
    crashes: bool = False


@attrs.frozen
class NodeSpec:
    """An actor or a pool of the tree.

    Args:
        size: number of members of a pool; None: an actor.
        at_restart: what its `started` hook does after a crash.
    """

    size: int | None
    capacity: int
    concurrency: int
    stop_s: float
    at_restart: Go | None


@attrs.frozen
class Step:
    """A client sends a message, or stops an actor itself, after a pause."""

    pause_s: float
    name: str
    message: Go | None
    timeout: float


@attrs.define
class World:
    """What the actors of one run share."""

    search: BlindSearch
    runtime: Runtime | None = None
    is_over: bool = False
    refs: dict[str, Ref] = attrs.field(factory=dict)


class Node(Actor):
    def __init__(self, world: World, at_restart: Go | None, incarnations: list[int]) -> None:
        self.world, self.at_restart, self.incarnations = world, at_restart, incarnations

    async def started(self) -> None:
        self.incarnations.append(1)
        if self.at_restart is not None and len(self.incarnations) > 1:
            await self.go_on(self.at_restart)

    @handles(Go, raises=REFUSED)
    async def go(self, message: Go) -> None:
        await trio.sleep(message.seconds)
        if message.crashes:
            raise KeyError("bug")
        await self.go_on(message)

    async def go_on(self, message: Go) -> None:
        if not message.route:
            return
        (action, name), *rest = message.route
        following = attrs.evolve(message, route=tuple(rest))
        await self.attempt(f"{self.ref.path} {action} {name}", action, name, following)

    async def attempt(self, what: str, action: Action, name: str, following: Go) -> None:
        world, root = self.world, self.world.runtime.root
        call: Callable[[], Awaitable[object]] = {
            "ask": partial(world.refs[name].ask, following),
            "tell": partial(world.refs[name].tell, following),
            "stop": partial(root.stop_child, name),
            "start": partial(root.restart_child, name),
        }[action]
        attempt = Attempt(what)
        world.search.attempts.setdefault(worker_module.current_worker.get(), []).append(attempt)
        try:
            await call()
        except REFUSED:
            outcome = "refused"
        except BaseException:
            outcome = "cut"
            raise
        else:
            outcome = "done"
        finally:
            if not world.is_over:
                attempt.outcome = outcome


routes = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "tell", "stop", "start"]), st.sampled_from(NAMES)
    ),
    min_size=1,
    max_size=4,
).map(tuple)
goes = st.builds(
    Go, routes, st.sampled_from([0.0, 0.0, 1.0]), st.sampled_from([False, False, False, True])
)
specs = st.builds(
    NodeSpec,
    size=st.sampled_from([None, None, 1, 2]),
    capacity=st.integers(1, 2),
    concurrency=st.sampled_from([1, 1, 2]),
    stop_s=st.sampled_from([inf, inf, 2.0]),
    at_restart=st.none() | st.builds(Go, routes),
)
steps = st.builds(
    Step,
    pause_s=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    name=st.sampled_from(NAMES),
    message=st.one_of(goes, goes, goes, st.none()),
    timeout=st.sampled_from([inf, inf, 3.0]),
)
trees = st.tuples(*[specs] * len(NAMES))
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])

# ---------------------------------------------------------------- runs


async def run_steps(world: World, strategy, tree, script) -> int:
    """Run the steps; return how many clients still wait after a long quiet time."""
    left = 0
    with trio.CancelScope() as around:
        async with open_runtime(strategy=strategy, restarts=PATIENT, seed="s") as runtime:
            world.runtime = runtime
            for name, spec in zip(NAMES, tree, strict=False):
                await spawn(world, name, spec)

            async def client(step: Step) -> None:
                nonlocal left
                if world.search.has_found:
                    return  # nothing from outside may end the wait
                left += 1
                try:
                    if step.message is None:
                        await runtime.root.stop_child(step.name)
                    else:
                        await world.refs[step.name].ask(step.message, timeout=step.timeout)
                except REFUSED:
                    pass
                left -= 1

            async with trio.open_nursery() as nursery:
                for step in script:
                    await trio.sleep(step.pause_s)
                    nursery.start_soon(client, step)
                await trio.sleep(QUIET_S)
                world.is_over = True
                around.cancel()
    return left


async def spawn(world: World, name: str, spec: NodeSpec) -> None:
    factory = partial(Node, world, spec.at_restart, [])
    settings = attrs.asdict(spec, filter=lambda one, _: one.name not in ("size", "at_restart"))
    root = world.runtime.root
    if spec.size is None:
        world.refs[name] = await root.spawn(name, factory, **settings)
    else:
        factory = partial(Node, world, None, [])
        world.refs[name] = await root.spawn_pool(name, factory, size=spec.size, **settings)


def crashes_in_a_restart(strategy, script) -> bool:
    """Whether a child may crash while a sibling starts that waits for it; see the last test."""
    crashes = [step for step in script if step.message is not None and step.message.crashes]
    return strategy != "one_for_one" and len(crashes) > 1


@settings(max_examples=2 * settings.default.max_examples, deadline=None)
@given(
    strategy=strategies,
    tree=trees,
    script=st.lists(steps, min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_what_is_found_would_not_have_ended_by_itself(strategy, tree, script, seed):
    search = BlindSearch()
    with (
        patch.object(worker_module, "find_cycle", search),
        patch.object(ref_module, "find_cycle", search),
    ):
        run_virtual(run_steps, World(search), strategy, tree, script, seed=seed)
    found = [attempt for attempt in search.all if attempt.is_found]
    event("found" if found else "nothing found")
    # A wait that its own handler's deadline cuts would never get what it waits for either.
    assert [one for one in found if one.outcome in {"done", "refused"}] == []
    if not crashes_in_a_restart(strategy, script):
        assert found or [one for one in search.all if one.outcome is None] == []


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    strategy=strategies,
    tree=trees,
    script=st.lists(steps, min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_with_reports_no_client_hangs(strategy, tree, script, seed):
    left = run_virtual(run_steps, World(BlindSearch()), strategy, tree, script, seed=seed)
    assert left == 0 or crashes_in_a_restart(strategy, script)


def test_a_start_that_waits_for_a_sibling_which_crashes_meanwhile_does_not_hang():
    crash = Go(crashes=True)
    spec = NodeSpec(size=None, capacity=9, concurrency=1, stop_s=inf, at_restart=None)
    tree = (spec, attrs.evolve(spec, at_restart=Go((("ask", "a"),))))
    script = [Step(0.0, "a", crash, inf), Step(0.0, "a", attrs.evolve(crash, seconds=1.0), inf)]
    world = World(BlindSearch())
    run_virtual(run_steps, world, "one_for_all", tree, [*script, Step(5.0, "b", Go(), inf)])
    assert [one for one in world.search.all if one.outcome is None] == []
