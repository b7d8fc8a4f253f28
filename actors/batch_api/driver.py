"""The batch driver: advances one batch by a step, and writes it to the journal first.

A Batch API can only be polled: it does not report the end of a batch (an exception to L4).
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from functools import partial
from random import Random
from typing import final

import trio

from callsheet.runtime import get_logger

from ..calls import Complete
from ..errors import AuthenticationFailed, ConnectionFailed, MalformedResponse, ProviderUnavailable
from ..events import CallEvent, Destination, Observer
from ..request import AttemptFailed, RetryPolicy
from ..vendors import BatchDialect, BatchView, LineResult, Malformed
from .control import Control
from .in_flight import BatchInFlight, BatchWaiter
from .job import BatchStep
from .journal import Journal
from .journal_file import JournalFile
from .orphans import is_overflow
from .policy import BatchApiPolicy
from .results import LineResults, is_answer

_log = get_logger("callsheet.batches")

_NOT_THERE = frozenset({404, 410})  # a file or a batch
_GROWTH = 1.5  # factor of the pause between two polls
_JITTER = 0.2  # part of the pause, to either side
_CHUNK_BYTES = 1024 * 1024  # of results that are stored in one transaction
_CHUNK_LINES = 500
_ENCODED_AT_A_TIME = 200  # lines


def _may_have_created(failed: AttemptFailed) -> bool:
    """Return whether a call that failed may have created a batch."""
    error = failed.error
    if isinstance(error, ConnectionFailed):
        return error.billed == "maybe"
    return isinstance(error, ProviderUnavailable | MalformedResponse)


@final
class BatchDriver:
    """Advances one batch: submit, poll, or download.

    Args:
        control: makes the control calls.
        dialect: reads their responses.
        journal: stores each step before the next one depends on it.
        policy: the pauses between polls.
        retry: the pauses after failed calls.
        random: the source of the jitter (R13).
        encode: encodes the body of a line.
        deliver: takes results; they are on disk when it returns.
        known: returns the provider's ids of the batches in flight.
        observer: receives an event for each call whose line is sent.
        destination: the endpoint, for these events.
        take_unrun: returns the lines of earlier calls that have certainly not run, once.
    """

    def __init__(
        self,
        *,
        control: Control,
        dialect: BatchDialect,
        journal: Journal,
        policy: BatchApiPolicy,
        retry: RetryPolicy,
        random: Random,
        encode: Callable[[Complete], bytes],
        deliver: Callable[[BatchInFlight, LineResults], Awaitable[None]],
        known: Callable[[], Collection[str]],
        observer: Observer,
        destination: Destination,
        take_unrun: Callable[[], Sequence[str]],
    ) -> None:
        self._control = control
        self._dialect = dialect
        self._journal = journal
        self._policy = policy
        self._retry = retry
        self._random = random
        self._encode = encode
        self._deliver = deliver
        self._known = known
        self._observer = observer
        self._destination = destination
        self._take_unrun = take_unrun
        self._steps: dict[BatchStep, Callable[[BatchInFlight], Awaitable[None]]] = {
            "prepare": self._prepare,
            "create": self._create,
            "find": self._find,
            "poll": self._poll,
            "cancel": self._cancel,
            "fetch": self._fetch,
        }

    async def do(self, batch: BatchInFlight, step: BatchStep) -> None:
        """Do one step. After an outage of the provider the batch waits and tries again (R10)."""
        try:
            await self._steps[step](batch)
        except AttemptFailed as failed:
            batch.failures += 1
            batch.error = failed.error
            self._failed(batch, step, failed)
        else:
            batch.failures, batch.error = 0, None

    async def _prepare(self, batch: BatchInFlight) -> None:
        job = batch.job
        if not batch.is_intended:
            lines = [(line.custom_id, line.key) for line in batch.lines.values()]
            await self._journal.do(
                partial(
                    JournalFile.intend,
                    batch=job.id,
                    group=batch.group,
                    tokens=batch.tokens,
                    lines=lines,
                )
            )
            batch.is_intended = True
        if not batch.content:
            batch.content = await self._encode_lines(batch)
            await self._note_lines(batch)
        mark = await self._control.prepare(batch.content)
        await self._journal.do(partial(JournalFile.mark, batch=job.id, mark=mark))
        job.prepared(mark)

    async def _encode_lines(self, batch: BatchInFlight) -> bytes:
        """Encode the lines of a batch; other tasks go on meanwhile."""
        lines: list[bytes] = []
        for line in batch.lines.values():
            if line.message is not None:
                body = self._encode(line.message)
                lines.append(self._dialect.line(line.custom_id, batch.group.path, body))
                line.message = None
            if len(lines) % _ENCODED_AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
        return self._dialect.join(lines)

    async def _create(self, batch: BatchInFlight) -> None:
        job = batch.job
        for waiter in list(batch.waiting):
            await waiter.pay()
        for waiter in batch.waiting:
            waiter.slot.start()  # from now on it may have run (R3)
            self._report_sent(waiter, job.id)
        job.creating(trio.current_time())
        try:
            view = await self._control.create(
                mark=job.mark,
                tag=job.id,
                path=batch.group.path,
                model=batch.group.model,
                content=batch.content,
            )
        except AttemptFailed as failed:
            if not _may_have_created(failed):
                job.unmade()
                for waiter in batch.waiting:
                    waiter.refund()
                raise
            _log.warning("batch_may_exist", batch=job.id, error=str(failed.error))
            return
        await self._created(batch, view, is_certain=True)

    async def _note_lines(self, batch: BatchInFlight) -> None:
        """Note in the accounts of the calls, on disk, which line is whose (L3)."""
        account, unrun = None, self._take_unrun()
        for line in batch.lines.values():
            if line.waiter is not None and line.waiter.message.account is not None:
                account = line.waiter.message.account
                account.note_line(line.custom_id, unrun=unrun)
                unrun = ()
        if account is not None:
            await account.written()

    def _report_sent(self, waiter: BatchWaiter, batch: str) -> None:
        self._observer(
            CallEvent(
                stage="sent",
                at=trio.current_time(),
                context=waiter.message.context,
                model=waiter.message.request.model,
                attempt=1,
                route="batch",
                destination=self._destination,
                request=waiter.message.request,
                batch=batch,
            )
        )

    async def _created(self, batch: BatchInFlight, view: BatchView, *, is_certain: bool) -> None:
        job = batch.job
        await self._journal.do(
            partial(JournalFile.created, batch=job.id, batch_id=view.id, is_certain=is_certain)
        )
        job.created(view, trio.current_time(), is_certain=is_certain)
        if is_certain:
            batch.content = b""
        batch.pause_s = self._policy.poll_s
        self._wait_to_poll(batch)

    async def _find(self, batch: BatchInFlight) -> None:
        """Look for the batch in the provider's list. The oldest candidate is tried first."""
        job, found = batch.job, None
        known = job.rejected | set(self._known())
        async with aclosing(self._control.batches(job.mark)) as views:
            async for view in views:
                may_be = self._dialect.may_be(view, mark=job.mark, tag=job.id, size=job.size)
                if may_be and view.id not in known:
                    found = view
        now = trio.current_time()
        if found is not None:
            await self._created(batch, found, is_certain=self._dialect.is_certain)
        else:
            job.not_found(now)
            if job.phase == "unsure":
                job.wait(now + self._pause(batch))

    async def _poll(self, batch: BatchInFlight) -> None:
        view = await self._control.poll(batch.job.batch_id)
        batch.job.update(view, trio.current_time())
        self._wait_to_poll(batch)

    async def _cancel(self, batch: BatchInFlight) -> None:
        view = await self._control.cancel(batch.job.batch_id)
        batch.job.is_cancelled = True
        if view is None:  # it is polled as before
            return
        batch.job.update(view, trio.current_time())
        batch.pause_s = self._policy.poll_s
        self._wait_to_poll(batch)

    async def _fetch(self, batch: BatchInFlight) -> None:
        """Read one file of results, and deliver them in chunks."""
        job = batch.job
        if (output := job.output) is None:
            return
        chunk: LineResults = []
        errors: LineResults = []  # delivered last: a line may have a response as well
        size = read = torn = 0
        async with aclosing(self._control.lines(output)) as lines:
            async for raw in lines:
                try:
                    result = self._dialect.read_line(raw)
                except Malformed:
                    torn += 1
                    continue
                if not result.custom_id:  # it may be the result of any line
                    torn += 1
                    continue
                if not job.is_certain and not await self._is_ours(batch, result):
                    return
                read += 1
                if not is_answer(result):
                    errors.append((result, raw))
                    continue
                chunk.append((result, raw))
                size += len(raw)
                if size >= _CHUNK_BYTES or len(chunk) >= _CHUNK_LINES:
                    await self._deliver(batch, chunk)
                    chunk, size = [], 0
        if chunk:
            await self._deliver(batch, chunk)
        for at in range(0, len(errors), _CHUNK_LINES):
            await self._deliver(batch, errors[at : at + _CHUNK_LINES])
        if torn and job.lines and batch.failures + 1 < self._retry.max_attempts:
            text = f"{torn} lines of the results cannot be read"
            raise AttemptFailed(MalformedResponse(text, billed="maybe"))
        # A file that is named has results, so that one without any is not the whole file.
        job.fetched_all(output, trio.current_time(), is_whole=read > 0 and not torn)
        self._wait_to_poll(batch)

    async def _is_ours(self, batch: BatchInFlight, result: LineResult) -> bool:
        """Find out from a result whether a batch with an uncertain id is the right one."""
        job = batch.job
        is_ours = job.is_own(result.custom_id)
        batch_id = job.batch_id if is_ours else ""
        await self._journal.do(
            partial(JournalFile.created, batch=job.id, batch_id=batch_id, is_certain=is_ours)
        )
        if is_ours:
            job.is_certain = True
            batch.content = b""
        else:
            job.is_foreign()
        return is_ours

    # ---------------------------------------------------------------- failed calls

    def _failed(self, batch: BatchInFlight, step: BatchStep, failed: AttemptFailed) -> None:
        job, error, now = batch.job, failed.error, trio.current_time()
        if step in ("prepare", "create") and (failed.is_final or is_overflow(str(error))):
            job.finish("refused")
        elif step == "cancel" and failed.is_final:
            job.is_cancelled = True  # most likely it has ended meanwhile
        elif step == "fetch" and error.status in _NOT_THERE and job.output is not None:
            job.is_absent(job.output, now)
            self._wait_to_poll(batch)
        else:
            if step == "poll" and error.status in _NOT_THERE:
                job.vanished(now)
            until = now + self._back_off(batch, failed)
            if step == "cancel":
                job.cancels_at = until
                job.wait(now)  # poll first: it may be over
            else:
                job.wait(until)
        _log.warning("batch_call_failed", batch=job.id, step=step, error=str(error))

    def _back_off(self, batch: BatchInFlight, failed: AttemptFailed) -> float:
        """Return the seconds until the next attempt; there is no limit to their number."""
        retry, server_s = self._retry, failed.server_s
        needs_key = isinstance(failed.error, AuthenticationFailed)
        if batch.failures >= retry.max_attempts or retry.is_too_long(server_s) or needs_key:
            return self._jittered(self._policy.max_poll_s)
        return retry.backoff(batch.failures, server_s, self._random)

    def _wait_to_poll(self, batch: BatchInFlight) -> None:
        job, view = batch.job, batch.job.view
        if job.phase != "running" or view is None:
            return
        if view.is_over and not batch.is_late:
            batch.is_late = True
            batch.pause_s = self._policy.poll_s
            _log.warning("batch_results_late", batch=job.id, lines=len(job.lines))
        job.wait(trio.current_time() + max(self._pause(batch), view.wait_s or 0.0))

    def _pause(self, batch: BatchInFlight) -> float:
        """Return the seconds until the next poll, which grow each time."""
        pause = min(batch.pause_s or self._policy.poll_s, self._policy.max_poll_s)
        batch.pause_s = pause * _GROWTH
        return self._jittered(pause)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
