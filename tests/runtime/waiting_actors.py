"""Actors that wait for each other, for the tests of deadlocks."""

from functools import partial

import attrs
import trio

from callsheet.runtime import (
    Actor,
    Deadlock,
    Message,
    Ref,
    ReplySlot,
    StreamOf,
    StreamSink,
    defers,
    handles,
    streams,
)

LIMIT_S = 1000.0  # nothing here takes as long unless it hangs


@attrs.frozen
class AskAlong(Message[str]):
    """Makes each actor on the route ask the next one; the last one sleeps."""

    route: tuple[str, ...] = ()
    seconds: float = 0.0
    pause: float = 0.0  # before each ask


@attrs.frozen
class AskAlongUndeclared(AskAlong):
    """As `AskAlong`, with a handler that does not declare `Deadlock`."""


@attrs.frozen
class Push(Message[None]):
    """Makes the actor tell a message to another one."""

    to: str
    then: Message[object]


@attrs.frozen
class Sleep(Message[str]):
    seconds: float = 0.0


@attrs.frozen
class ForwardAlong(Message[str]):
    """Is forwarded along the route, and ends as a `Sleep`."""

    route: tuple[str, ...]


@attrs.frozen
class AskForward(Message[str]):
    """Makes the actor ask the first one on the route to forward along the rest."""

    route: tuple[str, ...]


@attrs.frozen
class SendItems(StreamOf[str]):
    route: tuple[str, ...] = ()


@attrs.frozen
class ReadItems(Message[str]):
    """Makes the actor read a stream of another one, which asks along the route meanwhile."""

    to: str
    route: tuple[str, ...] = ()


@attrs.frozen
class AnswerThenAsk(Message[str]):
    to: str


@attrs.frozen
class AskAnswerThenAsk(Message[str]):
    to: str
    back: str


@attrs.frozen
class SideAsk(Message[str]):
    """Makes the handler ask from a task that it starts."""

    to: str


class WaitingActor(Actor):
    """Has refs to all others by name."""

    def __init__(self, refs: dict[str, Ref]) -> None:
        self.refs = refs

    @handles(AskAlong, raises=(Deadlock,))
    async def ask_along(self, message: AskAlong) -> str:
        if not message.route:
            await trio.sleep(message.seconds)
            return "done"
        await trio.sleep(message.pause)
        head, *rest = message.route
        return await self.refs[head].ask(attrs.evolve(message, route=tuple(rest)))

    @handles(AskAlongUndeclared)
    async def ask_along_undeclared(self, message: AskAlongUndeclared) -> str:
        return await self.ask_along(message)

    @handles(Push, raises=(Deadlock,))
    async def push(self, message: Push) -> None:
        await self.refs[message.to].tell(message.then)

    @handles(Sleep)
    async def sleep(self, message: Sleep) -> str:
        await trio.sleep(message.seconds)
        return "slept"

    @defers(ForwardAlong)
    async def forward_along(self, message: ForwardAlong, slot: ReplySlot[str]) -> None:
        head, *rest = message.route
        await slot.forward(self.refs[head], ForwardAlong(tuple(rest)) if rest else Sleep())

    @handles(AskForward, raises=(Deadlock,))
    async def ask_forward(self, message: AskForward) -> str:
        head, *rest = message.route
        return await self.refs[head].ask(ForwardAlong(tuple(rest)))

    @streams(SendItems, raises=(Deadlock,))
    async def send_items(self, message: SendItems, sink: StreamSink[str]) -> None:
        await sink.send("first")
        for name in message.route:
            await self.refs[name].ask(AskAlong())
        await sink.send("last")

    @handles(ReadItems, raises=(Deadlock,))
    async def read_items(self, message: ReadItems) -> str:
        async with self.refs[message.to].stream(SendItems(message.route)) as items:
            return " ".join([item async for item in items])

    @defers(AnswerThenAsk)
    async def answer_then_ask(self, message: AnswerThenAsk, slot: ReplySlot[str]) -> None:
        slot.reply("answered")
        await self.refs[message.to].ask(AskAlong())

    @handles(AskAnswerThenAsk)
    async def ask_answer_then_ask(self, message: AskAnswerThenAsk) -> str:
        return await self.refs[message.to].ask(AnswerThenAsk(message.back))

    @handles(SideAsk)
    async def side_ask(self, message: SideAsk) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.refs[message.to].ask, AskAlong())
        return "asked"


async def spawn_actors(runtime, names, **settings):
    refs: dict[str, Ref] = {}
    for name in names:
        refs[name] = await runtime.spawn(name, partial(WaitingActor, refs), **settings)
    return refs


def cycle_of(names):
    return tuple(f"callsheet/{name}" for name in names)


def rotated(cycle):
    """Return a cycle from its smallest path on, wherever it was first detected."""
    ring = cycle[:-1]
    at = ring.index(min(ring))
    return ring[at:] + ring[:at]
