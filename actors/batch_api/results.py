"""Gives the results of lines to those who ask: on disk first, then reported, then claimed (L7).

Which answers the journal need not have any longer. Pure (R14).

What came of one line: an answer, or the error that it would have been as a live call.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import cast, final

import attrs
import structlog
import trio

from ..calls import CallContext
from ..errors import CallFailed, MalformedAnswer, ProviderUnavailable
from ..messages import Json, Request, Response, Usage
from ..request import classify, is_retried, without_key
from ..vendors import (
    ApiError,
    BatchDialect,
    DecodedResponse,
    Endpoint,
    LineResult,
    Malformed,
    PriceBook,
    WireFormat,
)
from .in_flight import BatchInFlight, BatchLine, BatchWaiter, InFlightTable
from .journal import Journal, JournalFile

__all__ = [
    "BatchResults",
    "Claims",
    "FailedLine",
    "LineResults",
    "judge",
]


@final
class Claims:
    """Answers that were given and are not known to be kept.

    A line may answer several calls, when they were made as one; and several lines one call.

    Args:
        are_held: until they are kept; else an answer that was given is done with.
    """

    def __init__(self, *, are_held: bool) -> None:
        self._are_held = are_held
        self._calls: dict[str, set[str]] = {}  # {custom id of a line: calls that have not kept it}
        self._lines: defaultdict[str, set[str]] = defaultdict(set)  # the other way round

    def __len__(self) -> int:
        return len(self._calls)

    def give(self, custom_id: str, context: CallContext) -> bool:
        """An answer was given; whether it is done with.

        Args:
            custom_id: of its line.
            context: whom it is for.
        """
        if not self._are_held:
            return True
        calls = {one.call for one in context.shared_by or (context,)}
        self._calls[custom_id] = calls
        for call in calls:
            self._lines[call].add(custom_id)
        return False

    def keep(self, calls: Iterable[str]) -> list[str]:
        """Calls have kept what they were answered; the lines that are done with by that."""
        done: list[str] = []
        for call in calls:
            for custom_id in self._lines.pop(call, ()):
                waiting = self._calls[custom_id]
                waiting.discard(call)
                if not waiting:
                    del self._calls[custom_id]
                    done.append(custom_id)
        return done


_MESSAGE_CHARS = 300  # of a provider's error text: enough to see what it is about


@attrs.frozen
class FailedLine:
    """A line has no answer.

    Args:
        error: what the waiter gets, unless it is asked again.
        is_retried: whether a live call may fare better.
        maybe_billed: the provider may have charged for it (L3).
    """

    error: CallFailed
    is_retried: bool
    maybe_billed: bool = False


def judge(
    result: LineResult, form: WireFormat, request: Request, endpoint: Endpoint
) -> DecodedResponse | FailedLine:
    """What came of a line.

    Args:
        result: of the line.
        form: reads the answer.
        request: what was asked.
        endpoint: who answered; its key is in no error (L8).
    """
    said = result.said
    if result.status == 0:
        why = said or ApiError()
        words = _quoted(why.message or why.code or "no reason given", endpoint)
        text = f"{endpoint.host} did not run a line of a batch: {words}"
        return FailedLine(ProviderUnavailable(text), is_retried=True)
    if said is None and result.status == HTTPStatus.OK:
        try:
            answer = form.decode(result.body, request)
        except Malformed as error:
            text = f"{endpoint.host} answered 200 in a batch, but not with a completion: "
            wrong = MalformedAnswer(text + _quoted(str(error), endpoint), billed="maybe")
            return FailedLine(wrong, is_retried=True, maybe_billed=True)
        if isinstance(answer, DecodedResponse):
            return answer
        said = answer
    said = said or form.decode_error(result.body)
    kind, remedy = classify(result.status, said)
    words = _quoted(said.message or said.code or said.type or "no reason given", endpoint)
    status = None if result.status == HTTPStatus.OK else result.status
    number = "an error" if status is None else status
    failed = kind(
        f"{endpoint.host} answered {number} in a batch: {words}{remedy}",
        status=status,
        body=without_key(endpoint, result.body),
        request_id=endpoint.scrub(result.request_id),
    )
    return FailedLine(failed, is_retried=is_retried(kind, should_retry=None))


def _quoted(words: str, endpoint: Endpoint) -> str:
    """What a provider said, on one line, not too long, and without the key (L8)."""
    line = endpoint.scrub(" ".join(words.split()))
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."


LineResults = list[tuple[LineResult, bytes]]
"""What came of lines, each with the text that says so."""

_log = structlog.stdlib.get_logger("callsheet.batches")


@final
class BatchResults:
    """Gives the results of lines to those who ask.

    Args:
        endpoint: who answers.
        dialect: what the results mean.
        journal: keeps them.
        prices: what models cost.
        table: where an answer may be that somebody asks for.
        counts: of "answered" and "found".
        claims: which answers the journal need not have any longer.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        dialect: BatchDialect,
        journal: Journal,
        prices: PriceBook,
        table: InFlightTable,
        counts: Counter[str],
        claims: Claims,
    ) -> None:
        self._endpoint = endpoint
        self._host = endpoint.host  # which takes longer to find out than an answer to read
        self._dialect = dialect
        self._journal = journal
        self._prices = prices
        self._table = table
        self._counts = counts
        self._claims = claims

    async def find(self, waiter: BatchWaiter) -> bool:
        """Answer with what was paid for earlier, if there is such an answer."""
        while (custom_id := self._table.take_result(waiter.key)) is not None:
            raw = await self._journal.do(partial(JournalFile.result, custom_id=custom_id))
            try:
                result = None
                if raw is not None:
                    result = self._without_key(self._dialect.read_line(raw), raw)
            except Malformed:
                result = None
            found = None if result is None else self._judge(waiter, result)
            if result is not None and isinstance(found, DecodedResponse):
                if waiter.slot.reply(self._response(waiter, result, found, 0.0, 0)):
                    self._counts["answered"] += 1
                    self._counts["found"] += 1
                    if self._claims.give(custom_id, waiter.message.context):
                        await self._claim([custom_id])
                else:
                    self._table.offer_result(waiter.key, custom_id)  # for the next who asks
                return True
        return False

    async def deliver(
        self, batch: BatchInFlight, results: LineResults
    ) -> list[tuple[BatchWaiter, FailedLine]]:
        """Take results in.

        Returns:
            Those who have no answer, and why.
        """
        answered: list[tuple[BatchLine, BatchWaiter, LineResult, DecodedResponse]] = []
        failed: list[tuple[BatchWaiter, FailedLine]] = []
        kept: list[tuple[str, bytes]] = []
        dropped: list[str] = []
        for quoting, raw in results:
            result = self._without_key(quoting, raw)
            line = self._line(batch, result)
            if line is None:
                continue
            waiter = line.waiter
            if waiter is None:
                if result.status == HTTPStatus.OK and result.said is None:
                    kept.append((line.custom_id, raw))
                    self._table.offer_result(line.key, line.custom_id)
                else:
                    dropped.append(line.custom_id)
                continue
            found = self._judge(waiter, result)
            if isinstance(found, DecodedResponse):
                kept.append((line.custom_id, raw))
                answered.append((line, waiter, result, found))
            else:
                dropped.append(line.custom_id)
                failed.append((waiter, found))
                if not found.maybe_billed:
                    waiter.refund()  # a line that failed is free
        if kept or dropped:
            await self._journal.do(partial(JournalFile.store, results=kept, failed=dropped))
        await self._report(batch, answered)
        return failed

    def _without_key(self, result: LineResult, raw: bytes) -> LineResult:
        """A result without a key that the provider quotes (L8)."""
        if not self._endpoint.is_quoted_in(raw):
            return result
        return attrs.evolve(
            result,
            body=cast("Json", without_key(self._endpoint, result.body)),
            request_id=self._endpoint.scrub(result.request_id),
        )

    def _line(self, batch: BatchInFlight, result: LineResult) -> BatchLine | None:
        """The line that a result is of, which has its end now; None if it is of none (L5)."""
        told = batch.job.take_result(result.custom_id)
        if told == "foreign":
            _log.warning(
                "batch_has_foreign_result",
                batch=batch.job.id,
                custom_id=self._endpoint.scrub(result.custom_id[:64]),
            )
        if told != "ours":
            return None
        line = batch.lines.pop(result.custom_id)
        line.is_over = True
        self._table.withdraw_line(line)
        return line

    async def _report(
        self,
        batch: BatchInFlight,
        answered: list[tuple[BatchLine, BatchWaiter, LineResult, DecodedResponse]],
    ) -> None:
        seconds = trio.current_time() - batch.began_at
        claimed: list[str] = []
        for line, waiter, result, answer in answered:
            batch.waiting.discard(waiter)
            billed = int(waiter.is_out)  # a live call of it is under way
            response = self._response(waiter, result, answer, seconds, billed)
            if waiter.slot.reply(response):
                self._counts["answered"] += 1
                self._counts["found"] += batch.job.is_found
                if self._claims.give(line.custom_id, waiter.message.context):
                    claimed.append(line.custom_id)
            else:
                self._table.offer_result(line.key, line.custom_id)
        await self._claim(claimed)

    async def acknowledge(self, calls: Iterable[str]) -> None:
        """Those calls have what they were answered on a disk of their own."""
        await self._claim(self._claims.keep(calls))

    async def _claim(self, custom_ids: list[str]) -> None:
        """Delete results from the journal that their callers have."""
        if custom_ids:
            await self._journal.do(partial(JournalFile.claim, custom_ids=custom_ids))

    def _judge(self, waiter: BatchWaiter, result: LineResult) -> DecodedResponse | FailedLine:
        request = waiter.message.request
        return judge(result, self._endpoint.format_for(request), request, self._endpoint)

    def _response(
        self,
        waiter: BatchWaiter,
        result: LineResult,
        answer: DecodedResponse,
        seconds: float,
        maybe_billed: int,
    ) -> Response:
        first = answer.choices[0] if answer.choices else None
        asked = waiter.message.request.model
        model = asked if answer.model in (None, asked) else self._endpoint.scrub(answer.model or "")
        usage = answer.usage or Usage()
        cost = None  # without the tokens nobody knows it
        if answer.usage is not None:
            priced = asked if self._prices.price(model) is None else model
            cost = self._prices.cost(priced, usage, "batch")
        return Response(
            text="" if first is None else first.text,
            model=model,
            finish_reason=None if first is None else first.finish_reason,
            usage=usage,
            cost_usd=cost,
            http_requests=1,  # its share of those that the batch took
            seconds=seconds,
            choices=answer.choices,
            embeddings=answer.embeddings,
            maybe_billed=maybe_billed,
            host=self._host,
            route="batch",
            tier="batch",
            body=answer.body,
            request_id=result.request_id,
        )
