"""The messages of the Batch API stage, and its statistics."""

from collections.abc import Mapping

import attrs

from ...runtime import Message


@attrs.frozen(kw_only=True)
class BatchApiStatistics:
    """The state and the counts of a `BatchApiActor`.

    Args:
        batches: the number of batches in each phase: "new", "marked" (uploaded), "unsure" (may
            exist), "running", "ended" (its results are being read).
        gathering: the number of requests that are not in a batch yet.
        submitted: the number of requests that wait for a batch.
        answered: the number of requests that a batch has answered.
        found: the number of these whose result an earlier request had paid for.
        failed: the number of requests that have failed here.
        live: the number of requests that were sent live, for any reason.
        unclaimed: the number of results in the journal that no caller has claimed.
        enqueued_tokens: the estimated tokens of prompts in batches, by model.
    """

    batches: Mapping[str, int]
    gathering: int
    submitted: int
    answered: int
    found: int
    failed: int
    live: int
    unclaimed: int
    enqueued_tokens: Mapping[str, int]


@attrs.frozen
class GetBatchApiStatistics(Message[BatchApiStatistics]):
    """Ask a `BatchApiActor` for its `BatchApiStatistics`."""


@attrs.frozen
class AcknowledgeResponses(Message[None]):
    """Acknowledge responses that the caller has stored; see `BatchApiPolicy.is_acknowledged`.

    Args:
        calls: ids of the calls that were answered (`CallContext.call`); unknown ids are ignored.
    """

    calls: tuple[str, ...]
