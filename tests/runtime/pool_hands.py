"""Actors and messages for the tests of pools."""

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import Actor, Instrument, Message, ReplySlot, RestartPolicy, defers, handles

__all__ = [
    "PATIENT",
    "Crashes",
    "Hand",
    "Hold",
    "Job",
    "Later",
    "Leave",
    "ask_all",
    "counts_of",
    "key_of",
]

PATIENT = RestartPolicy(max_restarts=10_000)


@attrs.frozen
class Job(Message[str]):
    """A negative number of seconds is a crash; the reply is the path of the member."""

    seconds: float = 1.0
    key: object = None
    number: int = 0


@attrs.frozen
class Later(Message[str]):
    """Have the member that handles it reply by a timer of its own."""

    seconds: float


@attrs.frozen
class Tick(Message[None]):
    pass


@attrs.frozen
class Hold(Message[None]):
    key: object = None


@attrs.frozen
class Leave(Message[None]):
    pass


def key_of(message):
    return getattr(message, "key", None)


class Hand(Actor):
    """Records (number, when it began, when it ended) of each job."""

    def __init__(self, record=None, held=None):
        self.record = [] if record is None else record
        self.held = [] if held is None else held
        self.ticks = 0

    @handles(Job)
    async def job(self, message):
        began = trio.current_time()
        if message.seconds < 0:
            await trio.sleep(-message.seconds)
            self.record.append((message.number, began, "crash"))
            raise KeyError("bug")
        await trio.sleep(message.seconds)
        self.record.append((message.number, began, trio.current_time()))
        return self._cell.path.rpartition("/")[2]

    @defers(Later)
    async def later(self, message, slot: ReplySlot[str]):
        self.held.append(slot)
        self.send_after(message.seconds, Tick())

    @handles(Tick)
    async def tick(self, message):
        self.held.pop().reply(self._cell.path.rpartition("/")[2])

    @defers(Hold)
    async def hold(self, message, slot):
        self.held.append(slot)

    @handles(Leave)
    async def leave(self, message):
        self.stop()


class Crashes(Instrument):
    def __init__(self):
        self.decisions: list[tuple[str, str]] = []

    def actor_crashed(self, event):
        self.decisions.append((event.actor.rpartition("/")[2], event.decision))


async def ask_all(pool, messages):
    """Ask in the given order; return what came, in the same order."""
    results: dict[int, object] = {}

    async def ask(number, message):
        try:
            results[number] = await pool.ask(message)
        except Exception as error:  # noqa: BLE001  # it is the result
            results[number] = error

    async with trio.open_nursery() as nursery:
        for number, message in enumerate(messages):
            nursery.start_soon(ask, number, message)
            await wait_all_tasks_blocked()
    return [results[number] for number in range(len(messages))]


def counts_of(runtime, pool):
    snapshot = runtime.snapshot()[pool.path]
    assert snapshot.is_conserved
    return snapshot.counts
