"""Read a troupe: ask its stages for what they know, and look at the tree (R12)."""

from typing import TYPE_CHECKING, final

import attrs

from ...runtime import (
    AskFailed,
    Message,
    Ref,
    Runtime,
    UnhandledMessage,
    open_collapsing_nursery,
)

# The messages of a stage are loaded with the stage.
from .. import batch_api, batching, cache, ledger, prompt_cache, rate_limit, request
from ..errors import CallFailed
from .assembly import Answers, assemble
from .readings import Reading

if TYPE_CHECKING:
    from .records import CallRecords

_MAX_CALLS = 100  # of those in flight, and of those that wait
_WITHIN_S = 1.0  # a stage that takes longer is left out, so that the rest is known in time


@final
@attrs.frozen(kw_only=True)
class TroupeReader:
    """Reads the stages of a troupe. Their replies overtake the calls that wait.

    Args:
        runtime: the runtime of the actors.
        requester: the stage that sends requests.
        limiter: the rate limiter.
        batcher: the stage that combines calls.
        cache: the cache of responses; None without one.
        ledger: the stage that records costs; None without one.
        batches: the stage of the Batch API; None without one.
        prompt_cache: the stage of the prompt cache; None without one.
        records: what is recorded of calls; None if nothing is.
    """

    runtime: Runtime
    requester: Ref
    limiter: Ref
    batcher: Ref
    cache: Ref | None
    ledger: Ref | None
    batches: Ref | None
    prompt_cache: Ref | None
    records: "CallRecords | None" = None

    async def read(self, calls: int = _MAX_CALLS) -> Reading:
        """Return one reading. A stage that does not reply within a second is in its `missing`.

        Args:
            calls: the most calls in flight, and the most that wait, of which the turn is worked
                out.
        """
        answers = await self.ask(calls)
        # The tree is read last, in the same step as the rest is put together.
        return assemble(
            answers,
            self.runtime.snapshot(),
            has_ledger=self.ledger is not None,
            records=self.records,
        )

    async def ask(self, calls: int = 0) -> Answers:
        """Return what the stages reply, all asked at the same time.

        Args:
            calls: the most calls in flight, and the most that wait, of which the turn is worked
                out; without any, no turns are asked for.
        """
        answers = Answers()

        async def ask_for(name: str, to: Ref, message: Message[object]) -> None:
            try:
                setattr(answers, name, await to.ask(message, timeout=_WITHIN_S))
            except (AskFailed, CallFailed, UnhandledMessage):  # the last by a stage of the user's
                answers.missing.append(name)

        async with open_collapsing_nursery() as nursery:
            start = nursery.start_soon
            start(ask_for, "requests", self.requester, request.GetRequestStatistics())
            start(ask_for, "limits", self.limiter, rate_limit.GetLimiterStatistics())
            if calls:
                start(ask_for, "turns", self.limiter, rate_limit.GetTurns(calls))
            start(ask_for, "batching", self.batcher, batching.GetBatchingStatistics())
            if self.cache is not None:
                start(ask_for, "cache", self.cache, cache.GetCacheStatistics())
            if self.ledger is not None:
                start(ask_for, "costs", self.ledger, ledger.GetCosts())
            if self.batches is not None:
                start(ask_for, "batches", self.batches, batch_api.GetBatchApiStatistics())
            if self.prompt_cache is not None:
                start(
                    ask_for,
                    "prompt_cache",
                    self.prompt_cache,
                    prompt_cache.GetPromptCacheStatistics(),
                )
        return answers
