"""Why a run was not begun, or has ended before its input had."""

from typing import Literal

import attrs

__all__ = [
    "MAKE_ROOM",
    "BulkRefused",
    "BulkStopped",
    "EndingKind",
    "RunEnding",
]


MAKE_ROOM = "make room on the disk"
"""What to do when nothing can be written, as a rule."""

EndingKind = Literal["drained", "unpaid", "unanswered", "late", "disk", "input"]
"""Somebody wanted it; the money is spent; the provider answers nobody; time is up; nothing can be
written; or the input cannot be read."""


@attrs.frozen
class RunEnding:
    """Why no more rows are asked for.

    Args:
        kind: in one word.
        reason: what has happened.
        remedy: what to do about it.
    """

    kind: EndingKind
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


class BulkRefused(Exception):
    """Nothing was begun, and nothing changed.

    Args:
        reason: why.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class BulkStopped(Exception):
    """There are rows without an answer that were not asked for, or not to the end.

    What was answered is kept; the same call goes on from there.

    Attributes:
        ending: why.
    """

    def __init__(self, ending: RunEnding) -> None:
        super().__init__(str(ending))
        self.ending = ending
