"""The queue of a shared run, as a protocol: rows, answers, the holder of OUTPUT, and workers."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import attrs

RunState = Literal["running", "paused", "draining", "ended"]
"""What workers do with a run: take rows, take none, take none and end, or leave."""


@attrs.frozen
class QueuedRow:
    """A row that some worker sends.

    Args:
        key: identifies the row in the run; a key is put once, however often it is tried.
        body: the encoded request. Only workers read it.
    """

    key: str
    body: bytes


@attrs.frozen
class TakenRow:
    """A row in the hands of a worker.

    Args:
        entry: identifies the row in the queue.
        row: the row that was taken.
        deliveries: how many times it was given to a worker, this time included. Above 1, an
            earlier worker may have sent it, and it may be paid for twice.
    """

    entry: str
    row: QueuedRow
    deliveries: int = 1


@attrs.frozen
class QueueAnswer:
    """The end of a row.

    Args:
        entry: identifies the row in the queue.
        key: the key of its row.
        body: the encoded response or error. Only the holder reads it.
    """

    entry: str
    key: str
    body: bytes


@attrs.frozen(kw_only=True)
class RunCard:
    """What is known of a shared run.

    Args:
        name: the name of the run.
        state: what workers do.
        settings: how workers open their troupe: options of the command, without secrets.
        holder: who writes OUTPUT, in words; "" while there is no holder.
        waiting: rows that no worker has.
        taken: rows in the hands of workers.
        answered: answers that the holder has not stored.
        workers: {worker: its latest report}; those of dead workers are left out.
    """

    name: str
    state: RunState
    settings: bytes
    holder: str = ""
    waiting: int = 0
    taken: int = 0
    answered: int = 0
    workers: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes])


class WorkQueue(Protocol):
    """The queue of one run. Every method may raise `StorageError`; each is safe to repeat."""

    @property
    def name(self) -> str:
        """What it is and where, for messages, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the queue for the length of a block."""
        ...

    # ---------------------------------------------------------------- the holder of OUTPUT

    async def hold(self, holder: str, settings: bytes, *, lease_s: float) -> bool:
        """Become, or stay, the one process that writes OUTPUT; return whether it is.

        Args:
            holder: a name of the process.
            settings: see `RunCard`; they are written when the run begins.
            lease_s: seconds after which another process may take over.
        """
        ...

    async def put(self, rows: Sequence[QueuedRow]) -> None:
        """Add rows, except those whose key was put before."""
        ...

    async def answers(self, count: int, *, wait_s: float) -> Sequence[QueueAnswer]:
        """Return answers that are not stored, the oldest first; none after `wait_s` without any."""
        ...

    async def stored(self, answers: Sequence[QueueAnswer]) -> None:
        """Drop answers that are on the holder's disk."""
        ...

    async def change_state(self, state: RunState) -> None:
        """Tell workers what to do."""
        ...

    async def end(self, *, forget: bool) -> None:
        """Let go of OUTPUT, and with `forget` remove all of the run from the server."""
        ...

    # ---------------------------------------------------------------- workers

    async def take(self, worker: str, count: int, *, wait_s: float) -> Sequence[TakenRow]:
        """Take rows: those whose worker has died first, then new ones.

        Args:
            worker: the process that takes them.
            count: the most rows.
            wait_s: seconds to wait for the first one.
        """
        ...

    async def own(self, worker: str) -> Sequence[TakenRow]:
        """Return the rows that a worker has in hand by the queue, such as after a lost reply."""
        ...

    async def beat(self, worker: str, report: bytes, entries: Sequence[str]) -> Sequence[str]:
        """Say that a worker lives; return those of its entries that are still its own.

        Args:
            worker: a name of the process.
            report: what `callsheet top` shows of it.
            entries: the rows that it has in hand.
        """
        ...

    async def answer(self, worker: str, answers: Sequence[QueueAnswer]) -> Sequence[bool]:
        """Hand in answers; for each return whether it is the first of its row."""
        ...

    async def give_back(self, worker: str, entries: Sequence[str]) -> None:
        """Put rows back that were not sent."""
        ...

    async def leave(self, worker: str) -> None:
        """Say that a worker ends. Rows that it still has go to other workers at once."""
        ...

    # ---------------------------------------------------------------- anyone

    async def card(self) -> RunCard | None:
        """Return what is known of the run; None if there is none."""
        ...
