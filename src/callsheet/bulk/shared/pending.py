"""The rows that the holder of a run has given to the queue, as a state machine. Pure (R14).

A row is new until it is in the queue, and then open until its answer arrives. Its answer stays in
the queue until the holder has what follows from it on disk. If the queue was lost, all open rows
are new again.

An answer may arrive before its row: an earlier holder had put the row. It waits here until the
reader of this run comes to the row. A row whose call was given up stays known, too: it is removed
from the queue unless a worker has it, and its answer then waits for the next call.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar, final

import attrs

from .queue import QueueAnswer, QueuedRow

CallT = TypeVar("CallT")


@attrs.define(eq=False)
class PendingRow(Generic[CallT]):
    """A row without an answer.

    Args:
        row: the row, as it is put.
        name: the name of its call.
        call: the call that waits for the answer; None if it was given up.
        is_put: whether the row is in the queue.
    """

    row: QueuedRow
    name: str
    call: CallT | None
    is_put: bool = False


@attrs.define(eq=False)
class AnswerEntries:
    """The answers of a call in the queue, which may be dropped once what follows is on disk.

    Args:
        keys: the keys of the rows that they answer.
        entries: the entries of the answers in this epoch.
    """

    keys: list[str] = attrs.field(factory=list[str])
    entries: list[str] = attrs.field(factory=list[str])


@final
class PendingRows(Generic[CallT]):
    """The rows of a run in the queue, from the holder's side.

    Attributes:
        epoch: identifies the life of the queue that these rows are in; "" before the first one.
        after: the entry of the last answer that was read in this epoch; "" for none.
        is_draining: whether every row is to be withdrawn that no worker has.
    """

    def __init__(self) -> None:
        self.epoch = ""
        self.after = ""
        self.is_draining = False
        self._rows: dict[str, PendingRow[CallT]] = {}  # by key
        self._new: dict[str, None] = {}  # keys of rows to put, in order
        self._early: dict[str, QueueAnswer] = {}  # by key
        self._settled: dict[str, AnswerEntries] = {}  # by key; their rows are not on disk
        self._named: dict[str, AnswerEntries] = {}  # by the name of the call; not claimed yet
        self._stored: dict[str, None] = {}  # entries of answers that are on disk
        self._given_up: dict[str, None] = {}  # keys

    def __repr__(self) -> str:
        return (
            f"<PendingRows {len(self._new)} new, {len(self._rows)} open, {len(self._early)} early>"
        )

    @property
    def open(self) -> int:
        """The number of rows that a call waits for."""
        return sum(one.call is not None for one in self._rows.values())

    @property
    def early(self) -> int:
        """The number of answers that no call waits for."""
        return len(self._early)

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the run is in the queue that a later run could use."""
        return not self._rows and not self._early

    @property
    def has_work(self) -> bool:
        """Whether there is something to tell the queue."""
        return bool(self._new or self._stored or self._given_up)

    # ---------------------------------------------------------------- calls

    def is_open(self, key: str) -> bool:
        """Return whether a call waits for the answer to a row.

        Args:
            key: the key of the row.
        """
        row = self._rows.get(key)
        return row is not None and row.call is not None

    def is_put(self, key: str) -> bool:
        """Return whether a call waits for the answer to a row that may be in the queue.

        Args:
            key: the key of the row.
        """
        row = self._rows.get(key)
        return row is not None and row.call is not None and row.is_put

    def add(self, row: QueuedRow, name: str, call: CallT) -> QueueAnswer | None:
        """Add a row; return its answer if that is here already.

        Args:
            row: the row, whose key no other open row has.
            name: the name of its call.
            call: the call that waits for the answer.
        """
        answer = self._early.pop(row.key, None)
        if answer is not None:
            self._note(row.key, name, answer.entry)
            return answer
        self._given_up.pop(row.key, None)
        known = self._rows.get(row.key)
        if known is None:
            self._rows[row.key] = PendingRow(row, name, call)
            self._new[row.key] = None
        else:  # it may have been withdrawn, although this was not heard
            known.name, known.call = name, call
            self._new[row.key] = None
        return None

    def give_up(self, key: str) -> None:
        """Note that no call waits for a row any more.

        Args:
            key: the key of the row.
        """
        row = self._rows.get(key)
        if row is None:
            return
        if row.is_put:
            row.call = None
            self._given_up[key] = None
        else:
            del self._rows[key]
            self._new.pop(key, None)

    # ---------------------------------------------------------------- the queue

    def begin(self, epoch: str) -> bool:
        """Note the epoch of the queue; return whether it has lost what it had.

        Args:
            epoch: identifies this life of the queue.
        """
        before, self.epoch = self.epoch, epoch
        if before in ("", epoch):
            return False
        self.after = ""
        self._stored.clear()
        self._given_up.clear()
        for found in self._settled.values():
            found.entries.clear()
        for key, answer in self._early.items():
            self._early[key] = attrs.evolve(answer, entry="")
        self._new = {}
        for key, row in list(self._rows.items()):
            row.is_put = False
            if row.call is None:
                del self._rows[key]
            else:
                self._new[key] = None
        return True

    def to_put(self, count: int, size: int) -> list[QueuedRow]:
        """Return the next rows to put.

        Args:
            count: the most rows.
            size: the bytes after which no further row is added.
        """
        found: list[QueuedRow] = []
        if self.is_draining:
            return found
        for key in self._new:
            if len(found) >= count or size <= 0:
                break
            row = self._rows[key].row
            found.append(row)
            size -= len(row.body)
        for row in found:  # from now on they may be there, whatever becomes of the message
            self._rows[row.key].is_put = True
        return found

    def put(self, rows: Iterable[QueuedRow], epoch: str) -> None:
        """Note that rows are in the queue.

        Args:
            rows: what `to_put` returned.
            epoch: the epoch in which it did.
        """
        if epoch == self.epoch:  # otherwise they may be lost already
            for row in rows:
                self._new.pop(row.key, None)

    def answered(self, answer: QueueAnswer) -> CallT | None:
        """Take an answer; return the call that waits for it, or None if none does yet.

        Args:
            answer: an answer of the queue.
        """
        self.after = answer.entry
        key = answer.key
        row = self._rows.pop(key, None)
        self._new.pop(key, None)
        self._given_up.pop(key, None)
        if row is not None and row.call is not None:
            self._note(key, row.name, answer.entry)
            return row.call
        known = self._settled.get(key)
        if known is None:
            self._early[key] = answer
        else:  # handed in once more, after the queue was lost
            known.entries.append(answer.entry)
        return None

    def _note(self, key: str, name: str, entry: str) -> None:
        found = self._named.setdefault(name, AnswerEntries())
        found.keys.append(key)
        if entry:
            found.entries.append(entry)
        self._settled[key] = found

    def claim(self, name: str) -> AnswerEntries | None:
        """Return the answers that a call had since it was asked for last; None for none.

        Args:
            name: the name of the call.
        """
        return self._named.pop(name, None)

    def acknowledge(self, answers: Iterable[AnswerEntries]) -> None:
        """Note that everything that followed from answers is on disk.

        Args:
            answers: what `claim` returned.
        """
        for found in answers:
            for key in found.keys:
                self._settled.pop(key, None)
            self._stored.update(dict.fromkeys(found.entries))

    def acknowledge_all(self) -> None:
        """Note that everything that followed from any answer so far is on disk."""
        self.acknowledge(list(self._settled.values()))
        self._named.clear()

    def to_drop(self, count: int) -> list[str]:
        """Return entries of answers that the queue need not keep.

        Args:
            count: the most entries.
        """
        return [entry for entry, _ in zip(self._stored, range(count), strict=False)]

    def dropped(self, entries: Iterable[str]) -> None:
        """Note that the queue has dropped answers.

        Args:
            entries: what `to_drop` returned.
        """
        for entry in entries:
            self._stored.pop(entry, None)

    def to_withdraw(self) -> Sequence[str]:
        """Return the keys of rows that are not wanted in the queue, unless a worker has them."""
        return list(self._rows) if self.is_draining else list(self._given_up)

    def withdrawn(self, asked: Iterable[str], gone: Iterable[str]) -> list[CallT]:
        """Note which rows are not in the queue; return the calls that waited for them.

        Args:
            asked: the keys that `to_withdraw` returned in this epoch.
            gone: those of them that are not in the queue.
        """
        for key in asked:
            self._given_up.pop(key, None)  # the others have a worker
        found: list[CallT] = []
        for key in gone:
            row = self._rows.get(key)
            if row is None:
                continue
            if row.call is not None and not self.is_draining:  # asked for again meanwhile
                self._new[key] = None
                continue
            del self._rows[key]
            self._new.pop(key, None)
            if row.call is not None:
                found.append(row.call)
        return found

    def keep_back(self) -> list[CallT]:
        """Forget the rows that were never put; return the calls that waited for them."""
        kept = [(key, row) for key, row in self._rows.items() if not row.is_put]
        for key, _ in kept:
            del self._rows[key]
            self._new.pop(key, None)
        return [row.call for _, row in kept if row.call is not None]

    def abandon(self) -> list[CallT]:
        """Forget all rows without an answer; return the calls that waited for them."""
        found = [row.call for row in self._rows.values() if row.call is not None]
        self._rows.clear()
        self._new.clear()
        self._given_up.clear()
        return found
