"""Actors that note how they begin and end, and what tells of their crashes."""

from functools import partial

import attrs
import trio
from troupe import Counter, Work

from callsheet.runtime import (
    ActorCrash,
    Instrument,
    Message,
    RestartPolicy,
    handles,
)

EAGER = RestartPolicy(max_restarts=5, period_s=30, base_s=0)
NEVER = RestartPolicy(max_restarts=0)


@attrs.frozen
class End(Message[None]):
    """Ends the actor by its own decision."""


class Player(Counter):
    """Notes its starts (+) and ends (-) in a journal; may fail to start as often as it is told."""

    def __init__(
        self, name: str, journal: list[str], moods: list[Exception | None] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.journal = journal
        self.moods = moods

    async def started(self) -> None:
        mood = self.moods.pop(0) if self.moods else None
        if mood is not None:
            self.journal.append(f"!{self.name}")
            raise mood
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


class Crashes(Instrument):
    """Keeps every crash."""

    def __init__(self) -> None:
        self.seen: list[ActorCrash] = []

    def actor_crashed(self, event: ActorCrash) -> None:
        self.seen.append(event)


def crashes_in(log) -> list[tuple[str, str]]:
    return [(one["actor"], one["decision"]) for one in log if one["event"] == "actor_crashed"]


async def spawn_all(supervisor, names: str, journal: list[str], **settings):
    return [
        await supervisor.spawn(name, partial(Player, name, journal), **settings) for name in names
    ]
