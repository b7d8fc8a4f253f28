"""Actors that record their starts and ends, and an instrument that records crashes."""

from functools import partial

import attrs
import trio
from sample_actors import Counter, Work

from callsheet.runtime import ActorCrash, Instrument, Message, RestartPolicy, handles

NO_PAUSE = RestartPolicy(max_restarts=5, period_s=30, base_s=0)
NO_RESTARTS = RestartPolicy(max_restarts=0)


@attrs.frozen
class End(Message[None]):
    """Makes the actor stop itself."""


class Recorder(Counter):
    """Appends its starts (+), failed starts (!) and ends (-) to a list.

    Args:
        name: the name in the list.
        journal: the list.
        start_errors: the error of each start; None for a start that succeeds.
    """

    def __init__(
        self, name: str, journal: list[str], start_errors: list[Exception | None] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.journal = journal
        self.start_errors = start_errors

    async def started(self) -> None:
        start_error = self.start_errors.pop(0) if self.start_errors else None
        if start_error is not None:
            self.journal.append(f"!{self.name}")
            raise start_error
        self.journal.append(f"+{self.name}")

    async def stopped(self) -> None:
        self.journal.append(f"-{self.name}")

    @handles(Work)
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return f"{message.name} by {self.name}"

    @handles(End)
    async def end(self, message: End) -> None:
        self.stop()


class CrashRecorder(Instrument):
    """Records every crash."""

    def __init__(self) -> None:
        self.seen: list[ActorCrash] = []

    def actor_crashed(self, event: ActorCrash) -> None:
        self.seen.append(event)


def crashes_in(log) -> list[tuple[str, str]]:
    return [(one["actor"], one["decision"]) for one in log if one["event"] == "actor_crashed"]


async def spawn_all(supervisor, names: str, journal: list[str], **settings):
    return [
        await supervisor.spawn(name, partial(Recorder, name, journal), **settings) for name in names
    ]
