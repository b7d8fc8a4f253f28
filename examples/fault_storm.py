"""A tree of actors in a storm of faults, and what it kept of its promises.

A little photo service. Forty clients upload and look up photos, each with a deadline of its own,
and lose patience now and then. For a second or so lightning strikes actors at random: whoever is
struck crashes with whatever it has in hand. Some photos take far too long. Mailboxes are small and
fill up. One sensor is broken for good and takes its supervisor down with it, again and again.

What comes out: the tree before, in and after the storm; how every single ask ended; the sum of all
messages, which comes out even (R9); the plan of the shutdown and what became of it (R11).

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
    spawn_pool,
)

CLIENTS = 40
STORM_S = 1.0
STRIKES_PER_S = 50.0
HUGE = 0.02  # share of photos that take far too long
IMPATIENT = 0.1  # share of asks that the client itself gives up
QUICKLY = RestartPolicy(max_restarts=1000, period_s=1.0, base_s=0.02, cap_s=0.1)


# ------------------------------------------------------------------ what they say to each other


@attrs.frozen
class Upload(Message[str]):
    """Scale a photo; the answer is the name of the thumbnail."""

    photo: int


@attrs.frozen
class LookUp(Message[str]):
    """Where a photo is kept."""

    photo: int


@attrs.frozen
class Read(Message[bytes]):
    """What is in a photo."""

    photo: int


@attrs.frozen
class Note(Message[None]):
    """For the audit, which takes its time."""

    text: str


@attrs.frozen
class Progress(Message[None]):
    """For the gauge, to which only the latest one of each kind matters."""

    kind: str
    photo: int


@attrs.frozen
class Strike(Message[None]):
    """Lightning. It is urgent: it does not wait in line."""

    text: str = "struck by lightning"


class NotAPhoto(Exception):
    """A declared error: it is an answer."""


class Lightning(Exception):
    """Nobody declares it: it is a crash."""


# ------------------------------------------------------------------ who does the work


class Mortal(Actor):
    """Whoever may be struck."""

    @handles(Strike, urgent=True)
    async def strike(self, message: Strike) -> None:
        raise Lightning(message.text)


class Stage(Mortal):
    """Hands uploads on, and never sees an answer: that goes straight to the client."""

    def __init__(self, to: Ref) -> None:
        self._to = to

    @defers(Upload)
    async def pass_on(self, message: Upload, slot: ReplySlot[str]) -> None:
        await slot.forward(self._to, message)


class Scaler(Mortal):
    """Scales one photo at a time; six of them are a pool behind one ref."""

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
    """Asks in turn: its questions inherit the deadline of the client's."""

    def __init__(self, blobs: Ref) -> None:
        self._blobs = blobs

    @handles(LookUp, raises=(AskFailed,))
    async def look_up(self, message: LookUp) -> str:
        blob = await self._blobs.ask(Read(message.photo))
        return f"photo {message.photo}, {len(blob)} bytes"


class Blobs(Mortal):
    """Where the photos are; what was read when it crashed is read again (`redeliver`)."""

    @handles(Read)
    async def read(self, message: Read) -> bytes:
        await trio.sleep(self.random.uniform(0.001, 0.01))
        return bytes(message.photo % 97)


class Audit(Mortal):
    """Slow; for want of room the oldest notes are dropped."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        await trio.sleep(0.02)
        self.notes.append(message.text)


class Gauge(Mortal):
    """Slower still; of each kind only the latest progress waits."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}

    @handles(Progress)
    async def show(self, message: Progress) -> None:
        await trio.sleep(0.05)
        self.latest[message.kind] = message.photo


class Sensor(Mortal):
    """Broken for good: it strikes itself a moment after each start."""

    async def started(self) -> None:
        self.send_after(self.random.uniform(0.05, 0.15), Strike())


@attrs.frozen
class Service:
    """The refs that clients and the lightning need."""

    intake: Ref
    catalogue: Ref
    targets: tuple[Ref, ...]


async def build(runtime: Runtime) -> Service:
    """The tree; those that others need come first, since stopping goes in reverse."""
    sensors = await runtime.supervise(  # gives up at the third crash in a second
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

    # The pool's supervisor has the default patience, so the workers get one of their own above it.
    scaling = await runtime.supervise("scaling", restarts=QUICKLY)
    scalers = await spawn_pool(
        scaling, "scalers", partial(Scaler, audit, gauge), size=6, capacity=8
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
    """Lightning, at random moments."""
    while True:
        await trio.sleep(random.expovariate(STRIKES_PER_S))
        with suppress(MailboxFull):  # the pool's may be, and lightning does not wait
            random.choice(targets).tell_nowait(Strike())


async def live(service: Service, ends: Counter[str], random: Random) -> None:
    """One client: asks, with little time and less patience, and notes how each ask ended."""
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
                ends["given up by the client"] += 1
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


# ------------------------------------------------------------------ what is shown


def show(title: str, *lines: object) -> None:
    print(f"\n-- {title} {'-' * (86 - len(title))}", *lines, sep="\n")


def counted(counts: Counter[str]) -> list[str]:
    return [f"  {count:6} {what}" for what, count in counts.most_common()]


def balance(snapshot: RuntimeSnapshot) -> list[str]:
    """R9: what came in is what has ended and what is pending, for each actor and for all."""
    total = Counter[str]()
    for actor in snapshot.actors:
        total.update(attrs.asdict(actor.counts))
        total["pending"] += actor.pending
    came = total["accepted"] + total["bypassed"]
    ways = ("handled", "failed", "cancelled", "expired", "dropped", "dead_lettered", "pending")
    even = sum(actor.is_conserved for actor in snapshot.actors)
    return [
        f"  {came:6} came in: {total['accepted']} by mailbox, {total['bypassed']} past it",
        f"  {sum(total[way] for way in ways):6} = "
        + " + ".join(f"{total[way]} {way.replace('_', '-')}" for way in ways),
        f"         and so for each of {even} of {len(snapshot.actors)} actors",
    ]


async def main() -> None:
    structlog.configure(  # each crash is an event with its traceback: too much to read here
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

        await trio.sleep(0.3)  # the last ones are struck down or done
        after = runtime.snapshot()
        show("after", format_tree(after))

        asked = ends.pop("asked")
        show(f"how {ends.total()} of {asked} asks ended", *counted(ends))
        decisions = ", ".join(f"{count} x {how}" for how, count in weather.decisions.most_common())
        show(f"{weather.crashes.total()} crashes: {decisions}", *counted(weather.crashes))
        show("every message is accounted for", *balance(after))
        show(
            "the same refs, after all that",
            await service.intake.ask(Upload(1), timeout=10),
            await service.catalogue.ask(LookUp(1), timeout=10),
        )

        for photo in range(1, 9):  # something to drain
            await service.intake.submit(Upload(photo))
        show("the plan", runtime.shutdown_plan())
    show("what became of it", runtime.shutdown_report)


if __name__ == "__main__":
    trio.run(main)
