"""What a worker of a shared run has in hand, as a state machine without `await` (R14).

    taken ── sent ── ended ── kept in the journal ── handed in ── stored by the holder
      └── given back, or lost to another worker

A row has one call at a time, whatever the queue says of it. Its answer is handed in once it is in
the journal, and again whenever the queue may have lost it. A row that comes again is answered from
the journal if its answer is a response. If it is an error that was handed in, the row is called
again: the holder has put it once more.
"""

from collections.abc import Iterable, Sequence
from typing import final

import attrs

from .queue import BeatReply, RowAnswer, TakenRow, TakeReply, is_before


@attrs.frozen
class JournaledAnswer:
    """An answer in the journal of a worker.

    Args:
        key: the key of the row.
        entry: the entry by which the worker had the row last.
        body: the encoded answer.
        is_response: whether it is a response; otherwise it is an error.
    """

    key: str
    entry: str
    body: bytes = attrs.field(repr=False)
    is_response: bool


@attrs.define
class RowInHand:
    """A row whose call has not ended.

    Args:
        taken: the row, as the queue gave it last.
        is_sent: whether its request may be at the provider.
        is_lost: whether it is another worker's by the queue.
    """

    taken: TakenRow
    is_sent: bool = False
    is_lost: bool = False


@final
class RowsInHand:
    """The rows and answers of one worker.

    Attributes:
        epoch: the life of the queue; "" before the first reply.
        rows: {key: the row}, whose calls have not ended.
        unsent: how many of them are not sent.
    """

    def __init__(self) -> None:
        self.epoch = ""
        self.rows: dict[str, RowInHand] = {}
        self.unsent = 0
        self._recovered: list[JournaledAnswer] = []  # as long as the epoch is not known
        self._unkept: dict[str, JournaledAnswer] = {}
        self._kept: dict[str, JournaledAnswer] = {}
        self._to_hand_in: dict[str, None] = {}  # keys of kept answers, in order
        self._handed_in: dict[str, str] = {}  # {key of a kept answer: its entry in the queue}
        self._forgotten: list[str] = []  # keys that the journal need not have

    def __repr__(self) -> str:
        return (
            f"<RowsInHand {len(self.rows)} rows, {self.unsent} of them not sent, "
            f"{len(self._unkept)} answers to keep, {len(self._to_hand_in)} to hand in>"
        )

    # ---------------------------------------------------------------- rows

    def take(self, reply: TakeReply) -> list[TakenRow]:
        """Add the rows of a reply; return those that need a call.

        Args:
            reply: what the queue has given.
        """
        self._note_epoch(reply.epoch)
        to_send: list[TakenRow] = []
        for taken in reply.rows:
            key = taken.row.key
            if (row := self.rows.get(key)) is not None:
                row.taken, row.is_lost = taken, False
            elif (unkept := self._unkept.get(key)) is not None:
                self._unkept[key] = attrs.evolve(unkept, entry=taken.entry)
            elif (kept := self._kept.get(key)) is not None and (
                kept.is_response or key in self._to_hand_in
            ):
                self._kept[key] = attrs.evolve(kept, entry=taken.entry)
                self._handed_in.pop(key, None)
                self._to_hand_in[key] = None
            else:
                self._forget(key)
                self.rows[key] = RowInHand(taken)
                self.unsent += 1
                to_send.append(taken)
        return to_send

    def sent(self, key: str) -> bool:
        """Note that the request of a row may be at the provider; return whether that is new.

        Args:
            key: the key of the row.
        """
        row = self.rows.get(key)
        if row is None or row.is_sent:
            return False
        row.is_sent = True
        self.unsent -= 1
        return True

    def ended(self, key: str, body: bytes, *, is_response: bool) -> None:
        """Note the answer of a row, which is to be kept.

        Args:
            key: the key of the row.
            body: the encoded answer.
            is_response: whether it is a response; otherwise it is an error.
        """
        if (row := self._leave(key)) is not None:
            self._unkept[key] = JournaledAnswer(key, row.taken.entry, body, is_response)

    def not_sent(self, key: str) -> str | None:
        """Note that the call of a row was cancelled before it was sent.

        Args:
            key: the key of the row.

        Returns:
            The entry to give back; None if the row is not this worker's any more.
        """
        row = self._leave(key)
        return None if row is None or row.is_lost else row.taken.entry

    def _leave(self, key: str) -> RowInHand | None:
        row = self.rows.pop(key, None)
        if row is not None and not row.is_sent:
            self.unsent -= 1
        return row

    # ---------------------------------------------------------------- answers

    @property
    def has_unkept(self) -> bool:
        """Whether answers are to be written to the journal."""
        return bool(self._unkept)

    @property
    def has_answers(self) -> bool:
        """Whether answers are to be written to the journal, or to be handed in."""
        return bool(self._unkept or self._to_hand_in)

    @property
    def unstored(self) -> int:
        """How many answers the holder may not have on its disk."""
        return len(self._recovered) + len(self._unkept) + len(self._kept)

    @property
    def has_unclaimed(self) -> bool:
        """Whether a response was never handed in."""
        left = [self._kept[key] for key in self._to_hand_in]
        return any(answer.is_response for answer in (*left, *self._recovered))

    def recover(self, answers: Iterable[JournaledAnswer]) -> None:
        """Add the answers of an earlier worker from the journal.

        Args:
            answers: what the journal has.
        """
        self._recovered.extend(answers)

    def to_keep(self) -> tuple[Sequence[JournaledAnswer], Sequence[str]]:
        """Return the answers that the journal should have next, and the keys that it need not."""
        forgotten, self._forgotten = self._forgotten, []
        return tuple(self._unkept.values()), forgotten

    def kept(self, answers: Iterable[JournaledAnswer]) -> None:
        """Note that answers are in the journal; they may be handed in.

        Args:
            answers: what `to_keep` returned.
        """
        for given in answers:
            answer = self._unkept.pop(given.key, given)  # its entry may be a later one
            self._kept[answer.key] = answer
            self._handed_in.pop(answer.key, None)
            self._to_hand_in[answer.key] = None

    def to_hand_in(self, count: int, size: int) -> list[RowAnswer]:
        """Return the answers to hand in next, the oldest first.

        Args:
            count: the most answers.
            size: the bytes after which no further answer is added.
        """
        found: list[RowAnswer] = []
        for key in self._to_hand_in:
            if len(found) >= count or size <= 0:
                break
            kept = self._kept[key]
            found.append(RowAnswer(kept.entry, key, kept.body))
            size -= len(kept.body)
        return found

    def handed_in(self, answers: Sequence[RowAnswer], entries: Sequence[str]) -> None:
        """Note that answers were handed in.

        Args:
            answers: what `to_hand_in` returned.
            entries: for each the entry of the answer, as `WorkQueue.answer` returns it.
        """
        for answer, entry in zip(answers, entries, strict=True):
            kept = self._kept.get(answer.key)
            if kept is None or kept.entry != answer.entry:
                continue  # the row came again meanwhile: its answer is handed in once more
            self._to_hand_in.pop(answer.key, None)
            if entry:
                self._handed_in[answer.key] = entry
            else:
                self._forget(answer.key)

    def _forget(self, key: str) -> None:
        if self._kept.pop(key, None) is not None:
            self._handed_in.pop(key, None)
            self._to_hand_in.pop(key, None)
            self._forgotten.append(key)

    # ---------------------------------------------------------------- the queue

    def entries(self) -> list[str]:
        """Return the entries of this epoch that are this worker's as far as it knows."""
        begin = f"{self.epoch}/"
        entries = [row.taken.entry for row in self.rows.values() if not row.is_lost]
        entries += (answer.entry for answer in self._unkept.values())
        entries += (self._kept[key].entry for key in self._to_hand_in)
        return [entry for entry in entries if entry.startswith(begin)]

    def beat(self, reply: BeatReply) -> list[str]:
        """Note what the queue says; return the keys of rows whose calls should not be sent.

        They belong to other workers now, or are put again, and each call of them is to be
        cancelled.

        Args:
            reply: what the queue has said.
        """
        if reply.state is None:
            return []
        cancelled = self._note_epoch(reply.epoch)
        lost = set(reply.lost)
        for key, row in self.rows.items():
            if row.taken.entry in lost and not row.is_lost:
                row.is_lost = True
                if not row.is_sent:
                    cancelled.append(key)
        if reply.stored_before:
            for key, entry in list(self._handed_in.items()):
                if is_before(entry, reply.stored_before):
                    self._forget(key)
        return cancelled

    def _note_epoch(self, epoch: str) -> list[str]:
        """Begin another life of the queue; return the keys of rows that should not be sent."""
        if not epoch or epoch == self.epoch:
            return []
        self.epoch = epoch
        begin = f"{epoch}/"
        for kept in self._recovered:
            self._kept[kept.key] = kept
            # An error of another epoch may be of an earlier run, whose row this run calls again.
            if kept.is_response or kept.entry.startswith(begin):
                self._to_hand_in[kept.key] = None
            else:
                self._forget(kept.key)
        self._recovered = []
        for key, entry in list(self._handed_in.items()):
            if not entry.startswith(begin):
                del self._handed_in[key]
                self._to_hand_in[key] = None
        cancelled: list[str] = []
        for key, row in self.rows.items():
            if not row.taken.entry.startswith(begin):
                row.is_lost = True  # the holder puts it again
                if not row.is_sent:
                    cancelled.append(key)
        return cancelled
