"""A worker of a shared run: takes rows from the queue, and hands in the answers of their calls.

Four tasks work on what `RowsInHand` decides: one takes rows as far as the troupe has room, one
writes answers to the journal, one hands them in, and one says every few seconds that the worker
lives. Each of them goes on when the server is back. A row that was taken is called by `RowCalls`,
and answered, while the server is away.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import TypeVar, final

import structlog
import trio

from ...actors import (
    InThread,
    ServerAway,
    StageObserver,
    StorageError,
    Troupe,
    in_worker_thread,
)
from ...runtime import (
    open_collapsing_nursery,
)
from .hand import RowsInHand
from .journal import WorkerJournal
from .queue import BEAT_S, RunState, TakeReply, WorkQueue
from .reports import WorkerReport
from .row_calls import CallWatch, RowCalls
from .worker_end import EndWatch, WorkerEnd, WorkerPolicy

_TAKE_ROWS = 64  # in one message of the server
_TAKE_S = 5.0  # seconds that the server may let the worker wait for rows
_GATHER_S = 0.02  # after an answer, for others that are written and handed in with it
_HAND_IN = 64  # answers in one message to the server
_HAND_IN_BYTES = 1024**2
_AGAIN_S = (0.2, 3.0)  # until the server is asked again: at first, and at most
_FLUSH_S = 3.0  # at the end, for answers that are not in the journal, or not handed in
_STORED_S = 5.0  # at the end, until the holder has stored the answers

_log = structlog.stdlib.get_logger()
T = TypeVar("T")


@final
class RunWorker:
    """A worker of one run. It outlives the actor that runs it, with its rows and answers.

    Args:
        queue: the queue of the run, which is open.
        name: a name that no other worker of the run has.
        in_flight: the most calls in flight of the run, by its limits.
        policy: how it works.
        journal: the journal for answers; None hands them in at once, for a worker in the process
            of the holder.
        in_thread: runs blocking disk access.

    Attributes:
        end: why it has ended; None while it works.
    """

    def __init__(
        self,
        queue: WorkQueue,
        name: str,
        *,
        in_flight: int,
        policy: WorkerPolicy | None = None,
        journal: WorkerJournal | None = None,
        in_thread: InThread = in_worker_thread,
    ) -> None:
        self.name = name
        self.end: WorkerEnd | None = None
        self._queue = queue
        self._policy = policy or WorkerPolicy()
        own = self._policy.max_concurrency
        self._journal = journal
        self._in_thread = in_thread
        self._hand = RowsInHand()
        self._calls = RowCalls(
            self._hand,
            name,
            most=in_flight if own is None else min(own, in_flight),
            ahead=self._policy.ahead,
            watch=CallWatch(
                sent=self._sent,
                answered=self._answered,
                settled=self._settled,
                returned=self._returned_row,
                unreadable=self.drain,
            ),
        )
        self._watch = EndWatch(queue.name, waits=self._policy.waits)
        self._returned: list[str] = []  # entries of rows to give back
        self._room = trio.Event()
        self._work = trio.Event()  # for the journal
        self._answers = trio.Event()  # to hand in
        self._beat_now = trio.Event()
        self._over = trio.Event()  # the end is decided
        self._done = trio.Event()
        self._moved = trio.Event()  # an answer was kept, or handed in
        self._tasks: trio.Nursery | None = None
        self._random = Random(0)  # noqa: S311  # replaced by that of the actor
        if journal is not None:
            self._hand.recover(journal.answers)

    def __repr__(self) -> str:
        return f"<RunWorker {self.name} {self._hand!r}>"

    @property
    def is_away(self) -> bool:
        """Whether the server is away."""
        return self._watch.is_away

    @property
    def report(self) -> WorkerReport:
        """What it has done."""
        return self._calls.report

    @property
    def observer(self) -> StageObserver:
        """What has to observe the calls of the troupe."""
        return self._calls.observer

    @property
    def in_flight(self) -> int:
        """How many rows are at the provider."""
        return len(self._hand.rows) - self._hand.unsent

    @property
    def troupe(self) -> Troupe | None:
        """The troupe that makes the calls; None before the worker has started."""
        return self._calls.troupe

    @property
    def unstored(self) -> int:
        """How many answers the holder may not have on its disk."""
        return self._hand.unstored

    # ---------------------------------------------------------------- control

    def drain(self, why: str = "") -> None:
        """Take no more rows, give back those that were not sent, and end after the others.

        Args:
            why: the reason for the user; "" if that asked for it.
        """
        if not self._watch.drains:
            self._watch.drains, self._watch.why = True, why
            self._calls.give_up_unsent()
            self._beat_now.set()
            self._look()

    def stop(self) -> None:
        """Cancel the calls in flight, and end. Other workers call these rows again."""
        self._calls.cancel_all()
        self._finish(WorkerEnd("drained", self._watch.why))

    async def wait_over(self) -> WorkerEnd:
        """Wait until the worker has ended, and return why."""
        await self._done.wait()
        return self.end or WorkerEnd("drained", self._watch.why)

    # ---------------------------------------------------------------- tasks

    async def run(self, troupe: Troupe, random: Random) -> None:
        """Work until the end; after a crash, go on with what is in hand.

        Args:
            troupe: sends the rows; its observers have `observer` among them.
            random: spreads what many workers would do at the same time.
        """
        self._calls.troupe, self._random = troupe, random
        if self.end is not None:
            return
        async with open_collapsing_nursery() as self._tasks:
            for task in (self._keep_beating, self._keep_taking, self._keep_writing):
                self._tasks.start_soon(task)
            self._tasks.start_soon(self._keep_handing_in)
            self._watch.heard(trio.current_time())
            self._calls.pump()
            self._look()
            await self._over.wait()
            await self._leave()
            self._tasks.cancel_scope.cancel()
        self._done.set()

    async def _keep_beating(self) -> None:
        while True:
            self._beat_now = trio.Event()
            await self._beat()
            with trio.move_on_after(BEAT_S):
                await self._beat_now.wait()

    async def _beat(self) -> None:
        """Say that the worker lives, and learn how the run goes on."""
        hand = self._hand
        self._calls.note_counts()
        reply = await self._ask(
            partial(self._queue.beat, self.name, self._calls.report.encode(), hand.entries())
        )
        for key in hand.beat(reply):
            self._calls.cancel(key)
        self._answers.set()  # a queue that was lost may want them again
        if reply.has_more:
            self._took(await self._ask(partial(self._queue.own, self.name)))
        has_holder = reply.state is not None and reply.has_holder
        self._watch.note_holder(trio.current_time(), is_there=has_holder)
        self._note_state(reply.state)

    async def _keep_taking(self) -> None:
        while not self._watch.drains:
            if (room := self._count_room()) <= 0:
                self._room = trio.Event()
                await self._room.wait()
                continue
            count = min(room, _TAKE_ROWS)
            reply = await self._ask(partial(self._queue.take, self.name, count, wait_s=_TAKE_S))
            self._took(reply)
            self._note_state(reply.state)
            if not reply.rows and reply.state != "running":
                await trio.sleep(BEAT_S if reply.state is None else _AGAIN_S[0])

    async def _keep_writing(self) -> None:
        """Write answers to the journal: what ends meanwhile is written with the next ones."""
        hand = self._hand
        while True:
            self._work = trio.Event()
            answers, forgotten = hand.to_keep()
            if not answers and not forgotten:
                await self._work.wait()
                await trio.sleep(_GATHER_S)
                continue
            if self._journal is not None and not self._watch.has_trouble:
                try:
                    await self._in_thread(partial(self._journal.keep, answers, forgotten))
                except StorageError as error:
                    # What is paid for is handed in all the same: the server keeps it on its disk.
                    self._watch.has_trouble = True  # the journal is not used any more
                    _log.error("journal_failed", reason=str(error))
                    self.drain(str(error))
            hand.kept(answers)
            self._answers.set()
            self._look()
            await trio.lowlevel.checkpoint()

    async def _keep_handing_in(self) -> None:
        hand = self._hand
        while True:
            self._answers = trio.Event()
            answers = hand.to_hand_in(_HAND_IN, _HAND_IN_BYTES)
            if not answers:
                await self._answers.wait()
                continue
            entries = await self._ask(partial(self._queue.answer, self.name, answers))
            if entries is None:  # the holder begins the run again
                await trio.sleep(self._delay(BEAT_S))
                continue
            hand.handed_in(answers, entries)
            self._work.set()  # the journal forgets some
            self._room.set()
            self._look()

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the server until it answers; end the worker if it never will."""
        delay_s = _AGAIN_S[0]
        while True:
            try:
                reply = await ask()
            except ServerAway as error:
                self._hear(error)
                await trio.sleep(self._delay(delay_s))
                delay_s = min(2 * delay_s, _AGAIN_S[1])
            except StorageError as error:
                self._finish(WorkerEnd("failed", str(error)))
                await trio.sleep_forever()
            else:
                self._hear(None)
                return reply

    def _delay(self, most_s: float) -> float:
        return most_s * self._random.uniform(0.5, 1.0)

    def _hear(self, error: ServerAway | None) -> None:
        if error is None:
            if self._watch.heard(trio.current_time()):
                _log.warning("shared_run_back", server=self._queue.name)
            return
        if not self.is_away:
            self._watch.is_away = True
            _log.warning("shared_run_unavailable", server=self._queue.name, reason=error.reason)
        self._look()

    # ---------------------------------------------------------------- the run

    def _note_state(self, state: RunState | None) -> None:
        before, self._watch.state = self._watch.state, state
        if state in ("paused", "draining") and before != state:
            self._calls.give_up_unsent()
        if state == "ended":
            self._calls.cancel_all()
            self._finish(WorkerEnd("ended", "the run has ended"))
        self._look()

    def _look(self) -> None:
        """End the worker if there is nothing more to do."""
        self._moved.set()
        if self.end is None:
            end = self._watch.decide(
                trio.current_time(),
                has_rows=bool(self._hand.rows),
                has_answers=self._hand.has_answers,
            )
            if end is not None:
                self._finish(end)

    def _finish(self, end: WorkerEnd) -> None:
        if self.end is None:
            self.end = end
            self._calls.is_over = True
            self._over.set()

    async def _leave(self) -> None:
        """Keep what has ended, give back what was not sent, and wait a moment for the holder."""
        hand, queue, name = self._hand, self._queue, self.name
        with trio.move_on_after(_FLUSH_S):
            while hand.has_unkept or (hand.has_answers and not self.is_away):
                self._moved = trio.Event()
                await self._moved.wait()
        if (
            self.is_away
            or self.end is None
            or self.end.kind == "failed"
            or self._watch.state is None
        ):
            return
        with trio.move_on_after(_STORED_S), suppress(StorageError):
            # A reply may have been lost, and the rows with it.
            known = {row.taken.entry for row in hand.rows.values() if row.is_sent} | self._calls.cut
            rows = (await queue.own(name)).rows
            if back := [row.entry for row in rows if row.entry not in known]:
                await queue.give_back(name, back)
            while hand.unstored and self._journal is not None and self._watch.state != "ended":
                await self._beat()
                await trio.sleep(_AGAIN_S[0])
        with trio.move_on_after(_STORED_S), suppress(StorageError):
            await queue.leave(name)

    def close_journal(self) -> None:
        """Close the journal, and remove it if the holder has everything. It blocks."""
        if self._journal is not None:
            is_needed = self._hand.unstored > 0
            if self.end is not None and self.end.kind == "ended" and self._watch.state == "ended":
                is_needed = self._hand.has_unclaimed
            self._journal.close(remove=not is_needed)

    # ---------------------------------------------------------------- rows

    def _count_room(self) -> int:
        """Return how many rows to take: none that could not be answered."""
        if self.end is not None or (self._hand.has_answers and self.is_away):
            return 0
        return self._calls.count_room()

    def _took(self, reply: TakeReply) -> None:
        self._calls.add(self._hand.take(reply))
        if self._watch.drains:
            self._calls.give_up_unsent()
        self._answers.set()  # some may be answered by the journal
        self._calls.pump()

    def _answered(self) -> None:
        self._work.set()

    def _sent(self) -> None:
        self._room.set()

    def _settled(self) -> None:
        self._room.set()
        self._look()

    def _returned_row(self, entry: str) -> None:
        self._returned.append(entry)
        if self._tasks is not None and self.end is None and len(self._returned) == 1:
            self._tasks.start_soon(self._give_back)

    async def _give_back(self) -> None:
        await trio.lowlevel.checkpoint()
        returned, self._returned = self._returned, []
        # What is not given back goes to others when the lease has ended, or when the worker leaves.
        with suppress(StorageError):
            await self._queue.give_back(self.name, returned)
