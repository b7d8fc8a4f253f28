"""The types of the runtime, as a user meets them. Type checkers check it as they do `api.py`."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import Random
from typing import assert_type

import attrs

from callsheet.runtime import (
    Actor,
    ActorSnapshot,
    AnyRef,
    AskFailed,
    AskStream,
    Coalesce,
    Deadlock,
    Instrument,
    MailboxStatistics,
    Message,
    MessageCounts,
    MessageDone,
    MessageOutcome,
    Outcome,
    PoolRef,
    Ref,
    ReplySlot,
    RestartPolicy,
    Runtime,
    RuntimeSnapshot,
    ShutdownPlan,
    ShutdownReport,
    StreamOf,
    StreamSink,
    Supervisor,
    Timer,
    Verdict,
    Watch,
    defers,
    handles,
    open_runtime,
    streams,
)


@attrs.frozen
class Add(Message[int]):
    by: int


@attrs.frozen
class Name(Message[str | None]):
    pass


@attrs.frozen
class Reset(Message[None]):
    pass


@attrs.frozen
class Tail(StreamOf[bytes]):
    pass


class Declared(Exception):
    pass


# ---------------------------------------------------------------- writing an actor


class Good(Actor):
    def __init__(self, start: int) -> None:
        self.total = start

    @handles(Add, raises=(Declared,), uninterruptible=True, urgent=True)
    async def add(self, message: Add) -> int:
        assert_type(self.ref, Ref)
        assert_type(self.random, Random)
        assert_type(self.deadline, float)
        assert_type(self.send_after(1, Reset()), Timer)
        assert_type(self.send_at(1.5, Reset()), Timer)
        assert_type(self.send_every(1, Reset()), Timer)
        assert_type(await self.watch(self.ref, lambda _: Reset()), Watch)
        return self.total + message.by

    @defers(Name, urgent=True)
    async def name(self, message: Name, slot: ReplySlot[str | None]) -> None:
        assert_type(slot.reply("me"), bool)
        assert_type(slot.fail(Declared()), bool)
        assert_type(slot.cancel(), bool)
        assert_type(slot.done, bool)
        assert_type(slot.deadline, float)
        assert_type(slot.outcome, Outcome | None)
        assert_type(slot.value, str | None)
        assert_type(slot.verdict, Verdict)
        await slot.forward(self.ref, Name())
        slot.reply(1)  # type: ignore[arg-type]  # the answer to a Name is a text
        await slot.forward(self.ref, Add(1))  # type: ignore[arg-type]  # has another answer

    @streams(Tail, raises=(Declared,))
    async def tail(self, message: Tail, sink: StreamSink[bytes]) -> None:
        await sink.send(b"line")
        await sink.send("line")  # type: ignore[arg-type]  # the items of a Tail are bytes

    @handles(Reset)
    async def reset(self, message: Reset) -> None:
        self.total = 0


class Bad(Actor):
    @handles(Add)  # type: ignore[arg-type]  # returns what is not the answer
    async def wrong_answer(self, message: Add) -> str:
        return ""

    @handles(Reset)  # type: ignore[arg-type]  # is not async
    def not_async(self, message: Reset) -> None: ...

    @defers(Name)  # type: ignore[arg-type]  # takes no slot
    async def no_slot(self, message: Name) -> None: ...

    @streams(Tail)  # type: ignore[arg-type]  # its sink takes other items
    async def wrong_sink(self, message: Tail, sink: StreamSink[str]) -> None: ...

    @streams(Add)  # type: ignore[arg-type]  # is no stream
    async def no_stream(self, message: Add, sink: StreamSink[int]) -> None: ...

    @handles(int)  # type: ignore[arg-type]  # is no message
    async def no_message(self, message: Add) -> int:
        return 0

    @handles(Add, raises=(KeyboardInterrupt,))  # type: ignore[arg-type]  # is no error of a handler's
    async def raises_too_much(self, message: Add) -> int:
        return 0


# ---------------------------------------------------------------- sending


async def sending(ref: Ref) -> None:
    assert_type(await ref.ask(Add(1)), int)
    assert_type(await ref.ask(Name(), timeout=2), str | None)
    assert_type(await ref.submit(Add(1), deadline=5.0), ReplySlot[int])
    slot = await ref.submit(Name())

    def on_settled(settled: ReplySlot[str | None]) -> None:
        assert_type(settled.value, str | None)

    slot.on_settled(on_settled)
    assert_type(await slot.wait(), str | None)
    await ref.tell(Add(1))
    ref.tell_nowait(Reset())
    assert_type(ref.path, str)
    assert_type(ref.load, int)

    text: str = await ref.ask(Add(1))  # type: ignore[arg-type]  # it is an int
    await ref.ask("add")  # type: ignore[arg-type]  # is no message
    await ref.ask(Add("1"))  # type: ignore[arg-type]  # a field of another type
    await ref.ask(Add(1), 5)  # type: ignore[call-arg]  # the time-out has a name
    del text


class Counter(Actor[Add | Tail]):
    @handles(Add)
    async def add(self, message: Add) -> int:
        assert_type(self.ref, Ref[Add | Tail])
        return message.by

    @streams(Tail)
    async def tail(self, message: Tail, sink: StreamSink[bytes]) -> None: ...


async def typed_refs(
    runtime: Runtime, bare: Ref, adds: Ref[Add], unknown: AnyRef, slot: ReplySlot[int]
) -> None:
    name = Name()
    ref = await runtime.spawn("counter", Counter)
    assert_type(ref, Ref[Add | Tail])
    assert_type(await runtime.root.spawn("other", partial(Counter)), Ref[Add | Tail])
    assert_type(await runtime.spawn_pool("pool", Counter, size=2), PoolRef[Add | Tail])
    assert_type(await ref.ask(Add(1)), int)
    assert_type(await ref.submit(Add(1)), ReplySlot[int])
    assert_type(runtime.portal().ask(ref, Add(1)), int)
    async with ref.stream(Tail()) as items:
        assert_type(items, AskStream[bytes])
    await slot.forward(ref, Add(1))
    fewer: list[Ref[Add]] = [ref, bare]
    all_refs: list[AnyRef] = [ref, bare, *fewer]
    del all_refs
    await runtime.stop(ref)

    await ref.ask(name)  # type: ignore[arg-type]  # the actor does not take it
    await ref.tell(name)  # type: ignore[arg-type]  # as above
    ref.tell_nowait(name)  # type: ignore[arg-type]  # as above
    await ref.submit(name)  # type: ignore[arg-type]  # as above
    runtime.portal().tell(ref, name)  # type: ignore[misc]  # as above
    adds.stream(Tail())  # type: ignore[arg-type]  # as above
    await slot.forward(adds, name)  # type: ignore[arg-type]  # as above, and has another answer
    more: Ref[Add | Name] = ref  # type: ignore[assignment]  # it takes no Name
    bare = ref  # type: ignore[assignment]  # it does not take all messages
    await unknown.ask(Add(1))  # type: ignore[arg-type]  # takes no message
    del more


async def streaming(ref: Ref) -> None:
    context = ref.stream(Tail(), buffer=3, timeout=5)
    checked: AbstractAsyncContextManager[AskStream[bytes]] = context
    async with checked as items:
        assert_type(items, AskStream[bytes])
        iterator: AsyncIterator[bytes] = aiter(items)
        assert_type(await anext(iterator), bytes)
        async for line in items:
            assert_type(line, bytes)
    ref.stream(Add(1))  # type: ignore[arg-type]  # is no stream


# ---------------------------------------------------------------- the tree


def priority(message: Message[object]) -> float:
    return 0.0 if isinstance(message, Reset) else 1.0


async def living() -> None:
    async with open_runtime("app", strategy="rest_for_one", restarts=RestartPolicy()) as runtime:
        assert_type(runtime, Runtime)
        assert_type(await runtime.spawn("good", partial(Good, 1), redeliver=1), Ref)
        by_key = Coalesce(lambda message: type(message).__name__)
        await runtime.spawn("bounded", partial(Good, 1), overflow=by_key, capacity=1)
        await runtime.spawn("ranked", partial(Good, 1), priority=priority)
        assert_type(await runtime.supervise("below", strategy="one_for_all"), Supervisor)
        pool = await runtime.spawn_pool("pool", partial(Good, 1), size=2, key=type)
        assert_type(pool, PoolRef)
        assert_type(pool.size, int)
        pool.resize(3)
        assert_type(runtime.snapshot(), RuntimeSnapshot)
        assert_type(runtime.snapshot()["app/good"], ActorSnapshot)
        assert_type(runtime.snapshot()["app/good"].mailbox, MailboxStatistics)
        assert_type(runtime.snapshot()["app/good"].counts, MessageCounts)
        assert_type(runtime.shutdown_plan(), ShutdownPlan)

        await runtime.spawn("bad", Good(1))  # type: ignore[arg-type]  # an actor, not its factory
        await runtime.spawn("bad", int)  # type: ignore[arg-type]  # makes no actor
        await runtime.spawn("bad", partial(Good, 1), overflow="explode")  # type: ignore[arg-type]  # none
        await runtime.spawn("bad", partial(Good, 1), restart="always")  # type: ignore[arg-type]  # none
        await runtime.supervise("bad", strategy="all")  # type: ignore[arg-type]  # none
    assert_type(runtime.shutdown_report, ShutdownReport | None)


class Listener(Instrument):
    def message_done(self, event: MessageDone) -> None:
        assert_type(event.outcome, MessageOutcome)


def failing(error: AskFailed, deadlock: Deadlock) -> None:
    assert_type(error.verdict, Verdict)
    assert_type(error.actor, str)
    assert_type(deadlock.cycle, tuple[str, ...])
