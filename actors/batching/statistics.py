"""The statistics of a batcher, and the messages that request them."""

from collections.abc import Mapping

import attrs

from ...runtime import Message
from ..call_plan import SharedCall
from ..messages import Request
from ..vendors import BatchWeight
from .agreement import AgreementStatistics
from .former import Reason


@attrs.frozen
class BatchRecord:
    """A batch that was sent.

    Args:
        strategy: name of the strategy that combined its members.
        weight: total weight of its members.
        reason: why it was sent at that moment; see `Reason`.
        waited_s: how long its first member had waited, in seconds.
    """

    strategy: str
    weight: BatchWeight
    reason: Reason
    waited_s: float


@attrs.frozen(kw_only=True)
class BatchingStatistics:
    """The counters of a `BatcherActor`.

    Args:
        batches: number of batches sent, by reason.
        latest: the most recent batches, at most 100, oldest first.
        combined: number of calls that were sent for several members.
        waiting: number of members in batches that are not sent yet.
        joined: number of requests that were answered by the call of an identical request.
        agreement: results of the checks of combined calls, one entry a group, by strategy.
    """

    batches: Mapping[Reason, int]
    latest: tuple[BatchRecord, ...]
    combined: int
    waiting: int
    joined: int
    agreement: Mapping[str, tuple[AgreementStatistics, ...]]


@attrs.frozen
class GetBatchingStatistics(Message[BatchingStatistics]):
    """Ask a `BatcherActor` for its statistics."""


@attrs.frozen
class ExplainBatching(Message[SharedCall]):
    """Ask which call a request would share if it arrived now. Nothing is sent.

    Args:
        request: the request that would arrive.
        lane: the lane that it would wait in.
    """

    request: Request
    lane: str = ""
