"""What becomes of the lines that a batch has left without a result. Pure (R14)."""

import re
from collections.abc import Iterable

import attrs

from ..errors import AuthenticationFailed, CallFailed, QuotaExhausted
from .job import Job

__all__ = ["Aftermath", "aftermath", "is_overflow"]

_OF_THE_ACCOUNT = (AuthenticationFailed, QuotaExhausted)  # a live call would fail alike
_OVERFLOW = re.compile(r"token_limit_exceeded|enqueued[ _]token", re.IGNORECASE)
_LIMIT = re.compile(r"limit: *([\d,]+)", re.IGNORECASE)
_NOBODY: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Aftermath:
    """What becomes of the lines without a result; each is in one of the three.

    Args:
        again: custom ids of those that wait for another batch.
        live: custom ids of those that are sent live.
        fails: custom ids of those that fail.
        maybe_billed: whether the provider may have charged for those that are sent live (L3).
        is_overflow: the batch was refused because too many tokens are in batches.
        told_limit: how many there may be, if the provider told it.
    """

    again: frozenset[str] = _NOBODY
    live: frozenset[str] = _NOBODY
    fails: frozenset[str] = _NOBODY
    maybe_billed: bool = False
    is_overflow: bool = False
    told_limit: int | None = None


def aftermath(job: Job, left: Iterable[str], error: CallFailed | None) -> Aftermath:
    """What becomes of them.

    Args:
        job: that is over.
        left: custom ids of its lines without a result.
        error: the latest that a control call failed with.
    """
    everybody = frozenset(left)
    if job.ending == "none":
        return Aftermath(again=everybody)
    if job.ending != "refused":
        return Aftermath(live=everybody, maybe_billed=job.ending != "unrun")
    errors = () if job.view is None else job.view.errors
    words = [f"{one.code} {one.message}" for one in errors]
    words += [] if error is None else [str(error)]
    overflow = next((one for one in words if is_overflow(one)), None)
    if overflow is not None:
        return Aftermath(again=everybody, is_overflow=True, told_limit=_told_limit(overflow))
    if not errors and isinstance(error, _OF_THE_ACCOUNT):
        return Aftermath(fails=everybody)
    # The live way says what is wrong with those that are named; if none is, with all of them. At
    # least one line fewer goes into the next batch, so that this comes to an end.
    named = everybody & {f"{job.id}-{one.position}" for one in errors if one.position is not None}
    return Aftermath(live=named or everybody, again=everybody - named if named else _NOBODY)


def is_overflow(words: str) -> bool:
    """Whether a refusal says that too many tokens are in batches already."""
    return _OVERFLOW.search(words) is not None


def _told_limit(words: str) -> int | None:
    found = _LIMIT.search(words)
    return int(found[1].replace(",", "") or 0) or None if found else None
