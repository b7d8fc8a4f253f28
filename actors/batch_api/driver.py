"""Does what is next for a batch: one control call, and what the journal has to know of it.

Nothing else here waits. A Batch API can only be polled, which L4 forbids where there is another
way: it tells nobody when a batch has ended.
"""

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from functools import partial
from random import Random
from typing import final

import structlog
import trio

from ..calls import Complete
from ..errors import AuthenticationFailed, ConnectionFailed, MalformedAnswer, ProviderUnavailable
from ..events import CallEvent, Observer
from ..request import AttemptFailed, RetryPolicy
from ..vendors import BatchDialect, BatchView, LineResult, Malformed
from .control import Control
from .in_flight import BatchInFlight, BatchWaiter
from .job import BatchStep, is_overflow
from .journal import Journal, JournalFile
from .policy import BatchApiPolicy
from .results import LineResults

__all__ = [
    "BatchDriver",
]


_log = structlog.stdlib.get_logger("callsheet.batches")

_NOT_FOUND = 404
_GROWTH = 1.5  # of the pause between two polls
_JITTER = 0.2  # of it, to either side
_CHUNK_BYTES = 1024 * 1024  # of results that are written together
_CHUNK_LINES = 500
_WRITTEN_AT_A_TIME = 200  # lines


def _may_have_made(refusal: AttemptFailed) -> bool:
    """Whether a batch may have been made by a call that has no answer saying so."""
    error = refusal.error
    if isinstance(error, ConnectionFailed):
        return error.billed == "maybe"
    return isinstance(error, ProviderUnavailable | MalformedAnswer)


@final
class BatchDriver:
    """Does what is next for a batch.

    Args:
        control: makes the calls.
        dialect: what their answers mean.
        journal: is told of every step, before the next one depends on it.
        policy: how often to ask.
        retry: how late to try again what failed.
        random: the source of the jitter (R13).
        encode: writes the body of a line.
        deliver: is given results; each must be on disk when it returns.
        known: the provider's names of the batches that are ours.
        observer: is told of each call whose line goes out.
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
        self._steps: dict[BatchStep, Callable[[BatchInFlight], Awaitable[None]]] = {
            "prepare": self._prepare,
            "create": self._create,
            "find": self._find,
            "poll": self._poll,
            "cancel": self._cancel,
            "fetch": self._fetch,
        }

    async def do(self, batch: BatchInFlight, step: BatchStep) -> None:
        """Do one step. An outage upstream is no crash: the batch waits, then tries again (R10)."""
        try:
            await self._steps[step](batch)
        except AttemptFailed as refusal:
            batch.failures += 1
            batch.error = refusal.error
            self._refused(batch, step, refusal)
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
            batch.content = await self._written(batch)
        mark = await self._control.prepare(batch.content)
        await self._journal.do(partial(JournalFile.mark, batch=job.id, mark=mark))
        job.prepared(mark)

    async def _written(self, batch: BatchInFlight) -> bytes:
        """The content of a batch; others go on while it is written."""
        lines: list[bytes] = []
        for line in batch.lines.values():
            if line.message is not None:
                body = self._encode(line.message)
                lines.append(self._dialect.line(line.custom_id, batch.group.path, body))
                line.message = None
            if len(lines) % _WRITTEN_AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
        return self._dialect.join(lines)

    async def _create(self, batch: BatchInFlight) -> None:
        job = batch.job
        for waiter in list(batch.waiting):
            await waiter.pay()
            waiter.slot.start()  # it may have run from now on (R3)
            self._tell(waiter)
        job.asked(trio.current_time())
        try:
            view = await self._control.create(
                mark=job.mark, tag=job.id, path=batch.group.path, content=batch.content
            )
        except AttemptFailed as refusal:
            if not _may_have_made(refusal):
                job.unmade()
                for waiter in batch.waiting:
                    waiter.refund()
                raise
            _log.warning("batch_made_perhaps", batch=job.id, error=str(refusal.error))
            return
        await self._made(batch, view, is_certain=True)

    def _tell(self, waiter: BatchWaiter) -> None:
        self._observer(
            CallEvent(
                stage="sent",
                at=trio.current_time(),
                context=waiter.message.context,
                model=waiter.message.request.model,
                attempt=1,
                route="batch",
            )
        )

    async def _made(self, batch: BatchInFlight, view: BatchView, *, is_certain: bool) -> None:
        job = batch.job
        await self._journal.do(
            partial(JournalFile.created, batch=job.id, batch_id=view.id, is_certain=is_certain)
        )
        job.created(view, trio.current_time(), is_certain=is_certain)
        if is_certain:
            batch.content = b""
        batch.pause_s = self._policy.poll_s
        self._wait_to_poll(batch, view)

    async def _find(self, batch: BatchInFlight) -> None:
        """See whether it is in the list; of those that may be it, the oldest is tried first."""
        job, found = batch.job, None
        known = job.rejected | set(self._known())
        async with aclosing(self._control.batches(job.mark)) as views:
            async for view in views:
                may_be = self._dialect.may_be(view, mark=job.mark, tag=job.id, size=job.size)
                if may_be and view.id not in known:
                    found = view
        now = trio.current_time()
        if found is not None:
            await self._made(batch, found, is_certain=self._dialect.is_certain)
        else:
            job.not_found(now)
            if job.phase == "unsure":
                job.wait(now + self._pause(batch))

    async def _poll(self, batch: BatchInFlight) -> None:
        view = await self._control.poll(batch.job.batch_id)
        batch.job.update(view)
        self._wait_to_poll(batch, view)

    async def _cancel(self, batch: BatchInFlight) -> None:
        view = await self._control.cancel(batch.job.batch_id)
        batch.job.is_cancelled = True
        batch.job.update(view)
        batch.pause_s = self._policy.poll_s
        self._wait_to_poll(batch, view)

    async def _fetch(self, batch: BatchInFlight) -> None:
        """Read one file of results, and have them delivered a chunk at a time."""
        job = batch.job
        if job.view is None:
            return
        output = next(one for one in job.view.outputs if one not in job.fetched)
        chunk: LineResults = []
        size = torn = 0
        async with aclosing(self._control.lines(output)) as lines:
            async for raw in lines:
                try:
                    result = self._dialect.read_line(raw)
                except Malformed:
                    torn += 1
                    continue
                if not job.is_certain and not await self._is_ours(batch, result):
                    return
                chunk.append((result, raw))
                size += len(raw)
                if size >= _CHUNK_BYTES or len(chunk) >= _CHUNK_LINES:
                    await self._deliver(batch, chunk)
                    chunk, size = [], 0
        if chunk:
            await self._deliver(batch, chunk)
        if not job.is_certain:
            await self._is_ours(batch, None)
        elif torn and batch.failures + 1 < self._retry.max_attempts:
            text = f"{torn} lines of the results are not whole"
            raise AttemptFailed(MalformedAnswer(text, billed="maybe"))
        else:
            job.fetched_all(output, is_whole=not torn)

    async def _is_ours(self, batch: BatchInFlight, result: LineResult | None) -> bool:
        """Whether results are those of a batch that may have been ours."""
        job = batch.job
        is_ours = result is not None and job.is_own(result.custom_id)
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

    # ---------------------------------------------------------------- when a call fails

    def _refused(self, batch: BatchInFlight, step: BatchStep, refusal: AttemptFailed) -> None:
        job, error, now = batch.job, refusal.error, trio.current_time()
        if step in ("prepare", "create") and (refusal.is_final or is_overflow(str(error))):
            job.finish("refused")
        elif step == "cancel" and refusal.is_final:
            job.is_cancelled = True  # it has ended meanwhile, most likely
        elif step == "fetch" and error.status == _NOT_FOUND and job.view is not None:
            output = next(one for one in job.view.outputs if one not in job.fetched)
            job.fetched_all(output, is_whole=False)
        else:
            if step == "poll" and error.status == _NOT_FOUND:
                job.vanished(now)
            until = now + self._back_off(batch, refusal)
            if step == "cancel":
                job.cancels_at = until
                job.wait(now)  # it may be over: that is seen first
            else:
                job.wait(until)
        _log.warning("batch_call_failed", batch=job.id, step=step, error=str(error))

    def _back_off(self, batch: BatchInFlight, refusal: AttemptFailed) -> float:
        """Seconds until the next attempt; there always is one, until nobody needs it."""
        retry, server_s = self._retry, refusal.server_s
        is_hopeless = isinstance(refusal.error, AuthenticationFailed)  # until the key is changed
        if batch.failures >= retry.max_attempts or retry.is_too_long(server_s) or is_hopeless:
            return self._jittered(self._policy.max_poll_s)
        return retry.backoff(batch.failures, server_s, self._random)

    def _wait_to_poll(self, batch: BatchInFlight, view: BatchView) -> None:
        if batch.job.phase == "running":
            pause = max(self._pause(batch), view.wait_s or 0.0)
            batch.job.wait(trio.current_time() + pause)

    def _pause(self, batch: BatchInFlight) -> float:
        """Seconds until the next question; each time more."""
        pause = min(batch.pause_s or self._policy.poll_s, self._policy.max_poll_s)
        batch.pause_s = pause * _GROWTH
        return self._jittered(pause)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
