"""Gives the results of lines to those who ask: on disk first, then reported, then claimed (L7)."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import cast, final

import attrs
import structlog
import trio

from ..messages import Json, Response, Usage
from ..request import without_key
from ..vendors import Answer, BatchDialect, Endpoint, LineResult, Malformed, PriceBook
from .claims import Claims
from .hands import Asker, Book, Line, Task
from .journal import Journal
from .store import Store
from .verdict import Unanswered, judge

__all__ = ["Answers", "Results"]

Results = list[tuple[LineResult, bytes]]
"""What came of lines, each with the text that says so."""

_log = structlog.stdlib.get_logger("callsheet.batches")


@final
class Answers:
    """Gives the results of lines to those who ask.

    Args:
        endpoint: who answers.
        dialect: what the results mean.
        journal: keeps them.
        prices: what models cost.
        book: where an answer may be that somebody asks for.
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
        book: Book,
        counts: Counter[str],
        claims: Claims,
    ) -> None:
        self._endpoint = endpoint
        self._host = endpoint.host  # which takes longer to find out than an answer to read
        self._dialect = dialect
        self._journal = journal
        self._prices = prices
        self._book = book
        self._counts = counts
        self._claims = claims
        self._claimed: list[str] = []
        self._is_claiming = False

    async def find(self, asker: Asker) -> bool:
        """Answer with what was paid for earlier, if there is such an answer."""
        while (custom_id := self._book.take_answer(asker.key)) is not None:
            raw = await self._journal.do(partial(Store.answer, custom_id=custom_id))
            try:
                result = None
                if raw is not None:
                    result = self._without_key(self._dialect.read_line(raw), raw)
            except Malformed:
                result = None
            found = None if result is None else self._judge(asker, result)
            if result is not None and isinstance(found, Answer):
                if asker.slot.reply(self._response(asker, result, found, 0.0, 0)):
                    self._counts["answered"] += 1
                    self._counts["found"] += 1
                    if self._claims.give(custom_id, asker.message.origin):
                        await self._claim([custom_id])
                else:
                    self._book.offer_answer(asker.key, custom_id)  # for the next who asks
                return True
        return False

    async def deliver(self, task: Task, results: Results) -> list[tuple[Asker, Unanswered]]:
        """Take results in.

        Returns:
            Those who have no answer, and why.
        """
        answered: list[tuple[Line, Asker, LineResult, Answer]] = []
        unanswered: list[tuple[Asker, Unanswered]] = []
        kept: list[tuple[str, bytes]] = []
        dropped: list[str] = []
        for quoting, raw in results:
            result = self._without_key(quoting, raw)
            line = self._line(task, result)
            if line is None:
                continue
            asker = line.asker
            if asker is None:
                if result.status == HTTPStatus.OK and result.said is None:
                    kept.append((line.custom_id, raw))
                    self._book.offer_answer(line.key, line.custom_id)
                else:
                    dropped.append(line.custom_id)
                continue
            found = self._judge(asker, result)
            if isinstance(found, Answer):
                kept.append((line.custom_id, raw))
                answered.append((line, asker, result, found))
            else:
                dropped.append(line.custom_id)
                unanswered.append((asker, found))
                if not found.maybe_billed:
                    asker.spare()  # a line that failed is free
        if kept or dropped:
            await self._journal.do(partial(Store.keep, answers=kept, unanswered=dropped))
        await self._report(task, answered)
        return unanswered

    def _without_key(self, result: LineResult, raw: bytes) -> LineResult:
        """A result without a key that the provider quotes (L8)."""
        if not self._endpoint.is_quoted_in(raw):
            return result
        return attrs.evolve(
            result,
            body=cast("Json", without_key(self._endpoint, result.body)),
            request_id=self._endpoint.scrub(result.request_id),
        )

    def _line(self, task: Task, result: LineResult) -> Line | None:
        """The line that a result is of, which has its end now; None if it is of none (L5)."""
        told = task.job.result(result.custom_id)
        if told == "foreign":
            _log.warning(
                "batch_has_foreign_result",
                batch=task.job.id,
                custom_id=self._endpoint.scrub(result.custom_id[:64]),
            )
        if told != "ours":
            return None
        line = task.lines.pop(result.custom_id)
        line.is_over = True
        self._book.withdraw_line(line)
        return line

    async def _report(
        self, task: Task, answered: list[tuple[Line, Asker, LineResult, Answer]]
    ) -> None:
        seconds = trio.current_time() - task.began_at
        claimed: list[str] = []
        for line, asker, result, answer in answered:
            task.waiting.discard(asker)
            billed = int(asker.is_out)  # a live call of it is under way
            response = self._response(asker, result, answer, seconds, billed)
            if asker.slot.reply(response):
                self._counts["answered"] += 1
                self._counts["found"] += task.job.is_found
                if self._claims.give(line.custom_id, asker.message.origin):
                    claimed.append(line.custom_id)
            else:
                self._book.offer_answer(line.key, line.custom_id)
        await self._claim(claimed)

    async def kept(self, calls: Iterable[str]) -> None:
        """Those calls have what they were answered on a disk of their own."""
        await self._claim(self._claims.keep(calls))

    async def _claim(self, custom_ids: list[str]) -> None:
        """Note who has an answer. What comes while that is written is written together."""
        self._claimed += custom_ids
        if self._is_claiming:
            return
        self._is_claiming = True
        try:
            while self._claimed:
                count = len(self._claimed)
                await self._journal.do(partial(Store.claim, custom_ids=self._claimed[:count]))
                del self._claimed[:count]
        finally:
            self._is_claiming = False

    def _judge(self, asker: Asker, result: LineResult) -> Answer | Unanswered:
        request = asker.message.request
        return judge(result, self._endpoint.format_for(request), request, self._endpoint)

    def _response(
        self, asker: Asker, result: LineResult, answer: Answer, seconds: float, maybe_billed: int
    ) -> Response:
        first = answer.choices[0] if answer.choices else None
        asked = asker.message.request.model
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
