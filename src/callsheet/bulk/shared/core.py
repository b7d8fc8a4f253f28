"""The queue of a shared run as a state machine, without `await` and without a clock (R14).

`queue.lua` does the same on a server, step by step, and tests compare the two. What both keep to:

- Time is counted by `now` of the calls, see `WorkerLeases`.
- Rows are given out in this order: those given back, those of workers whose lease has ended (the
  oldest lease first), those that no worker had yet; each kind by its age.
- An answer belongs to the key of its row. The first one counts, whichever worker has the row; a
  later one of another worker is counted once. If that had the row before a loss, no delivery tells
  of it, and the answer is kept for the holder, who counts it.
- A key is known from `put` to `stored`. An answer whose key is not known was stored before, or
  it is from another epoch; then it is kept until the holder has put the row, or reads it.
"""

from collections.abc import Iterator, Sequence
from typing import final

import attrs

from .leases import WorkerLeases
from .queue import (
    MOST_DELIVERIES,
    BeatReply,
    HoldReply,
    QueueAnswer,
    QueuedRow,
    RowAnswer,
    RunCard,
    RunState,
    TakenRow,
    TakeReply,
)

_BACK = "-"  # has the rows that were given back


@attrs.define
class _Row:
    """A row: `worker` is "" as long as no worker had it, and "-" after it was given back."""

    key: str
    body: bytes
    worker: str = ""
    deliveries: int = 0


@final
@attrs.define
class RunQueue:
    """One run. `now` is the time in milliseconds, by a clock that may jump.

    Args:
        name: the name of the run.
    """

    name: str
    _is_known: bool = False
    _state: RunState = "ended"
    _epoch: str = ""  # "" if it was forgotten
    _settings: bytes = b""
    _holder: str = ""
    _held_until: int = 0
    _most_deliveries: int = MOST_DELIVERIES
    _put: tuple[str, int] = ("", 0)  # the last put: session and number
    _ids: int = 0
    _rows: dict[int, _Row] = attrs.field(factory=dict[int, _Row])  # by id
    _answers: dict[int, QueueAnswer] = attrs.field(factory=dict[int, QueueAnswer])  # by id
    _open: dict[str, int] = attrs.field(factory=dict[str, int])  # {key: id of its row}
    _answered: dict[str, int] = attrs.field(factory=dict[str, int])  # {key: id of its answer}
    _leases: WorkerLeases = attrs.field(factory=WorkerLeases)
    _late: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]])  # (entry, worker)
    _taken_over: int = 0
    _answered_twice: int = 0
    _parked: int = 0

    # ---------------------------------------------------------------- the holder

    def hold(
        self,
        now: int,
        holder: str,
        settings: bytes,
        lease_ms: int,
        fresh: str,
        *,
        most_deliveries: int = MOST_DELIVERIES,
    ) -> HoldReply:
        """See `WorkQueue.hold`.

        Args:
            now: see the class.
            holder: the process, as in `WorkQueue.hold`.
            settings: see `RunCard`, without secrets.
            lease_ms: milliseconds after which another process may take over.
            fresh: the epoch to begin, if the run is not known.
            most_deliveries: as in `WorkQueue.hold`.
        """
        if not self._is_known or not self._epoch:
            self._clear()
            self._is_known, self._state, self._epoch = True, "ended", fresh
            self._leases.begin(now)
        self._leases.tick(now)
        if self._holder not in ("", holder) and self._held_until > self._leases.now:
            return HoldReply(is_held=False, holder=self._holder, epoch=self._epoch)
        if self._holder != holder:
            self._holder, self._settings, self._state = holder, settings, "running"
            self._most_deliveries = most_deliveries
            if most_deliveries == 1:
                self._drop_unsent()
        self._held_until = self._leases.now + lease_ms
        return HoldReply(is_held=True, holder=holder, epoch=self._epoch)

    def put(
        self, now: int, holder: str, session: str, number: int, rows: Sequence[QueuedRow]
    ) -> bool:
        """See `WorkQueue.put`.

        Args:
            now: see the class.
            holder: the process, as in `WorkQueue.hold`.
            session: identifies one life of the connection.
            number: of the call in the session. An earlier one comes too late, and does nothing.
            rows: see `WorkQueue.put`; the rows to add.
        """
        if not self._is_held_by(now, holder):
            return False
        if self._put[0] == session and number <= self._put[1]:
            return True
        self._put = session, number
        for row in rows:
            if row.key not in self._open and row.key not in self._answered:
                self._open[row.key] = entry = self._next_id()
                self._rows[entry] = _Row(row.key, row.body)
        return True

    def left(self, after: str, count: int) -> list[TakenRow]:
        """See `WorkQueue.left`."""
        begin = self._id(after) or 0
        found = [entry for entry in sorted(self._rows) if entry > begin]
        return list(self._taken(found[:count]).rows)

    def withdraw(self, now: int, holder: str, keys: Sequence[str]) -> list[str]:
        """See `WorkQueue.withdraw`."""
        if not self._is_held_by(now, holder):
            return []
        removed: list[str] = []
        for key in keys:
            entry = self._open.get(key)
            if entry is not None and self._rows[entry].worker in ("", _BACK):
                del self._open[key], self._rows[entry]
            if key not in self._open and key not in self._answered:
                removed.append(key)
        return removed

    def answers(self, after: str, count: int) -> list[QueueAnswer]:
        """See `WorkQueue.answers`."""
        begin = self._id(after) or 0
        found = [entry for entry in sorted(self._answers) if entry > begin]
        return [self._answers[entry] for entry in found[:count]]

    def stored(self, now: int, holder: str, entries: Sequence[str]) -> bool:
        """See `WorkQueue.stored`."""
        if not self._is_held_by(now, holder):
            return False
        for entry in entries:
            known = self._id(entry)
            answer = None if known is None else self._answers.pop(known, None)
            if answer is not None and self._answered.get(answer.key) == known:
                del self._answered[answer.key]
        return True

    def change_state(self, now: int, holder: str, state: RunState) -> bool:
        """See `WorkQueue.change_state`."""
        if not self._is_held_by(now, holder):
            return False
        self._state = state
        return True

    def end(self, now: int, holder: str, *, forget: bool) -> bool:
        """See `WorkQueue.end`."""
        if not self._is_held_by(now, holder):
            # A repetition: it was done.
            return self._is_known and not (self._epoch if forget else self._holder)
        self._holder, self._held_until = "", 0
        if forget:
            self._clear()
            self._state, self._epoch = "ended", ""
        return True

    # ---------------------------------------------------------------- workers

    def take(self, now: int, worker: str, count: int) -> TakeReply:
        """See `WorkQueue.take`; it does not wait."""
        if not self._lives(now, worker):
            return self._taken([])
        given: list[int] = []
        if self._state == "running":
            for other in (_BACK, *self._leases.ended(worker)):
                claimed = self._claim(other, count - len(given))
                for entry in claimed:
                    self._rows[entry].worker = worker
                given += claimed
                if other != _BACK and not any(self._of(other)):
                    self._leases.forget(other)
            fresh = [entry for entry, row in self._rows.items() if not row.worker]
            given += fresh[: max(count - len(given), 0)]
            for entry in given:
                row = self._rows[entry]
                row.worker, row.deliveries = worker, row.deliveries + 1
        return self._taken(given)

    def own(self, now: int, worker: str) -> TakeReply:
        """See `WorkQueue.own`."""
        self._lives(now, worker)
        return self._taken(list(self._of(worker)))

    def beat(self, now: int, worker: str, report: bytes, entries: Sequence[str]) -> BeatReply:
        """See `WorkQueue.beat`."""
        if not self._lives(now, worker):
            state = self._state if self._is_known else None
            return BeatReply(state=state, lost=list(entries))
        self._leases.reports[worker] = report
        lost = [entry for entry in entries if not self._has(worker, entry)]
        first = min(self._answers, default=self._ids + 1)
        return BeatReply(
            state=self._state,
            epoch=self._epoch,
            lost=lost,
            has_more=len(entries) - len(lost) < sum(1 for _ in self._of(worker)),
            stored_before=self._entry(first),
            has_holder=bool(self._holder) and self._held_until > self._leases.now,
        )

    def answer(self, now: int, worker: str, answers: Sequence[RowAnswer]) -> list[str] | None:
        """See `WorkQueue.answer`."""
        if not self._lives(now, worker):
            # A run that was forgotten has all its answers.
            return [""] * len(answers) if self._is_known else None
        return [self._take_answer(worker, answer) for answer in answers]

    def give_back(self, now: int, worker: str, entries: Sequence[str]) -> None:
        """See `WorkQueue.give_back`."""
        if self._lives(now, worker):
            for entry in entries:
                if self._has(worker, entry):
                    row = self._rows[self._id(entry) or 0]
                    row.worker, row.deliveries = _BACK, row.deliveries - 1

    def leave(self, now: int, worker: str) -> None:
        """See `WorkQueue.leave`."""
        if self._lives(now, worker):
            for entry in self._of(worker):
                self._rows[entry].worker = _BACK
                self._late.add((self._entry(entry), worker))
            self._leases.forget(worker)

    # ---------------------------------------------------------------- anyone

    def card(self, now: int) -> RunCard | None:
        """See `WorkQueue.card`."""
        if not self._is_known:
            return None
        self._leases.tick(now)
        taken = sum(row.worker not in ("", _BACK) for row in self._rows.values())
        return RunCard(
            name=self.name,
            state=self._state,
            settings=self._settings,
            epoch=self._epoch,
            holder=self._holder if self._held_until > self._leases.now else "",
            waiting=len(self._rows) - taken,
            taken=taken,
            answered=len(self._answers),
            taken_over=self._taken_over,
            answered_twice=self._answered_twice,
            parked=self._parked,
            workers=self._leases.live,
        )

    # ---------------------------------------------------------------- parts

    def _clear(self) -> None:
        """Remove everything but the time and the ids."""
        self._holder, self._held_until, self._settings, self._put = "", 0, b"", ("", 0)
        self._taken_over = self._answered_twice = self._parked = 0
        for part in (self._rows, self._answers, self._open, self._answered):
            part.clear()
        self._leases.clear()
        self._late.clear()

    def _drop_unsent(self) -> None:
        """Remove the rows that no worker has, or has had."""
        for entry, row in list(self._rows.items()):
            if row.worker in ("", _BACK) and not row.deliveries:
                del self._open[row.key], self._rows[entry]

    def _is_held_by(self, now: int, holder: str) -> bool:
        if not self._is_known or not self._epoch:
            return False
        self._leases.tick(now)
        return self._holder == holder

    def _lives(self, now: int, worker: str) -> bool:
        """Renew the lease of a worker; return whether there is a run to work on."""
        if not self._is_known or not self._epoch:
            return False
        self._leases.tick(now)
        self._leases.renew(worker)
        return True

    def _claim(self, other: str, room: int) -> list[int]:
        """Take rows from a worker that has ended; park those that too many workers have had."""
        found: list[int] = []
        for entry in list(self._of(other)):
            if len(found) >= room:
                break
            row = self._rows[entry]
            if other != _BACK:
                self._late.add((self._entry(entry), other))
            if row.deliveries >= self._most_deliveries:
                self._parked += 1
                self._settle(entry, "", b"")
                continue
            self._taken_over += row.deliveries > 0
            found.append(entry)
        return found

    def _take_answer(self, worker: str, answer: RowAnswer) -> str:
        late = answer.entry, worker
        if (entry := self._open.get(answer.key)) is not None:
            row = self._rows[entry]
            if row.worker not in ("", _BACK, worker):
                self._late.add((self._entry(entry), row.worker))
                row.deliveries += self._id(answer.entry) is None  # since a loss both have it
            self._late.discard(late)
            return self._entry(self._settle(entry, worker, answer.body))
        known = self._answered.get(answer.key)
        if known is not None and self._answers[known].worker == worker:
            return self._entry(known)
        if not answer.entry.startswith(f"{self._epoch}/"):
            return self._entry(self._keep(answer.key, answer.body, worker, 1))
        if late in self._late:
            self._late.discard(late)
            self._answered_twice += 1
        return ""

    def _settle(self, entry: int, worker: str, body: bytes) -> int:
        """Replace a row by its answer, and return the id of the answer."""
        row = self._rows.pop(entry)
        del self._open[row.key]
        return self._keep(row.key, body, worker, max(row.deliveries, 1))

    def _keep(self, key: str, body: bytes, worker: str, deliveries: int) -> int:
        entry = self._next_id()
        self._answers[entry] = QueueAnswer(
            entry=self._entry(entry),
            key=key,
            body=body,
            deliveries=deliveries,
            is_parked=not worker,
            worker=worker,
        )
        self._answered[key] = entry
        return entry

    def _taken(self, entries: Sequence[int]) -> TakeReply:
        rows = [
            TakenRow(self._entry(entry), QueuedRow(row.key, row.body), row.deliveries)
            for entry in entries
            for row in (self._rows[entry],)
        ]
        state = self._state if self._is_known else None
        return TakeReply(state=state, epoch=self._epoch, rows=rows)

    def _of(self, worker: str) -> Iterator[int]:
        return (entry for entry, row in self._rows.items() if row.worker == worker)

    def _has(self, worker: str, entry: str) -> bool:
        known = self._id(entry)
        row = None if known is None else self._rows.get(known)
        return row is not None and row.worker == worker

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _entry(self, number: int) -> str:
        return f"{self._epoch}/{number}-0"

    def _id(self, entry: str) -> int | None:
        """Return the id of an entry of this epoch; None for another one."""
        epoch, _, rest = entry.rpartition("/")
        return int(rest.partition("-")[0]) if epoch == self._epoch and rest else None
