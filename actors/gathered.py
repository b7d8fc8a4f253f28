"""What one asks a batcher, and what it says of itself."""

from collections.abc import Mapping

import attrs

from ..runtime import Message
from .batching.former import Reason
from .batching.trust import TrustStatistics
from .call_plan import Sharing
from .messages import Request
from .vendors import Weight

__all__ = ["BatchRecord", "BatcherStatistics", "CountGathered", "ExplainSharing"]


@attrs.frozen
class BatchRecord:
    """A batch that went.

    Args:
        strategy: by which its members share a call.
        weight: what they come to.
        reason: why it went.
        waited_s: how long its first member had waited, in seconds.
    """

    strategy: str
    weight: Weight
    reason: Reason
    waited_s: float


@attrs.frozen(kw_only=True)
class BatcherStatistics:
    """What a `BatcherActor` has done.

    Args:
        batches: how many went, by reason.
        latest: the latest of them, at most a hundred.
        combined: calls that were made for several members.
        waiting: members that are being gathered.
        joined: requests that were answered by an identical one's call.
        trust: how far answers of combined calls can be trusted, by strategy.
    """

    batches: Mapping[Reason, int]
    latest: tuple[BatchRecord, ...]
    combined: int
    waiting: int
    joined: int
    trust: Mapping[str, tuple[TrustStatistics, ...]]


@attrs.frozen
class CountGathered(Message[BatcherStatistics]):
    """Ask a `BatcherActor` what it has done."""


@attrs.frozen
class ExplainSharing(Message[Sharing]):
    """Ask with whom a request would share a call if it came now. Nothing is sent.

    Args:
        request: the request.
        lane: in which it would wait.
    """

    request: Request
    lane: str = ""
