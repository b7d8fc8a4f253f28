"""An actor with a slow job and a mailbox, for the tests of full mailboxes."""

from functools import partial

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from callsheet.runtime import (
    Actor,
    AskFailed,
    Instrument,
    Message,
    MessageDone,
    Ref,
    ReplySlot,
    defers,
    handles,
)


@attrs.frozen
class Job(Message[str]):
    """The reply is its name, after some seconds."""

    name: str
    seconds: float = 0.0
    priority: float = 0.0


@attrs.frozen
class UrgentJob(Message[str]):
    name: str


@attrs.frozen
class Relay(Message[str]):
    job: Job


class Desk(Actor):
    def __init__(self, done: list[str]) -> None:
        self.done = done

    @handles(Job)
    async def job(self, message: Job) -> str:
        await trio.sleep(message.seconds)
        self.done.append(message.name)
        return message.name

    @handles(UrgentJob, urgent=True)
    async def urgent_job(self, message: UrgentJob) -> str:
        self.done.append(message.name)
        return message.name


class RelayActor(Actor):
    def __init__(self, desk: Ref) -> None:
        self.desk = desk

    @defers(Relay)
    async def relay(self, message: Relay, slot: ReplySlot[str]) -> None:
        await slot.forward(self.desk, message.job)


class DeadLetterRecorder(Instrument):
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def message_done(self, event: MessageDone) -> None:
        if event.outcome in {"dropped", "stopped"}:
            self.events.append((event.actor, event.message, event.outcome))


def by_name(message):
    return message.name


async def busy_desk(runtime, done, *, seconds=5.0, **settings):
    """Spawn a desk that handles a job for some seconds and has an empty mailbox."""
    desk = await runtime.spawn("desk", partial(Desk, done), **settings)
    desk.tell_nowait(Job("in progress", seconds))
    await wait_all_tasks_blocked()
    return desk


async def outcome(ask, results, key):
    try:
        results[key] = await ask
    except AskFailed as error:
        results[key] = error
