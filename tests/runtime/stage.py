"""Where the machines play a script, and what must hold while they do and afterwards."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import final

import attrs
import trio
from cues import Reel
from players import Bug, Declared, Place, Player, Troupe
from scripts import Manage, Pause, Script, Send

from callsheet.runtime import (
    AlreadyPresent,
    AlreadyRunning,
    AskFailed,
    ChildNotFound,
    ChildRestarting,
    Ref,
    RestartIntensityExceeded,
    Runtime,
    RuntimeSnapshot,
    Supervisor,
    format_tree,
    spawn_pool,
)
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.runtime.testing.faults import InjectedFault
from callsheet.runtime.testing.virtual import run_virtual

__all__ = ["PATIENCE_S", "play"]

ANSWERS = (AskFailed, Declared)
REFUSALS = (AlreadyPresent, AlreadyRunning, ChildNotFound, ChildRestarting, Bug, InjectedFault)
PATIENCE_S = 600.0  # of virtual time, several times what a script can take; later is a hang
AFTER_S = 15.0  # what clients may do on their own after the block: consume what was streamed


class Boom(Exception):
    """What the block is left by."""


@final
class Watcher(trio.abc.Instrument):
    """Looks at the books at each of Trio's steps, and ends the script at one of them."""

    def __init__(self, cut_at: int | None) -> None:
        self.steps = 0
        self.cut_at = cut_at
        self.cut = trio.CancelScope()
        self.look: Callable[[], RuntimeSnapshot] | None = None
        self.finding: AssertionError | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.look is None:
            return
        self.steps += 1
        if self.steps == self.cut_at:
            self.cut.cancel()
        if self.finding is None:
            try:
                check_conservation(self.look())
            except AssertionError as error:
                self.finding = error


def play(script: Script) -> Counter[str]:
    """Play it in virtual time; what was done, and how it ended, by name.

    Raises:
        AssertionError: something does not hold.
        Exception: something came out that must not.
    """
    watcher = Watcher(script.cut_at)
    stage = Stage(script, watcher)
    run_virtual(stage.run, seed=script.seed, instruments=[watcher])
    if watcher.finding is not None:
        raise watcher.finding
    stage.counts["scheduler steps"] = watcher.steps
    return stage.counts


@final
@attrs.define
class Stage:
    """One performance."""

    script: Script
    watcher: Watcher
    cast: list[Ref] = attrs.field(factory=list)
    places: list[tuple[Supervisor, str, Place | None]] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)

    async def run(self) -> None:
        trio.lowlevel.spawn_system_task(self._watchdog)
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as clients:
                try:
                    await self._tree_lives(clients)
                except* (Boom, RestartIntensityExceeded) as group:
                    self.counts.update(_leaves(group))
                self.watcher.look = None
                left_at = trio.current_time()
        waited_s = trio.current_time() - left_at
        assert waited_s <= AFTER_S, f"an asker waited {waited_s} s after the end"
        after = trio.lowlevel.current_statistics().tasks_living
        assert after == before, "a task outlives the block"

    async def _watchdog(self) -> None:
        await trio.sleep(2 * PATIENCE_S)
        raise AssertionError("something hangs that cannot even be cancelled")

    async def _tree_lives(self, clients: trio.Nursery) -> None:
        script, tree = self.script, self.script.tree
        with trio.CancelScope() as around:
            async with open_test_runtime(
                strategy=tree.strategy,
                restarts=tree.policy,
                drain_s=script.drain_s,
                seed=str(script.seed),
            ) as runtime:
                self.watcher.look = runtime.snapshot
                with self.watcher.cut:
                    await self._build(runtime.root, tree)
                    for step in script.steps:
                        await self._begin(step, runtime, clients)
                str(runtime.shutdown_plan())
                format_tree(runtime.snapshot())
                if script.ending == "error":
                    raise Boom
                if script.ending == "cancel":
                    around.cancel()
                    await trio.lowlevel.checkpoint()
            str(runtime.shutdown_report)

    async def _build(self, supervisor: Supervisor, tree: Troupe) -> None:
        for number, child in enumerate(tree.children):
            name = f"{type(child).__name__}-{number}".lower()
            if isinstance(child, Place):
                await self._spawn(supervisor, name, child)
                self.places.append((supervisor, name, child))
                continue
            try:
                below = await supervisor.supervise(
                    name,
                    strategy=child.strategy,
                    restarts=child.policy,
                    restart=child.restart,
                    stop_s=child.stop_s,
                )
            except REFUSALS:
                continue
            self.places.append((supervisor, name, None))
            await self._build(below, child)

    async def _spawn(self, supervisor: Supervisor, name: str, place: Place) -> None:
        factory = Player.factory(self.cast, place.mood)
        try:
            ref = await supervisor.spawn(name, factory, **place.settings())
        except REFUSALS as error:
            self.counts[type(error).__name__] += 1
        else:
            self.cast.append(ref)

    # ---------------------------------------------------------------- steps

    async def _begin(self, step: Send | Manage | Pause, runtime: Runtime, clients) -> None:
        self.counts["steps"] += 1
        if isinstance(step, Pause):
            await trio.sleep(step.seconds)
            for _ in range(step.checkpoints):
                await trio.lowlevel.checkpoint()
            return
        if isinstance(step, Send):
            if not self.cast:
                return
            do = partial(self._send, step, self.cast[step.to % len(self.cast)])
        else:
            do = partial(self._manage, step, runtime)
        clients.start_soon(self._client, do, step.patience, clients)

    async def _client(self, do: Callable[[], Awaitable[str]], patience, clients) -> None:
        seconds = float("inf") if patience.seconds is None else patience.seconds
        with trio.move_on_after(seconds) as scope:
            if patience.checkpoints is not None:
                clients.start_soon(_cancel_after, scope, patience.checkpoints)
            try:
                outcome = await do()
            except (*ANSWERS, *REFUSALS) as error:
                outcome = type(error).__name__
            self.counts[outcome] += 1
        if scope.cancelled_caught:
            self.counts["gave up"] += 1

    async def _send(self, step: Send, ref: Ref) -> str:
        match step.how:
            case "ask":
                await ref.ask(step.message, timeout=step.timeout)
            case "tell":
                await ref.tell(step.message)
            case "tell_nowait":
                ref.tell_nowait(step.message)
            case "submit":
                slot = await ref.submit(step.message, deadline=trio.current_time() + step.timeout)
                await slot.wait()
            case "stream":
                assert isinstance(step.message, Reel)
                got = []
                async with ref.stream(step.message, buffer=2, timeout=step.timeout) as items:
                    async for item in items:
                        got.append(item)
                        await trio.sleep(0.1)
                # A message that is redelivered after a crash streams all its items once more.
                whole = list(range(step.message.items))
                assert got[len(got) - len(whole) :] == whole, "a stream that ended is whole"
        return f"{step.how} done"

    async def _manage(self, step: Manage, runtime: Runtime) -> str:
        supervisor, name, place = self.places[step.whom % len(self.places)]
        match step.order:
            case "stop":
                await supervisor.stop_child(name)
            case "restart":
                await supervisor.restart_child(name)
            case "remove":
                supervisor.remove_child(name)
            case "respawn":
                await self._spawn(supervisor, name, place or step.place)
            case "stop_ref":
                if self.cast:
                    await runtime.stop(self.cast[step.whom % len(self.cast)])
            case "spawn":
                extra = f"extra-{len(self.places)}"
                self.places.append((supervisor, extra, step.place))
                await self._spawn(supervisor, extra, step.place)
            case "pool":
                factory = Player.factory(self.cast, step.place.mood)
                extra = f"pool-{len(self.places)}"
                self.places.append((supervisor, extra, None))
                self.cast.append(await spawn_pool(supervisor, extra, factory, size=2, capacity=2))
        return f"{step.order} done"


async def _cancel_after(scope: trio.CancelScope, checkpoints: int) -> None:
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


def _leaves(group: BaseExceptionGroup) -> list[str]:
    names: list[str] = []
    for error in group.exceptions:
        names += _leaves(error) if isinstance(error, BaseExceptionGroup) else [type(error).__name__]
    return names
