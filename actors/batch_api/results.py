"""The results of lines: stored on disk, then delivered to callers, then claimed (L7)."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import cast, final

import attrs
import trio

from callsheet.runtime import get_logger

from ..calls import CallContext
from ..errors import Billed, CallFailed, MalformedResponse, ProviderUnavailable
from ..events import CallEvent, Observer, ignore, stages_of
from ..json_value import Json
from ..ledger import judge_usage, listed_usd
from ..messages import Request
from ..request import classify, is_retried, response_without_key, without_key
from ..responses import Response, Usage
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
from .journal import Journal
from .journal_file import JournalFile


@final
class Claims:
    """The delivered results that callers have not acknowledged. Pure (R14).

    A line may answer several calls that share it, and several lines may answer one call.

    Args:
        is_acknowledged: whether callers acknowledge results; else a delivered result is done with.
    """

    def __init__(self, *, is_acknowledged: bool) -> None:
        self._is_acknowledged = is_acknowledged
        self._calls: dict[str, set[str]] = {}  # {custom id of a line: calls}
        self._lines: defaultdict[str, set[str]] = defaultdict(set)  # {call: custom ids}

    def __len__(self) -> int:
        return len(self._calls)

    def deliver(self, custom_id: str, context: CallContext) -> bool:
        """Note that a result was delivered, and return whether it is done with.

        Args:
            custom_id: of its line.
            context: of the call, and of those that share it.
        """
        if not self._is_acknowledged:
            return True
        calls = {one.call for one in context.shared_by or (context,)}
        self._calls[custom_id] = calls
        for call in calls:
            self._lines[call].add(custom_id)
        return False

    def acknowledge(self, calls: Iterable[str]) -> list[str]:
        """Note that callers have stored their responses, and return the lines that are done with.

        Args:
            calls: ids of the calls.
        """
        done: list[str] = []
        for call in calls:
            for custom_id in self._lines.pop(call, ()):
                waiting = self._calls[custom_id]
                waiting.discard(call)
                if not waiting:
                    del self._calls[custom_id]
                    done.append(custom_id)
        return done


_MESSAGE_CHARS = 300  # of a provider's error text
_USAGES = ("usage", "usageMetadata")  # the members of a body that tell its tokens


@attrs.frozen
class FailedLine:
    """The error of a line.

    Args:
        error: the error for the caller, unless the request is sent live.
        is_retried: whether a live call may succeed.
        maybe_billed: whether the provider may have charged for the line (L3).
    """

    error: CallFailed
    is_retried: bool
    maybe_billed: bool = False


def judge(
    result: LineResult, form: WireFormat, request: Request, endpoint: Endpoint
) -> DecodedResponse | FailedLine:
    """Read the result of a line: a response, or the error that a live call would have raised.

    Args:
        result: the result as the provider wrote it.
        form: the wire format that decodes it.
        request: the request of the line.
        endpoint: the endpoint; its key is removed from errors (L8).
    """
    said, is_paid = result.error, _may_be_paid(result)
    billed: Billed = "maybe" if is_paid else "no"
    if result.status == 0 and result.body is None:
        why = said or ApiError()
        words = _quoted(why.message or why.code or "no reason given", endpoint)
        text = f"{endpoint.host} did not run a line of a batch: {words}"
        error = ProviderUnavailable(text, billed=billed)
        return FailedLine(error, is_retried=True, maybe_billed=is_paid)
    # A whole body without a status is read, because it was paid for (L11).
    is_good = result.status == 0 or _is_success(result.status)
    if said is None and is_good:
        try:
            response = form.decode(result.body, request)
        except Malformed as error:
            number = result.status or HTTPStatus.OK
            text = f"{endpoint.host} answered {number} in a batch, but not with a completion: "
            wrong = MalformedResponse(text + _quoted(str(error), endpoint), billed="maybe")
            return FailedLine(wrong, is_retried=True, maybe_billed=True)
        if isinstance(response, DecodedResponse):
            return response_without_key(endpoint, response, is_quoted=False)
        said = response
    said = said or form.decode_error(result.body)
    kind, remedy = classify(HTTPStatus.OK if is_good else result.status, said)
    words = _quoted(said.message or said.code or said.type or "no reason given", endpoint)
    status = None if is_good else result.status
    answered = "an error" if status is None else status
    failed = kind(
        f"{endpoint.host} answered {answered} in a batch: {words}{remedy}",
        status=status,
        billed=billed,
        body=without_key(endpoint, result.body),
        request_id=endpoint.scrub(result.request_id),
    )
    retried = is_retried(kind, should_retry=None)
    return FailedLine(failed, is_retried=retried, maybe_billed=is_paid)


def _quoted(words: str, endpoint: Endpoint) -> str:
    """Return a provider's text on one line, shortened, and without the key (L8)."""
    line = endpoint.scrub(" ".join(words.split()))
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."


def is_answer(result: LineResult) -> bool:
    """Return whether a result may be a response, which is paid for."""
    is_good = result.status == 0 or _is_success(result.status)
    return result.body is not None and result.error is None and is_good


def _may_be_paid(result: LineResult) -> bool:
    """Return whether a line may have been charged for, though it has no response."""
    if _reports_tokens(result.body):
        return True
    # Without a reason it is not certain that the line was not run.
    was_run = _is_success(result.status) or (result.status == 0 and result.body is None)
    return result.error is None and was_run


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _reports_tokens(body: Json) -> bool:
    """Return whether a body has a usage, whatever else it has."""
    found = [body.get(name) for name in _USAGES] if isinstance(body, dict) else []
    counts = [one for usage in found if isinstance(usage, dict) for one in usage.values()]
    return any(isinstance(one, int | float) and one > 0 for one in counts)


LineResults = list[tuple[LineResult, bytes]]
"""Results of lines, each with the text that it was read from."""

_log = get_logger("callsheet.batches")


@final
class BatchResults:
    """Stores the results of lines, and delivers them to the requests that wait.

    Args:
        endpoint: the endpoint that processed the batches.
        dialect: reads the results.
        journal: stores the results.
        prices: the prices of models.
        table: the lines and results without a caller.
        counts: the counters of "answered" and "found".
        claims: the results that callers have not acknowledged.
        observer: receives an event for each result, and for each call that gets an earlier one.
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
        observer: Observer = ignore,
    ) -> None:
        self._endpoint = endpoint
        self._observer = observer
        self._host = endpoint.host  # computed once: it is slower than reading a result
        self._dialect = dialect
        self._journal = journal
        self._prices = prices
        self._table = table
        self._counts = counts
        self._claims = claims

    async def find(self, waiter: BatchWaiter) -> bool:
        """Reply with an unclaimed result, if there is one. Return whether there is.

        A result that cannot be read is deleted; the request is sent again, and reports that it may
        have been billed (L3).
        """
        while (custom_id := self._table.take_result(waiter.key)) is not None:
            raw = await self._journal.do(partial(JournalFile.result, custom_id=custom_id))
            try:
                result = None
                if raw is not None:
                    result = self._without_key(self._dialect.read_line(raw), raw)
            except Malformed:
                result = None
            found = None if result is None else self._judge(waiter, result)
            if isinstance(found, FailedLine):
                waiter.maybe_billed += found.maybe_billed
                await self._claim([custom_id])
            if result is not None and isinstance(found, DecodedResponse):
                waiter.resume(custom_id, self._observer)
                self._report_ended(waiter, result, found)
                if waiter.slot.reply(self._response(waiter, result, found, 0.0)):
                    self._counts["answered"] += 1
                    self._counts["found"] += 1
                    if self._claims.deliver(custom_id, waiter.message.context):
                        await self._claim([custom_id])
                else:
                    self._table.offer_result(waiter.key, custom_id)  # for the next equal request
                return True
        return False

    async def deliver(
        self, batch: BatchInFlight, results: LineResults
    ) -> list[tuple[BatchWaiter, FailedLine]]:
        """Store results, and deliver them.

        Args:
            batch: the batch that the results belong to.
            results: results, which may belong to other batches, too.

        Returns:
            The requests whose line failed, and the errors.
        """
        answered: list[tuple[BatchLine, BatchWaiter, LineResult, DecodedResponse]] = []
        failed: list[tuple[BatchWaiter, FailedLine]] = []
        kept: list[tuple[str, bytes]] = []
        dropped: list[str] = []
        for quoting, text in results:
            result, raw = self._without_key(quoting, text), self._stored(text)
            line = self._line(batch, result)
            if line is None:
                continue
            waiter = line.waiter
            if waiter is None:
                if is_answer(result):
                    kept.append((line.custom_id, raw))
                    self._table.offer_result(line.key, line.custom_id)
                    continue
                dropped.append(line.custom_id)
                if _may_be_paid(result):
                    self._table.lose_line(line)
                else:
                    self._table.drop_line(line.custom_id)
                continue
            found = self._judge(waiter, result)
            self._report_ended(waiter, result, found)
            if isinstance(found, DecodedResponse):
                kept.append((line.custom_id, raw))
                answered.append((line, waiter, result, found))
            else:
                dropped.append(line.custom_id)
                failed.append((waiter, found))
                if not found.maybe_billed:
                    waiter.refund()  # a failed line costs nothing
        if kept or dropped:
            await self._journal.do(partial(JournalFile.store, results=kept, failed=dropped))
        await self._report(batch, answered)
        return failed

    def _without_key(self, result: LineResult, raw: bytes) -> LineResult:
        """Return the result without the key, if the provider quotes it (L8)."""
        if not self._endpoint.is_quoted_in(raw):
            return result
        return attrs.evolve(
            result,
            body=cast("Json", without_key(self._endpoint, result.body)),
            request_id=self._endpoint.scrub(result.request_id),
        )

    def _stored(self, raw: bytes) -> bytes:
        """Return the text of a result as the journal stores it, without the key (L8)."""
        if not self._endpoint.is_quoted_in(raw):
            return raw
        return self._endpoint.scrub(raw.decode(errors="replace")).encode()

    def _line(self, batch: BatchInFlight, result: LineResult) -> BatchLine | None:
        """Take the line that a result belongs to; return None if there is none (L5)."""
        owner = batch.job.take_result(result.custom_id)
        if owner == "foreign":
            batch.job.is_whole = False  # it may be one of its lines under a wrong id
            _log.warning(
                "batch_has_foreign_result",
                batch=batch.job.id,
                custom_id=self._endpoint.scrub(result.custom_id[:64]),
            )
        if owner != "ours":
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
        for line, waiter, result, decoded in answered:
            batch.waiting.discard(waiter)
            response = self._response(waiter, result, decoded, seconds)
            if waiter.slot.reply(response):
                self._counts["answered"] += 1
                self._counts["found"] += batch.job.is_found
                if self._claims.deliver(line.custom_id, waiter.message.context):
                    claimed.append(line.custom_id)
            else:
                self._table.offer_result(line.key, line.custom_id)
        await self._claim(claimed)

    async def acknowledge(self, calls: Iterable[str]) -> None:
        """Delete the results of calls whose callers have stored them."""
        await self._claim(self._claims.acknowledge(calls))

    async def _claim(self, custom_ids: list[str]) -> None:
        """Delete results from the journal that their callers have."""
        if custom_ids:
            await self._journal.do(partial(JournalFile.claim, custom_ids=custom_ids))

    def _report_ended(
        self, waiter: BatchWaiter, result: LineResult, found: DecodedResponse | FailedLine
    ) -> None:
        if "ended" not in stages_of(self._observer):
            return
        failure = found.error if isinstance(found, FailedLine) else None
        self._observer(
            CallEvent(
                stage="ended",
                at=trio.current_time(),
                context=waiter.message.context,
                model=waiter.message.request.model,
                attempt=1,
                route="batch",
                error=None if failure is None else str(failure),
                failure=failure,
                status=result.status or None,
                choices=() if isinstance(found, FailedLine) else found.choices,
            )
        )

    def _judge(self, waiter: BatchWaiter, result: LineResult) -> DecodedResponse | FailedLine:
        request = waiter.message.request
        return judge(result, self._endpoint.format_for(request), request, self._endpoint)

    def _response(
        self,
        waiter: BatchWaiter,
        result: LineResult,
        decoded: DecodedResponse,
        seconds: float,
    ) -> Response:
        first = decoded.choices[0] if decoded.choices else None
        requested = waiter.message.request.model
        model = (
            requested
            if decoded.model in (None, requested)
            else self._endpoint.scrub(decoded.model or "")
        )
        judged = judge_usage(
            decoded.usage, waiter.message.request, decoded.usage_doubt, decoded.choices
        )
        usage = judged.usage or Usage()
        cost = None  # not known without the tokens
        if judged.usage is not None:
            prices = self._prices.at_vendor(self._endpoint.vendor.price_list)
            cost = listed_usd(
                prices, waiter.message.request, usage, "batch", model=model, asked=requested
            )
            cost = None if cost is None else cost + decoded.beside_usd
        return Response(
            text="" if first is None else first.text,
            model=model,
            finish_reason=None if first is None else first.finish_reason,
            usage=usage,
            usage_doubt=judged.doubt,
            cost_usd=cost,
            http_requests=1,  # its share of the batch's requests
            seconds=seconds,
            choices=decoded.choices,
            embeddings=decoded.embeddings,
            # If its live call is in flight, the line is what that call may have been billed beside.
            maybe_billed=waiter.maybe_billed,
            host=self._host,
            key_name=self._endpoint.key_name,
            route="batch",
            tier="batch",
            body=decoded.body,
            is_assembled=decoded.is_assembled,
            request_id=result.request_id,
        )
