"""What happens to the lines that a batch leaves without a result. Pure (R14)."""

import re
from collections.abc import Iterable

import attrs

from ..errors import (
    AuthenticationFailed,
    BadRequest,
    BatchUnavailable,
    CallFailed,
    QuotaExhausted,
)
from .job import BatchJob

_OF_THE_ACCOUNT = (AuthenticationFailed, QuotaExhausted)  # a live call would fail as well
_OVERFLOW = re.compile(r"token_limit_exceeded|enqueued[ _]token", re.IGNORECASE)
_LIMIT = re.compile(r"limit: *([\d,]+)", re.IGNORECASE)
_NONE: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class OrphanHandling:
    """What happens to the lines without a result; each is in one of the three sets.

    Args:
        again: custom ids of the lines that go into another batch.
        live: custom ids of the lines that are sent live.
        fails: custom ids of the lines that fail.
        error: what they fail with; None if none does.
        why: why the lines that are sent live are sent live.
        maybe_billed: whether the provider may have charged for the lines that are sent live (L3).
        is_overflow: whether the batch was refused because too many tokens are in batches.
        stated_limit: the limit of tokens, if the provider stated it.
    """

    again: frozenset[str] = _NONE
    live: frozenset[str] = _NONE
    fails: frozenset[str] = _NONE
    error: CallFailed | None = attrs.field(default=None, eq=False)
    why: str = attrs.field(default="", eq=False)
    maybe_billed: bool = False
    is_overflow: bool = False
    stated_limit: int | None = None


def handle_orphans(
    job: BatchJob, left: Iterable[str], error: CallFailed | None, *, is_required: bool = False
) -> OrphanHandling:
    """Decide what happens to the lines that a batch leaves without a result.

    Args:
        job: the batch, which is over.
        left: custom ids of its lines without a result.
        error: the error of the last control call that failed, if any.
        is_required: whether lines that the provider refuses fail, instead of being sent live.
    """
    everything = frozenset(left)
    if job.ending == "none":
        return OrphanHandling(again=everything)
    if job.ending != "refused":
        has_run = job.ending != "unrun"
        why = "its batch has no result of it" if has_run else "its batch did not run it"
        return OrphanHandling(live=everything, why=why, maybe_billed=has_run)
    errors = () if job.view is None else job.view.errors
    words = [f"{one.code} {one.message}" for one in errors]
    words += [] if error is None else [str(error)]
    overflow = next((one for one in words if is_overflow(one)), None)
    if overflow is not None:
        return OrphanHandling(
            again=everything, is_overflow=True, stated_limit=_stated_limit(overflow)
        )
    if not errors and isinstance(error, _OF_THE_ACCOUNT):
        return OrphanHandling(fails=everything, error=error)
    # Lines that the provider names go live, where the error is precise; if it names none, all do.
    # Each new batch has fewer lines, so this ends.
    named = everything & {f"{job.id}-{one.position}" for one in errors if one.position is not None}
    refused, others = (named, everything - named) if named else (everything, _NONE)
    why = f"a batch was refused: {'; '.join(words) or 'no reason given'}"
    if not is_required:
        return OrphanHandling(live=refused, again=others, why=why)
    kind = BadRequest if named else BatchUnavailable
    return OrphanHandling(fails=refused, again=others, error=kind(why), why=why)


def is_overflow(words: str) -> bool:
    """Return whether an error text states that too many tokens are in batches."""
    return _OVERFLOW.search(words) is not None


def _stated_limit(words: str) -> int | None:
    found = _LIMIT.search(words)
    return int(found[1].replace(",", "") or 0) or None if found else None
