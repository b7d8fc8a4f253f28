"""A fake tracer, and actors that ask and tell one another in every way."""

import attrs
import trio

from callsheet.runtime import (
    Actor,
    Instrument,
    Message,
    MessageBegun,
    MessageDone,
    MessageSent,
    ReplySlot,
    StreamOf,
    defers,
    handles,
    on_behalf_of,
    streams,
)


@attrs.define(eq=False)
class Span:
    """What the fake tracer notes of one message."""

    name: str
    parent: "Span | None"
    links: tuple["Span", ...] = ()
    deliveries: list[int] = attrs.Factory(list)
    outcomes: list[str] = attrs.Factory(list)
    seconds: tuple[float, float] | None = None

    @property
    def line(self) -> str:
        """The names of the spans above and its own."""
        return self.name if self.parent is None else f"{self.parent.line} > {self.name}"


class Tracer(Instrument):
    """Makes a span for each message, below that of the message that caused it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def message_sent(self, event: MessageSent) -> Span:
        name = f"{event.message} at {event.actor.partition('/')[2]}"
        self.spans.append(Span(name, event.parent, event.links))
        return self.spans[-1]

    def message_begun(self, event: MessageBegun) -> None:
        event.context.deliveries.append(event.delivery)

    def message_done(self, event: MessageDone) -> None:
        event.context.outcomes.append(event.outcome)
        event.context.seconds = (event.queued_s, event.handled_s)

    @property
    def lines(self) -> list[str]:
        return [span.line for span in self.spans]

    def outcomes(self) -> dict[str, list[str]]:
        return {span.name: span.outcomes for span in self.spans}


@attrs.frozen
class Leaf(Message[str]):
    seconds: float = 0


@attrs.frozen
class Ask(Message[str]):
    pass


@attrs.frozen
class Tell(Message[None]):
    pass


@attrs.frozen
class Forward(Message[str]):
    pass


@attrs.frozen
class Later(Message[str]):
    """Forwarded by a background task."""


@attrs.frozen
class Items(StreamOf[str]):
    pass


@attrs.frozen
class Background(Message[None]):
    pass


@attrs.frozen
class Tick(Message[None]):
    pass


@attrs.frozen
class Gather(Message[str]):
    pass


@attrs.frozen
class Fail(Message[None]):
    declared: bool = False


class Declared(Exception):
    pass


class End(Actor):
    @handles(Leaf)
    async def leaf(self, message: Leaf) -> str:
        await trio.sleep(message.seconds)
        return "reply"

    @handles(Fail, raises=(Declared,))
    async def fail(self, message: Fail) -> None:
        raise Declared if message.declared else KeyError("bug")


class Middle(Actor):
    def __init__(self, end) -> None:
        self.end = end
        self.slots: list[ReplySlot[str]] = []

    @handles(Ask)
    async def ask(self, message: Ask) -> str:
        return await self.end.ask(Leaf())

    @handles(Tell)
    async def tell(self, message: Tell) -> None:
        await self.end.tell(Leaf())

    @defers(Forward)
    async def forward(self, message: Forward, slot: ReplySlot[str]) -> None:
        await slot.forward(self.end, Leaf())

    @defers(Later)
    async def later(self, message: Later, slot: ReplySlot[str]) -> None:
        await self.spawn_task(slot)

    async def spawn_task(self, slot: ReplySlot[str]) -> None:
        async def forward() -> None:
            await trio.sleep(1)
            await slot.forward(self.end, Leaf())

        self.nursery.start_soon(forward)

    @streams(Items)
    async def items(self, message: Items, sink) -> None:
        await sink.send(await self.end.ask(Leaf()))

    @handles(Background)
    async def background(self, message: Background) -> None:
        async def work() -> None:
            await trio.sleep(5)
            await self.end.ask(Leaf())

        self.nursery.start_soon(work)
        self.send_at(trio.current_time() + 1, Tick())

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        await self.end.tell(Leaf())

    @defers(Gather)
    async def gather(self, message: Gather, slot: ReplySlot[str]) -> None:
        self.slots.append(slot)
        if len(self.slots) == 2:
            with on_behalf_of(self.slots):
                reply = await self.end.ask(Leaf())
            with on_behalf_of(self.slots[:1]):
                await self.end.tell(Leaf())
            await self.end.tell(Leaf())
            for one in self.slots:
                one.reply(reply)


class Gateway(Actor):
    """Passes what it is asked on to another actor."""

    def __init__(self, to) -> None:
        self.to = to

    @handles(Ask)
    async def ask(self, message: Ask) -> str:
        return await self.to.ask(message)
