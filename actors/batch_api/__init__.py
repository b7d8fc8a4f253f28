"""The Batch API stage: `BatchApiActor` sends requests that can wait as batches of the provider.

A journal records each batch, so that a later process collects what an earlier one has submitted.
"""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import BatchApiActor as BatchApiActor
    from .journal_file import JournalOwner as JournalOwner
    from .journal_file import claim_journal as claim_journal
    from .journal_file import lines_in as lines_in
    from .journal_file import remove_empty_journal as remove_empty_journal
    from .messages import AcknowledgeResponses as AcknowledgeResponses
    from .messages import BatchApiStatistics as BatchApiStatistics
    from .messages import GetBatchApiStatistics as GetBatchApiStatistics
    from .policy import BatchApiPolicy as BatchApiPolicy
