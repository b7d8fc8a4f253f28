"""The queue of a shared run, as a protocol: rows, answers, the holder of OUTPUT, and workers.

The holder puts rows; workers take them, and hand in an answer for each; the holder reads the
answers, and drops them when they are on its disk. An answer is kept until then, so a holder that
dies loses none. A worker that dies loses its rows to others when its lease has ended.

A queue that was lost, because the server lost its data, begins again with another epoch: the
holder puts its rows without an answer again, and workers hand in again what is not stored.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import attrs

RunState = Literal["running", "paused", "draining", "ended"]
"""What workers do with a run: take rows, take none, take none and end, or leave."""

WORKER_LEASE_S = 10.0
"""Seconds without a sign of life after which the rows of a worker go to others."""

BEAT_S = 3.0
"""Seconds between two signs of life of a worker, and of a holder."""

MOST_DELIVERIES = 5
"""How many workers a row is given to, if each of them ends before it has answered. The holder of a
run with a budget lets it be 1, because each of them may have to be paid for."""


@attrs.frozen
class QueuedRow:
    """A row that some worker sends.

    Args:
        key: identifies the row in the run; a key is in the queue once, however often it is put.
        body: the encoded request. Only workers read it.
    """

    key: str
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class TakenRow:
    """A row in the hands of a worker.

    Args:
        entry: identifies the row in this epoch of the queue.
        row: the row that was taken.
        deliveries: how many times it was given to a worker, this time included. Above 1, an
            earlier worker may have sent it, and it may be paid for twice.
    """

    entry: str
    row: QueuedRow
    deliveries: int = 1


@attrs.frozen(kw_only=True)
class TakeReply:
    """What a worker gets when it asks for rows.

    Args:
        state: what workers do with the run; None if the queue knows no such run: its data was
            lost, and its holder has not come back.
        epoch: identifies this life of the queue.
        rows: the rows that are the worker's now.
    """

    state: RunState | None
    epoch: str = ""
    rows: Sequence[TakenRow] = ()


@attrs.frozen(kw_only=True)
class BeatReply:
    """What a worker learns when it says that it lives.

    Args:
        state: as in `TakeReply`.
        epoch: as in `TakeReply`; another one than before means that the queue was lost.
        lost: those of the worker's entries that are no longer its own.
        has_more: whether the worker has rows by the queue that it did not list, such as after a
            lost reply; `WorkQueue.own` returns them.
        stored_before: all answers before this one are on the holder's disk; see
            `WorkQueue.answer`. "" if there is nothing to say.
        has_holder: whether a process holds OUTPUT.
    """

    state: RunState | None
    epoch: str = ""
    lost: Sequence[str] = ()
    has_more: bool = False
    stored_before: str = ""
    has_holder: bool = False


@attrs.frozen
class RowAnswer:
    """The end of a row, as its worker hands it in.

    Args:
        entry: identifies the row in the epoch in which the worker took it.
        key: the key of the row.
        body: the encoded response or error. Only the holder reads it.
    """

    entry: str
    key: str
    body: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class QueueAnswer:
    """The end of a row, as the holder reads it.

    Args:
        entry: identifies the answer in this epoch of the queue; later answers are greater.
        key: the key of the row, which an earlier holder may have put.
        body: the encoded response or error; empty for a row that was parked.
        deliveries: how many times the row was given to a worker. Above 1, it may be paid for twice.
        is_parked: whether the row was given up because the most workers ended over it.
        worker: who handed it in; "" for a row that was parked. After a loss of the queue, a row may
            have answers of two workers, which were both paid for.
    """

    entry: str
    key: str
    body: bytes = attrs.field(repr=False)
    deliveries: int = 1
    is_parked: bool = False
    worker: str = ""


@attrs.frozen(kw_only=True)
class HoldReply:
    """Who holds OUTPUT.

    Args:
        is_held: whether it is the asker.
        holder: the name of the process that holds it.
        epoch: identifies this life of the queue; another one than before means that it was lost,
            and that the holder puts its rows without an answer again.
    """

    is_held: bool
    holder: str
    epoch: str


@attrs.frozen(kw_only=True)
class RunCard:
    """What is known of a shared run.

    Args:
        name: the name of the run.
        state: what workers do.
        settings: how workers open their troupe: options of the command, without secrets.
        epoch: identifies this life of the queue.
        holder: who writes OUTPUT; "" while there is no holder.
        waiting: how many rows no worker has.
        taken: how many rows are in the hands of workers.
        answered: how many answers the holder has not stored.
        taken_over: how many times a row went from a worker that ended to another one.
        answered_twice: how many answers came too late: another worker had answered the row.
        parked: how many rows were given up because the most workers ended over them.
        workers: {worker: its latest report}; those whose lease has ended are left out.
    """

    name: str
    state: RunState
    settings: bytes = attrs.field(repr=False)
    epoch: str = ""
    holder: str = ""
    waiting: int = 0
    taken: int = 0
    answered: int = 0
    taken_over: int = 0
    answered_twice: int = 0
    parked: int = 0
    workers: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes])


class WorkQueue(Protocol):
    """The queue of one run. Every method may raise `StorageError`; each is safe to repeat.

    The methods of the holder return False if another process holds OUTPUT, or none; they then do
    nothing.
    """

    @property
    def name(self) -> str:
        """What it is and where, for messages, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the queue for the length of a block, also while the server is away."""
        ...

    async def check(self) -> None:
        """Check that the server is one that may keep a run.

        Raises:
            UnsuitableServer: it may lose rows or answers.
        """
        ...

    # ---------------------------------------------------------------- the holder of OUTPUT

    async def hold(
        self,
        holder: str,
        settings: bytes,
        *,
        lease_s: float,
        most_deliveries: int = MOST_DELIVERIES,
    ) -> HoldReply:
        """Become, or stay, the one process that writes OUTPUT. A new holder sets the run going.

        Args:
            holder: a name of the process, which no other one has.
            settings: see `RunCard`; a new holder writes them.
            lease_s: seconds after which another process may take over.
            most_deliveries: how many workers may end over a row before it is given up; a new
                holder decides. With 1, rows that an earlier holder has put and no worker has are
                removed, because the new one has not reserved for them.
        """
        ...

    async def put(self, holder: str, rows: Sequence[QueuedRow]) -> bool:
        """Add rows, except those whose key is in the queue, or whose answer is.

        Args:
            holder: see `hold`; the process that asks.
            rows: the rows, in the order in which workers should take them.
        """
        ...

    async def left(self, after: str, count: int) -> Sequence[TakenRow]:
        """Return rows without an answer, the oldest first: workers may have sent them.

        A new holder with a budget reads them before it puts rows of its own; see `hold`.

        Args:
            after: the entry of the last row that was read; "" for the first.
            count: the most rows.
        """
        ...

    async def withdraw(self, holder: str, keys: Sequence[str]) -> Sequence[str]:
        """Remove rows that no worker has, and return the keys that are not in the queue then.

        Args:
            holder: see `hold`; the process that asks.
            keys: the keys of the rows.
        """
        ...

    async def answers(self, after: str, count: int, *, wait_s: float) -> Sequence[QueueAnswer]:
        """Return answers that are not stored, the oldest first; none after `wait_s` without any.

        Args:
            after: the entry of the last answer that was read in this epoch; "" for the first.
            count: the most answers.
            wait_s: seconds to wait for the first one.
        """
        ...

    async def stored(self, holder: str, entries: Sequence[str]) -> bool:
        """Drop answers that are on the holder's disk.

        Args:
            holder: see `hold`; the process that asks.
            entries: the entries of the answers.
        """
        ...

    async def change_state(self, holder: str, state: RunState) -> bool:
        """Tell workers what to do.

        Args:
            holder: see `hold`; the process that asks.
            state: what they do.
        """
        ...

    async def end(self, holder: str, *, forget: bool) -> bool:
        """Let go of OUTPUT; workers go on, and another process can take over.

        Args:
            holder: see `hold`; the process that asks.
            forget: remove all rows and answers as well, and tell workers to leave.
        """
        ...

    # ---------------------------------------------------------------- workers

    async def take(self, worker: str, count: int, *, wait_s: float) -> TakeReply:
        """Take rows: those given back, then those of workers that ended, then new ones.

        Args:
            worker: a name of the process, which no other one has at the same time.
            count: the most rows.
            wait_s: seconds to wait for the first one. The wait ends when the state changes.
        """
        ...

    async def own(self, worker: str) -> TakeReply:
        """Return all rows that a worker has by the queue, such as after a lost reply.

        Args:
            worker: see `take`; the process that asks.
        """
        ...

    async def beat(self, worker: str, report: bytes, entries: Sequence[str]) -> BeatReply:
        """Say that a worker lives.

        Args:
            worker: see `take`; the process that asks.
            report: what is shown of it.
            entries: the rows that it has in hand.
        """
        ...

    async def answer(self, worker: str, answers: Sequence[RowAnswer]) -> Sequence[str] | None:
        """Hand in answers. The first answer of a row counts, also if another worker has the row.

        That of a row of an earlier epoch is kept all the same: it was paid for besides.

        Args:
            worker: see `take`; the process that asks.
            answers: at most one for each row.

        Returns:
            For each the entry of the answer, which `BeatReply.stored_before` is compared with by
            `is_before`; "" if the row had another answer, or it is stored. None if the queue knows
            no such run: hand them in again later.
        """
        ...

    async def give_back(self, worker: str, entries: Sequence[str]) -> None:
        """Put rows back that were not sent.

        Args:
            worker: see `take`; the process that asks.
            entries: the entries of the rows.
        """
        ...

    async def leave(self, worker: str) -> None:
        """Say that a worker ends. Rows that it still has go to other workers at once.

        Args:
            worker: see `take`; the process that asks.
        """
        ...

    # ---------------------------------------------------------------- anyone

    async def card(self) -> RunCard | None:
        """Return what is known of the run; None if there is none."""
        ...


def is_before(entry: str, other: str) -> bool:
    """Return whether an answer is older than another one; False if that is of another epoch.

    Args:
        entry: the entry of the one answer.
        other: the entry of the other answer.
    """
    if entry.rpartition("/")[0] != other.rpartition("/")[0]:
        return False
    return _order(entry) < _order(other)


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.rpartition("/")[2].partition("-")
    return int(milliseconds), int(number or 0)
