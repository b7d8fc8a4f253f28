"""Run a tree of actors through a storm of faults, and show which promises it kept.

A small photo service. Forty clients upload and look up photos. Each call has a deadline, and some
clients cancel their calls. For one second, faults crash actors at random, together with the message
that they handle. Some photos take far too long. Small mailboxes fill up. One sensor always crashes,
so its supervisor exceeds its restart intensity again and again.

The output is the tree before, during and after the storm; the outcome of every ask; the sum of all
messages, which is conserved (R9); and the plan and the report of the shutdown (R11).

    python examples/fault_storm.py
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random

import attrs
import structlog
import trio

from callsheet.runtime import (
    Actor,
    ActorCrash,
    AskFailed,
    AskTimedOut,
    Coalesce,
    Instrument,
    MailboxFull,
    Message,
    Ref,
    ReplySlot,
    RestartPolicy,
    Runtime,
    RuntimeSnapshot,
    defers,
    format_tree,
    handles,
    open_runtime,
)

CLIENTS = 40
STORM_S = 1.0
STRIKES_PER_S = 50.0
HUGE = 0.02  # share of photos that take far too long
IMPATIENT = 0.1  # share of asks that the client cancels
QUICKLY = RestartPolicy(max_restarts=1000, period_s=1.0, base_s=0.02, cap_s=0.1)


# ------------------------------------------------------------------ messages


@attrs.frozen
class Upload(Message[str]):
    """Scale a photo; the reply is the name of the thumbnail."""

    photo: int


@attrs.frozen
class LookUp(Message[str]):
    """Look a photo up in the catalogue."""

    photo: int


@attrs.frozen
class Read(Message[bytes]):
    """Read the bytes of a photo."""

    photo: int


@attrs.frozen
class Note(Message[None]):
    """Note something in the audit, which is slow."""

    text: str


@attrs.frozen
class Progress(Message[None]):
    """Report progress to the gauge, which needs only the latest report of each kind."""

    kind: str
    photo: int


@attrs.frozen
class Strike(Message[None]):
    """Crash the actor. The message is urgent, so it overtakes the mailbox."""

    text: str = "struck by lightning"


class NotAPhoto(Exception):
    """A declared error: the caller gets it as a reply."""


class Lightning(Exception):
    """An error that no handler declares: it is a crash."""


# ------------------------------------------------------------------ actors


class Mortal(Actor):
    """An actor that crashes when it gets `Strike`."""

    @handles(Strike, urgent=True)
    async def strike(self, message: Strike) -> None:
        raise Lightning(message.text)


class Stage(Mortal):
    """Forwards uploads. The reply goes straight to the client, not through this actor."""

    def __init__(self, to: Ref) -> None:
        self._to = to

    @defers(Upload)
    async def pass_on(self, message: Upload, slot: ReplySlot[str]) -> None:
        await slot.forward(self._to, message)


class Scaler(Mortal):
    """Scales one photo at a time; a pool of six is behind one ref."""

    def __init__(self, audit: Ref, gauge: Ref) -> None:
        self._audit = audit
        self._gauge = gauge

    @handles(Upload, raises=(NotAPhoto,))
    async def scale(self, message: Upload) -> str:
        self._audit.tell_nowait(Note(f"scaling {message.photo}"))
        self._gauge.tell_nowait(Progress("scale", message.photo))
        if message.photo % 50 == 0:
            raise NotAPhoto(f"photo {message.photo} is a spreadsheet")
        is_huge = self.random.random() < HUGE
        await trio.sleep(5.0 if is_huge else self.random.uniform(0.005, 0.025))
        return f"{message.photo}.thumb"


class Catalogue(Mortal):
    """Asks the blobs; each ask inherits the deadline of the client's ask."""

    def __init__(self, blobs: Ref) -> None:
        self._blobs = blobs

    @handles(LookUp, raises=(AskFailed,))
    async def look_up(self, message: LookUp) -> str:
        blob = await self._blobs.ask(Read(message.photo))
        return f"photo {message.photo}, {len(blob)} bytes"


class Blobs(Mortal):
    """Has the photos. A read that a crash interrupts is delivered again (`redeliver`)."""

    @handles(Read)
    async def read(self, message: Read) -> bytes:
        await trio.sleep(self.random.uniform(0.001, 0.01))
        return bytes(message.photo % 97)


class Audit(Mortal):
    """Slow; a full mailbox drops its oldest note."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        await trio.sleep(0.02)
        self.notes.append(message.text)


class Gauge(Mortal):
    """Slower still; its mailbox keeps only the latest progress of each kind."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}

    @handles(Progress)
    async def show(self, message: Progress) -> None:
        await trio.sleep(0.05)
        self.latest[message.kind] = message.photo


class Sensor(Mortal):
    """Always fails: it crashes itself soon after each start."""

    async def started(self) -> None:
        self.send_after(self.random.uniform(0.05, 0.15), Strike())


@attrs.frozen
class Service:
    """The refs that the clients and the storm use."""

    intake: Ref
    catalogue: Ref
    targets: tuple[Ref, ...]


async def build(runtime: Runtime) -> Service:
    """Build the tree. An actor starts before those that use it, because stops run in reverse."""
    sensors = await runtime.supervise(  # fails at the third crash in a second
        "sensors", restarts=RestartPolicy(max_restarts=2, period_s=1.0, base_s=0.01)
    )
    await sensors.spawn("thermometer", Sensor)

    audit = await runtime.spawn("audit", Audit, capacity=8, overflow="drop_oldest", stop_s=0.1)
    gauge = await runtime.spawn("gauge", Gauge, capacity=4, overflow=Coalesce(_kind))

    storage = await runtime.supervise("storage", strategy="one_for_all", restarts=QUICKLY)
    blobs = await storage.spawn("blobs", Blobs, capacity=8, concurrency=4, redeliver=1)
    catalogue = await storage.spawn(
        "catalogue",
        partial(Catalogue, blobs),
        capacity=8,
        concurrency=4,
        overflow="reject",
        stop_s=0.02,
    )

    scalers = await runtime.spawn_pool(
        "scalers", partial(Scaler, audit, gauge), size=6, capacity=8, restarts=QUICKLY
    )

    pipeline = await runtime.supervise("pipeline", strategy="rest_for_one", restarts=QUICKLY)
    check = await pipeline.spawn("check", partial(Stage, scalers), capacity=4, stop_s=0.02)
    intake = await pipeline.spawn("intake", partial(Stage, check), capacity=4, stop_s=0.02)
    return Service(intake, catalogue, (audit, gauge, blobs, catalogue, scalers, check, intake))


def _kind(message: Message[object]) -> str:
    return message.kind if isinstance(message, Progress) else ""


# ------------------------------------------------------------------ the storm


class Weather(Instrument):
    """Counts the crashes and what the supervisors decided."""

    def __init__(self) -> None:
        self.crashes = Counter[str]()
        self.decisions = Counter[str]()

    def actor_crashed(self, event: ActorCrash) -> None:
        """See `Instrument`."""
        self.crashes[event.actor] += 1
        self.decisions[event.decision] += 1


async def strike(targets: tuple[Ref, ...], random: Random) -> None:
    """Crash random actors at random moments."""
    while True:
        await trio.sleep(random.expovariate(STRIKES_PER_S))
        with suppress(MailboxFull):  # the pool's mailbox may be full
            random.choice(targets).tell_nowait(Strike())


async def live(service: Service, ends: Counter[str], random: Random) -> None:
    """Run one client, which asks with short timeouts and counts how each ask ended."""
    while True:
        photo = random.randrange(10_000)
        timeout = random.uniform(0.1, 0.6)
        ask: Callable[[], Awaitable[str]]
        if random.choice(["upload", "look up"]) == "upload":
            ask = partial(service.intake.ask, Upload(photo), timeout=timeout)
        else:
            ask = partial(service.catalogue.ask, LookUp(photo), timeout=timeout)
        impatient = random.random() < IMPATIENT
        ends["asked"] += 1
        with trio.move_on_after(random.uniform(0.0, 0.05) if impatient else 60):
            try:
                ends[await _end(ask)] += 1
            except trio.Cancelled:
                ends["cancelled by the client"] += 1
                raise
        await trio.sleep(random.uniform(0.0, 0.02))


async def _end(ask: Callable[[], Awaitable[str]]) -> str:
    try:
        await ask()
    except NotAPhoto:
        return "a declared error"
    except AskTimedOut as error:
        return f"timed out, {error.verdict.value}"
    except MailboxFull:
        return "mailbox full, not started"
    except AskFailed as error:
        return f"crashed, {error.verdict.value}"
    return "answered"


# ------------------------------------------------------------------ output


def show(title: str, *lines: object) -> None:
    print(f"\n-- {title} {'-' * (86 - len(title))}", *lines, sep="\n")


def counted(counts: Counter[str]) -> list[str]:
    return [f"  {count:6} {what}" for what, count in counts.most_common()]


def balance(snapshot: RuntimeSnapshot) -> list[str]:
    """Add up R9: accepted messages are ended or pending, for each actor and in total."""
    total = Counter[str]()
    for actor in snapshot.actors:
        total.update(attrs.asdict(actor.counts))
        total["pending"] += actor.pending
    came = total["accepted"] + total["bypassed"]
    ways = ("handled", "failed", "cancelled", "expired", "dropped", "dead_lettered", "pending")
    even = sum(actor.is_conserved for actor in snapshot.actors)
    return [
        f"  {came:6} received: {total['accepted']} by mailbox, {total['bypassed']} past it",
        f"  {sum(total[way] for way in ways):6} = "
        + " + ".join(f"{total[way]} {way.replace('_', '-')}" for way in ways),
        f"         and so for each of {even} of {len(snapshot.actors)} actors",
    ]


async def main() -> None:
    structlog.configure(  # each crash logs a traceback, which is too long here
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    weather = Weather()
    ends = Counter[str]()
    async with open_runtime(
        "photos", restarts=QUICKLY, drain_s=0.4, seed="storm", instruments=[weather]
    ) as runtime:
        service = await build(runtime)
        show("before", format_tree(runtime.snapshot()))

        async with trio.open_nursery() as outside:
            for number in range(CLIENTS):
                outside.start_soon(live, service, ends, Random(f"client {number}"))
            outside.start_soon(strike, service.targets, Random("lightning"))
            await trio.sleep(STORM_S * 0.6)
            show("in the storm", format_tree(runtime.snapshot()))
            await trio.sleep(STORM_S * 0.4)
            outside.cancel_scope.cancel()

        await trio.sleep(0.3)  # the last handlers end
        after = runtime.snapshot()
        show("after", format_tree(after))

        asked = ends.pop("asked")
        show(f"how {ends.total()} of {asked} asks ended", *counted(ends))
        decisions = ", ".join(f"{count} x {how}" for how, count in weather.decisions.most_common())
        show(f"{weather.crashes.total()} crashes: {decisions}", *counted(weather.crashes))
        show("every message is accounted for", *balance(after))
        show(
            "the same refs still work",
            await service.intake.ask(Upload(1), timeout=10),
            await service.catalogue.ask(LookUp(1), timeout=10),
        )

        for photo in range(1, 9):  # something to drain
            await service.intake.submit(Upload(photo))
        show("the shutdown plan", runtime.shutdown_plan())
    show("the shutdown report", runtime.shutdown_report)


if __name__ == "__main__":
    trio.run(main)
