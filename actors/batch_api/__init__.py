"""The Batch API stage: `BatchApiActor` sends requests that can wait as batches of the provider.

A journal records each batch, so that a later process collects what an earlier one has submitted.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import BatchApiActor
    from .journal_file import JournalOwner, claim_journal, lines_in
    from .messages import AcknowledgeResponses, BatchApiStatistics, GetBatchApiStatistics
    from .policy import BatchApiPolicy
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="BatchApiActor",
        journal_file="JournalOwner claim_journal lines_in",
        messages="AcknowledgeResponses BatchApiStatistics GetBatchApiStatistics",
        policy="BatchApiPolicy",
    )

__all__ = [
    "AcknowledgeResponses",
    "BatchApiActor",
    "BatchApiPolicy",
    "BatchApiStatistics",
    "GetBatchApiStatistics",
    "JournalOwner",
    "claim_journal",
    "lines_in",
]
