"""What the machines put into a tree: one actor that can do everything, and how it may behave."""

from functools import partial

import attrs
import trio
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

from callsheet.runtime import (
    Actor,
    AskFailed,
    Overflow,
    Priority,
    Ref,
    ReplySlot,
    Restart,
    RestartPolicy,
    Strategy,
    StreamSink,
    defers,
    handles,
    streams,
)
from callsheet.runtime.testing.faults import Faulty

__all__ = ["Bug", "Declared", "Mood", "Place", "Player", "Troupe"]


class Declared(Exception):
    """An answer."""


class Bug(Exception):
    """A crash."""


@attrs.frozen
class Mood:
    """How the hooks of an actor behave, and where it has a fault."""

    failing_starts: frozenset[int] = frozenset()  # numbers of incarnations, from 1
    started_s: float = 0.0
    starts_timer: bool = False
    draining_s: float = 0.0
    draining_crashes: bool = False
    releases: bool = False  # answers what it has put off when it drains
    stopped_s: float = 0.0
    stopped_crashes: bool = False
    crash_on_message: int | None = None
    crash_at_checkpoint: int | None = None


@attrs.frozen
class Place:
    """An actor's place, as `Supervisor.spawn` wants it."""

    mood: Mood = Mood()
    capacity: int = 2
    overflow: Overflow = "block"
    priority: Priority | None = None
    concurrency: int = 1
    max_deferred: int | None = None
    restart: Restart = "permanent"
    stop_s: float = 5.0
    redeliver: int = 0

    def settings(self) -> dict[str, object]:
        """The arguments of `spawn`."""
        return attrs.asdict(self, recurse=False, filter=lambda field, _: field.name != "mood")


@attrs.frozen
class Troupe:
    """A supervisor's place with all below it."""

    children: tuple["Place | Troupe", ...] = ()
    strategy: Strategy = "one_for_one"
    policy: RestartPolicy = attrs.field(factory=RestartPolicy)
    restart: Restart = "permanent"
    stop_s: float = 5.0


class Player(Actor):
    """Does whatever it is asked to.

    Args:
        cast: all actors there are, to be spoken to by their number.
        mood: how it behaves.
        lives: of this place so far; a list that each incarnation adds to.
    """

    def __init__(self, cast: list[Ref], mood: Mood, lives: list[int]) -> None:
        self.cast = cast
        self.mood = mood
        self.lives = lives
        self.kept: list[ReplySlot[object]] = []

    @classmethod
    def factory(cls, cast: list[Ref], mood: Mood):
        """What `spawn` takes."""
        factory = partial(Plain if mood == Mood() else cls, cast, mood, [])
        if mood.crash_on_message is not None:
            return Faulty(factory, crash_on_message=mood.crash_on_message)
        if mood.crash_at_checkpoint is not None:
            return Faulty(factory, crash_at_checkpoint=mood.crash_at_checkpoint)
        return factory

    def other(self, number: int) -> Ref:
        return self.cast[number % len(self.cast)] if self.cast else self.ref

    async def started(self) -> None:
        self.lives.append(1)
        if self.mood.starts_timer:
            self.send_every(0.5, Cue())
        await trio.sleep(self.mood.started_s)
        if len(self.lives) in self.mood.failing_starts:
            raise Bug("could not start")

    async def draining(self) -> None:
        await trio.sleep(self.mood.draining_s)
        if self.mood.draining_crashes:
            raise Bug("in draining")
        if self.mood.releases:
            self.release_all()

    async def stopped(self) -> None:
        if self.mood.stopped_s:
            await trio.sleep(self.mood.stopped_s)
        if self.mood.stopped_crashes:
            raise Bug("in stopped")

    def release_all(self) -> None:
        for slot in self.kept:
            slot.reply("released")
        self.kept.clear()

    @handles(Cue)
    async def cue(self, message: Cue) -> object:
        await trio.sleep(message.seconds)
        return "done"

    @handles(Steady, uninterruptible=True)
    async def steady(self, message: Steady) -> object:
        return await self.cue(message)

    @handles(Shielded)
    async def shielded(self, message: Shielded) -> object:
        with trio.CancelScope(shield=True):
            return await self.cue(message)

    @handles(Urgent, urgent=True)
    async def urgent(self, message: Urgent) -> object:
        return await self.cue(message)

    @handles(Refuse, raises=(Declared,))
    async def refuse(self, message: Refuse) -> object:
        await trio.sleep(message.seconds)
        raise Declared

    @handles(Crash)
    async def crash(self, message: Crash) -> object:
        if message.seconds:
            await trio.sleep(message.seconds)
        raise Bug("in a handler")

    @handles(Quit)
    async def quit(self, message: Quit) -> object:
        self.stop()
        return await self.cue(message)

    @handles(AskOn, raises=(AskFailed,))
    async def ask_on(self, message: AskOn) -> object:
        if not message.way:
            return await self.cue(message)
        onward = attrs.evolve(message, way=message.way[1:])
        return await self.other(message.way[0]).ask(onward, timeout=message.timeout)

    @handles(TellOn, raises=(AskFailed,))
    async def tell_on(self, message: TellOn) -> object:
        if message.way:
            await self.other(message.way[0]).tell(attrs.evolve(message, way=message.way[1:]))
        return await self.cue(message)

    @defers(Forward)
    async def forward(self, message: Forward, slot: ReplySlot[object]) -> None:
        await trio.sleep(message.seconds)
        if message.way:
            onward = attrs.evolve(message, way=message.way[1:])
            await slot.forward(self.other(message.way[0]), onward)
        elif message.crashes:
            raise Bug("with a slot in hand")
        else:
            slot.reply("forwarded")

    @defers(Keep)
    async def keep(self, message: Keep, slot: ReplySlot[object]) -> None:
        self.kept.append(slot)

    @handles(Release, urgent=True)
    async def release(self, message: Release) -> object:
        self.release_all()
        return await self.cue(message)

    @handles(Later)
    async def later(self, message: Later) -> object:
        if message.again:
            self.send_every(max(0.1, message.after), message.cue)
        else:
            self.send_after(message.after, message.cue)
        return "set"

    @handles(Watch)
    async def watch_one(self, message: Watch) -> object:
        self.watch(self.other(message.whom), Cue(message.seconds))
        return "watching"

    @streams(Reel)
    async def reel(self, message: Reel, items: StreamSink[int]) -> None:
        for number in range(message.items):
            await trio.sleep(message.seconds)
            await items.send(number)
        if message.crashes:
            raise Bug("after a stream")


class Plain(Player):
    """One without hooks, which dozes until its first message."""

    started = Actor.started
    draining = Actor.draining
    stopped = Actor.stopped
