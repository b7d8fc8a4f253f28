"""The trees of the stress tests: an actor that handles every stress message, and its settings."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
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

from callsheet.runtime import (
    Actor,
    AskFailed,
    Overflow,
    Priority,
    Ref,
    ReplySlot,
    Restart,
    RestartPolicy,
    StopOrder,
    Strategy,
    StreamSink,
    defers,
    handles,
    streams,
)
from callsheet.runtime.testing import Faulty

__all__ = ["ActorSpec", "Behaviour", "Crashed", "Declared", "StressActor", "SupervisorSpec"]


class Declared(Exception):
    """The error that handlers declare."""


class Crashed(Exception):
    """The error that crashes an actor."""


@attrs.frozen
class Behaviour:
    """What an actor's hooks do, and where a fault is injected."""

    failing_starts: frozenset[int] = frozenset()  # numbers of incarnations, from 1
    started_s: float = 0.0
    starts_timer: bool = False
    draining_s: float = 0.0
    draining_crashes: bool = False
    releases: bool = False  # answers what it has put off when it drains
    stopped_s: float = 0.0
    stopped_crashes: bool = False
    owns: tuple[Own, ...] = ()  # opened when it starts
    crash_on_message: int | None = None
    crash_at_checkpoint: int | None = None


@attrs.frozen
class ActorSpec:
    """The arguments of `Supervisor.spawn` for one actor."""

    behaviour: Behaviour = Behaviour()
    capacity: int = 2
    overflow: Overflow = "block"
    priority: Priority | None = None
    concurrency: int = 1
    max_deferred: int | None = None
    restart: Restart = "permanent"
    start_s: float | None = None
    stop_s: float = 5.0
    redeliver: int = 0

    def settings(self) -> dict[str, object]:
        """Return the keyword arguments of `spawn`."""
        return attrs.asdict(self, recurse=False, filter=lambda field, _: field.name != "behaviour")


@attrs.frozen
class SupervisorSpec:
    """The arguments of `Supervisor.supervise`, and the specs of all children."""

    children: tuple["ActorSpec | SupervisorSpec", ...] = ()
    strategy: Strategy = "one_for_one"
    policy: RestartPolicy = attrs.field(factory=RestartPolicy)
    restart: Restart = "permanent"
    start_s: float | None = None
    stop_s: float = 5.0
    stop_order: StopOrder = "reverse"
    max_children: int | None = None

    def settings(self) -> dict[str, object]:
        """Return the keyword arguments of `supervise`."""
        settings = attrs.asdict(self, recurse=False, filter=lambda one, _: one.name != "children")
        settings["restarts"] = settings.pop("policy")
        return settings


class StressActor(Actor):
    """Handles every stress message.

    Args:
        refs: refs to all actors; messages name their targets by index.
        behaviour: what its hooks do.
        incarnations: has one item per incarnation; shared by all incarnations of one actor.
    """

    def __init__(self, refs: list[Ref], behaviour: Behaviour, incarnations: list[int]) -> None:
        self.refs = refs
        self.behaviour = behaviour
        self.incarnations = incarnations
        self.held_slots: list[ReplySlot[object]] = []

    @classmethod
    def factory(cls, refs: list[Ref], behaviour: Behaviour):
        """Return a factory for `spawn`."""
        factory = partial(HooklessActor if behaviour == Behaviour() else cls, refs, behaviour, [])
        if behaviour.crash_on_message is not None:
            return Faulty(factory, crash_on_message=behaviour.crash_on_message)
        if behaviour.crash_at_checkpoint is not None:
            return Faulty(factory, crash_at_checkpoint=behaviour.crash_at_checkpoint)
        return factory

    def other(self, number: int) -> Ref:
        return self.refs[number % len(self.refs)] if self.refs else self.ref

    async def started(self) -> None:
        self.incarnations.append(1)
        if self.behaviour.starts_timer:
            self.send_every(0.5, Wait())
        await trio.sleep(self.behaviour.started_s)
        for what in self.behaviour.owns:
            await self.own(what)
        if len(self.incarnations) in self.behaviour.failing_starts:
            raise Crashed("could not start")

    async def draining(self) -> None:
        await trio.sleep(self.behaviour.draining_s)
        if self.behaviour.draining_crashes:
            raise Crashed("in draining")
        if self.behaviour.releases:
            self.release_all()

    async def stopped(self) -> None:
        if self.behaviour.stopped_s:
            await trio.sleep(self.behaviour.stopped_s)
        if self.behaviour.stopped_crashes:
            raise Crashed("in stopped")

    def release_all(self) -> None:
        for slot in self.held_slots:
            slot.reply("released")
        self.held_slots.clear()

    @handles(Wait)
    async def wait(self, message: Wait) -> object:
        await trio.sleep(message.seconds)
        return "done"

    @handles(Uninterruptible, uninterruptible=True)
    async def uninterruptible(self, message: Uninterruptible) -> object:
        return await self.wait(message)

    @handles(Shielded)
    async def shielded(self, message: Shielded) -> object:
        with trio.CancelScope(shield=True):
            return await self.wait(message)

    @handles(Urgent, urgent=True)
    async def urgent(self, message: Urgent) -> object:
        return await self.wait(message)

    @handles(RaiseDeclared, raises=(Declared,))
    async def raise_declared(self, message: RaiseDeclared) -> object:
        await trio.sleep(message.seconds)
        raise Declared

    @handles(Crash)
    async def crash(self, message: Crash) -> object:
        if message.seconds:
            await trio.sleep(message.seconds)
        raise Crashed("in a handler")

    @handles(StopItself)
    async def stop_itself(self, message: StopItself) -> object:
        self.stop()
        return await self.wait(message)

    @handles(AskOn, raises=(AskFailed,))
    async def ask_on(self, message: AskOn) -> object:
        if not message.route:
            return await self.wait(message)
        rest = attrs.evolve(message, route=message.route[1:])
        return await self.other(message.route[0]).ask(rest, timeout=message.timeout)

    @handles(TellOn, raises=(AskFailed,))
    async def tell_on(self, message: TellOn) -> object:
        if message.route:
            await self.other(message.route[0]).tell(attrs.evolve(message, route=message.route[1:]))
        return await self.wait(message)

    @defers(Forward)
    async def forward(self, message: Forward, slot: ReplySlot[object]) -> None:
        await trio.sleep(message.seconds)
        if message.route:
            rest = attrs.evolve(message, route=message.route[1:])
            await slot.forward(self.other(message.route[0]), rest)
        elif message.crashes:
            raise Crashed("with a slot in hand")
        else:
            slot.reply("forwarded")

    @defers(Hold)
    async def hold(self, message: Hold, slot: ReplySlot[object]) -> None:
        self.held_slots.append(slot)

    @handles(Release, urgent=True)
    async def release(self, message: Release) -> object:
        self.release_all()
        return await self.wait(message)

    @handles(SetTimer)
    async def set_timer(self, message: SetTimer) -> object:
        if message.periodic:
            self.send_every(max(0.1, message.after), message.message)
        else:
            self.send_after(message.after, message.message)
        return "set"

    @handles(Watch)
    async def watch_one(self, message: Watch) -> object:
        def ended(_: object) -> Wait:
            if message.fails:
                raise Crashed("in the function of a watch")
            return Wait(message.seconds)

        watch = await self.watch(self.other(message.target), on=ended)
        if message.is_cancelled:
            await trio.sleep(message.seconds)
            watch.cancel()
        return "watching"

    @handles(Own)
    async def own(self, message: Own) -> object:
        match message.what:
            case "task":
                self.nursery.start_soon(live, message)
            case "context":
                await self.enter_async_context(open_resource(message))
            case "supervisor" | "child" | "pool":
                await self.own_child(message)
        return "owned"

    async def own_child(self, message: Own) -> None:
        name = f"{message.what}-{len(self.refs)}"
        factory = StressActor.factory(self.refs, Behaviour(starts_timer=not message.fails))
        if message.what == "supervisor":
            below = await self.supervise(name, strategy="rest_for_one")
            await below.spawn("first", factory)
            child = await below.spawn("second", factory)
        elif message.what == "pool":
            child = await self.spawn_pool(name, factory, size=2, capacity=1)
        else:
            child = await self.spawn(name, factory, capacity=1)
        self.refs.append(child)
        if message.fails:
            child.tell_nowait(Crash(message.seconds))

    @handles(Nest)
    async def nest(self, message: Nest) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live, Own(message.seconds, fails=message.crashes))
            nursery.start_soon(live, Own(message.seconds, fails=message.crashes))
        return "nested"

    @streams(SendItems)
    async def send_items(self, message: SendItems, items: StreamSink[int]) -> None:
        for number in range(message.items):
            await trio.sleep(message.seconds)
            await items.send(number)
        if message.crashes:
            raise Crashed("after a stream")


async def live(message: Own) -> None:
    """Run as a background task."""
    await trio.sleep(message.seconds)
    if message.fails:
        raise Crashed("in a background task")


@asynccontextmanager
async def open_resource(message: Own) -> AsyncGenerator[None]:
    """A context with a task of its own, which may fail; it waits a moment when it is closed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, message)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()


class HooklessActor(StressActor):
    """A stress actor without hooks, which is idle until its first message."""

    started = Actor.started
    draining = Actor.draining
    stopped = Actor.stopped
