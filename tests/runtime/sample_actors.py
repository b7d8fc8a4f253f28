"""Messages and actors that several test modules use."""

import attrs
import trio

from callsheet.runtime import Actor, Message, Ref, ReplySlot, defers, handles


@attrs.frozen
class Add(Message[int]):
    by: int


@attrs.frozen
class Fail(Message[int]):
    error: Exception


@attrs.frozen
class Work(Message[str]):
    """Takes some seconds; the reply is its name."""

    name: str
    seconds: float = 1.0


@attrs.frozen
class Steady(Work):
    """As `Work`, with a handler that is not cancelled when the caller gives up."""


@attrs.frozen
class Pass(Message[str]):
    """Is forwarded from actor to actor, and ends as `Work`."""

    work: Work


@attrs.frozen
class Keep(Message[str]):
    """Gets no reply until a `Release`."""


@attrs.frozen
class Release(Message[None]):
    value: str


@attrs.frozen
class Unknown(Message[None]):
    pass


class Declared(Exception):
    """The error that handlers declare."""


class Counter(Actor):
    """Adds numbers; crashes on errors that are not declared."""

    def __init__(self) -> None:
        self.total = 0

    @handles(Add)
    async def add(self, message: Add) -> int:
        self.total += message.by
        return self.total

    @handles(Fail, raises=(Declared,))
    async def fail(self, message: Fail) -> int:
        raise message.error


class Worker(Actor):
    """Appends to a list when it begins and ends a piece of work, and when it has stopped."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal

    @handles(Work)
    async def work(self, message: Work) -> str:
        self.journal.append(f"begin {message.name}")
        await trio.sleep(message.seconds)
        self.journal.append(f"end {message.name}")
        return message.name

    @handles(Steady, uninterruptible=True)
    async def steadily(self, message: Steady) -> str:
        return await self.work(message)

    @handles(Fail)
    async def fail(self, message: Fail) -> int:
        raise message.error

    async def stopped(self) -> None:
        self.journal.append("stopped")


class Relay(Actor):
    """Forwards all messages, and never sees the replies."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    @defers(Pass)
    async def pass_on(self, message: Pass, slot: ReplySlot[str]) -> None:
        if self.to.path.endswith("worker"):
            await slot.forward(self.to, message.work)
        else:
            await slot.forward(self.to, message)


class Holder(Actor):
    """Holds slots until it gets the reply to send."""

    def __init__(self) -> None:
        self.slots: list[ReplySlot[str]] = []

    @defers(Keep)
    async def keep(self, message: Keep, slot: ReplySlot[str]) -> None:
        self.slots.append(slot)

    @handles(Release)
    async def release(self, message: Release) -> None:
        for slot in self.slots:
            slot.reply(message.value)
        self.slots.clear()

    @handles(Fail)
    async def fail(self, message: Fail) -> int:
        raise message.error
