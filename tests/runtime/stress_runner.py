"""Run a stress script against a runtime, and check what must hold during and after it."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import final

import attrs
import trio
from stress_actors import ActorSpec, Crashed, Declared, StressActor, SupervisorSpec
from stress_messages import SendItems
from stress_scripts import Manage, Pause, Script, Send, by_kind, failing_key

from callsheet.runtime import (
    AlreadyPresent,
    AlreadyRunning,
    AskFailed,
    ChildNotFound,
    Coalesce,
    Instrument,
    PoolRef,
    Ref,
    RestartIntensityExceeded,
    Runtime,
    RuntimeSnapshot,
    StartTimedOut,
    Supervisor,
    TooManyChildren,
    format_tree,
)
from callsheet.runtime.testing import (
    InjectedFault,
    check_conservation,
    open_test_runtime,
    run_virtual,
)

__all__ = ["LIMIT_S", "run_script"]

EXPECTED = (
    AskFailed,
    Declared,
    AlreadyPresent,
    AlreadyRunning,
    ChildNotFound,
    Crashed,
    InjectedFault,
    StartTimedOut,
    TooManyChildren,
)
LIMIT_S = 600.0  # virtual; several times what a script can take, so a longer run hangs
AFTER_S = 15.0  # virtual; clients may consume the rest of a stream after the block


class BlockError(Exception):
    """The exception with which a script ends the runtime's block."""


@final
class ConservationCheck(trio.abc.Instrument):
    """Checks R9 at each step of Trio's scheduler, and ends the script at a chosen step."""

    def __init__(self, cut_at: int | None) -> None:
        self.steps = 0
        self.cut_at = cut_at
        self.cut = trio.CancelScope()
        self.snapshot: Callable[[], RuntimeSnapshot] | None = None
        self.finding: AssertionError | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.snapshot is None:
            return
        self.steps += 1
        if self.steps == self.cut_at:
            self.cut.cancel()
        if self.finding is None:
            try:
                check_conservation(self.snapshot())
            except AssertionError as error:
                self.finding = error


class FailingInstrument(Instrument):
    """An instrument whose hooks raise at one call.

    Args:
        fails_at: number of the call that raises, from 1; None: none does.
    """

    def __init__(self, fails_at: int | None) -> None:
        self.calls = 0
        self.fails_at = fails_at

    def count(self, *_: object) -> None:
        self.calls += 1
        if self.calls == self.fails_at:
            raise ValueError("an instrument's own bug")


for hook in vars(Instrument):
    if not hook.startswith("_"):
        setattr(FailingInstrument, hook, FailingInstrument.count)


def run_script(script: Script) -> Counter[str]:
    """Run a script in virtual time; return how often each outcome occurred, by name.

    Raises:
        AssertionError: an invariant does not hold.
        Exception: the runtime raised an exception that it must not raise.
    """
    check = ConservationCheck(script.cut_at)
    runner = ScriptRunner(script, check)
    run_virtual(runner.run, seed=script.seed, instruments=[check])
    if check.finding is not None:
        raise check.finding
    runner.counts["scheduler steps"] = check.steps
    return runner.counts


@final
@attrs.define
class ScriptRunner:
    """One run of a script."""

    script: Script
    check: ConservationCheck
    refs: list[Ref] = attrs.field(factory=list)
    children: list[tuple[Supervisor, str, ActorSpec | None]] = attrs.field(factory=list)
    pools: list[PoolRef] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)

    async def run(self) -> None:
        trio.lowlevel.spawn_system_task(self._watchdog)
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as clients:
                try:
                    await self._run_tree(clients)
                except* (BlockError, RestartIntensityExceeded) as group:
                    self.counts.update(_leaves(group))
                self.check.snapshot = None
                left_at = trio.current_time()
        waited_s = trio.current_time() - left_at
        assert waited_s <= AFTER_S, f"a caller waited {waited_s} s after the end"
        after = trio.lowlevel.current_statistics().tasks_living
        assert after == before, "a task outlives the block"

    async def _watchdog(self) -> None:
        await trio.sleep(2 * LIMIT_S)
        raise AssertionError("a task hangs and ignores its cancellation")

    async def _run_tree(self, clients: trio.Nursery) -> None:
        script, tree = self.script, self.script.tree
        with trio.CancelScope() as around:
            async with open_test_runtime(
                strategy=tree.strategy,
                restarts=tree.policy,
                drain_s=script.drain_s,
                seed=str(script.seed),
                instruments=[FailingInstrument(script.instrument_fails_at)],
            ) as runtime:
                self.check.snapshot = runtime.snapshot
                with self.check.cut:
                    await self._build(runtime.root, tree)
                    for step in script.steps:
                        await self._begin(step, runtime, clients)
                str(runtime.shutdown_plan())
                format_tree(runtime.snapshot())
                if script.ending == "error":
                    raise BlockError
                if script.ending == "cancel":
                    around.cancel()
                    await trio.lowlevel.checkpoint()
            str(runtime.shutdown_report)

    async def _build(self, supervisor: Supervisor, tree: SupervisorSpec) -> None:
        for number, child in enumerate(tree.children):
            name = f"{type(child).__name__}-{number}".lower()
            if isinstance(child, ActorSpec):
                await self._spawn(supervisor, name, child)
                self.children.append((supervisor, name, child))
                continue
            try:
                below = await supervisor.supervise(name, **child.settings())
            except (*EXPECTED, ExceptionGroup) as error:
                self.counts[_expected(error)] += 1
                continue
            self.children.append((supervisor, name, None))
            await self._build(below, child)

    async def _spawn(self, supervisor: Supervisor, name: str, spec: ActorSpec) -> None:
        factory = StressActor.factory(self.refs, spec.behaviour)
        try:
            ref = await supervisor.spawn(name, factory, **spec.settings())
        except (*EXPECTED, ExceptionGroup) as error:
            self.counts[_expected(error)] += 1
        else:
            self.refs.append(ref)

    # ---------------------------------------------------------------- steps

    async def _begin(self, step: Send | Manage | Pause, runtime: Runtime, clients) -> None:
        self.counts["steps"] += 1
        if isinstance(step, Pause):
            await trio.sleep(step.seconds)
            for _ in range(step.checkpoints):
                await trio.lowlevel.checkpoint()
            return
        if isinstance(step, Send):
            if not self.refs:
                return
            do = partial(self._send, step, self.refs[step.to % len(self.refs)])
        else:
            do = partial(self._manage, step, runtime)
        clients.start_soon(self._client, do, step.cancel_after, clients)

    async def _client(self, do: Callable[[], Awaitable[str]], cancel_after, clients) -> None:
        seconds = float("inf") if cancel_after.seconds is None else cancel_after.seconds
        with trio.move_on_after(seconds) as scope:
            if cancel_after.checkpoints is not None:
                clients.start_soon(_cancel_after, scope, cancel_after.checkpoints)
            try:
                outcome = await do()
            except (*EXPECTED, ExceptionGroup) as error:
                outcome = _expected(error)
            self.counts[outcome] += 1
        if scope.cancelled_caught:
            self.counts["cancelled"] += 1

    async def _send(self, step: Send, ref: Ref) -> str:
        match step.method:
            case "ask":
                await ref.ask(step.message, timeout=step.timeout)
            case "tell":
                await ref.tell(step.message)
            case "tell_nowait":
                ref.tell_nowait(step.message)
            case "submit":
                ref.when_room(failing_observer)
                slot = await ref.submit(step.message, deadline=trio.current_time() + step.timeout)
                if not slot.done:  # else it is called at once, by us
                    slot.on_settled(failing_observer)
                await slot.wait()
            case "wait_stopped":
                await ref.wait_stopped()
            case "stream":
                assert isinstance(step.message, SendItems)
                got = []
                async with ref.stream(step.message, buffer=2, timeout=step.timeout) as items:
                    async for item in items:
                        got.append(item)
                        await trio.sleep(0.1)
                # A message that is redelivered after a crash streams all its items once more.
                whole = list(range(step.message.items))
                assert got[len(got) - len(whole) :] == whole, "a stream that ended is whole"
        return f"{step.method} done"

    async def _manage(self, step: Manage, runtime: Runtime) -> str:
        supervisor, name, spec = self.children[step.target % len(self.children)]
        match step.operation:
            case "stop":
                await supervisor.stop_child(name)
            case "restart":
                await supervisor.restart_child(name)
            case "remove":
                supervisor.remove_child(name)
            case "respawn":
                await self._spawn(supervisor, name, spec or step.spec)
            case "stop_ref":
                if self.refs:
                    await runtime.stop(self.refs[step.target % len(self.refs)])
            case "spawn":
                extra = f"extra-{len(self.children)}"
                self.children.append((supervisor, extra, step.spec))
                await self._spawn(supervisor, extra, step.spec)
            case "pool":
                factory = StressActor.factory(self.refs, step.spec.behaviour)
                extra = f"pool-{len(self.children)}"
                self.children.append((supervisor, extra, None))
                settings = step.spec.settings()
                if step.target % 2 and not isinstance(step.spec.overflow, Coalesce):
                    settings["key"] = failing_key if step.target == 1 else by_kind
                pool = await supervisor.spawn_pool(extra, factory, size=2, **settings)
                self.refs.append(pool)
                self.pools.append(pool)
            case "resize":
                if self.pools:
                    self.pools[step.target % len(self.pools)].resize(1 + step.target % 4)
        return f"{step.operation} done"


def failing_observer(*_: object) -> None:
    raise ValueError("an observer's own bug")


async def _cancel_after(scope: trio.CancelScope, checkpoints: int) -> None:
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


def _expected(error: Exception) -> str:
    """Return the name of an error that a call may raise; raise any other one.

    A start fails with a group if something that the actor owns has failed at the same time.
    """
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            _expected(one)
    elif not isinstance(error, EXPECTED):
        raise error
    return type(error).__name__


def _leaves(group: BaseExceptionGroup) -> list[str]:
    names: list[str] = []
    for error in group.exceptions:
        names += _leaves(error) if isinstance(error, BaseExceptionGroup) else [type(error).__name__]
    return names
