"""The reasons why a run does not start, or ends before its input."""

from typing import Literal

import attrs

MAKE_ROOM = "free space on the disk"
"""The usual remedy when a file cannot be written."""

ANOTHER_OUTPUT = "give another OUTPUT"
"""The usual remedy when a file beside OUTPUT cannot be used."""

RUN_AGAIN = "run the same command again to continue"
"""The remedy when a run ended before its input; completed rows are not sent again."""

EndingKind = Literal[
    "drained",
    "unpaid",
    "unbatched",
    "unanswered",
    "late",
    "disk",
    "damaged",
    "input",
    "crashed",
    "refused",
    "server",
]
"""The user stopped the run; the budget is spent; the provider takes no batches; it does not
respond; the deadline has passed; no file can be written; the run store is damaged; the input
cannot be read; a part of the run has crashed; most rows have changed, and would be paid for again;
or another process has taken a shared run over, or its server cannot keep it.
"""


@attrs.frozen
class RunEnding:
    """Why a run dispatches no more rows.

    Args:
        kind: the kind of reason, see `EndingKind`.
        reason: a sentence that states what happened.
        remedy: what the user can do.
    """

    kind: EndingKind
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


DRAINED = RunEnding("drained", "the run was stopped", RUN_AGAIN)
LATE = RunEnding("late", "the deadline of the run has passed", RUN_AGAIN)


def crash_ending(path: str, error: BaseException | None) -> RunEnding:
    """Return the ending of a run after a crash of one of its actors.

    Args:
        path: the path of the actor.
        error: the error that crashed it.
    """
    reason = f"{path} crashed with {type(error).__name__}: {error}; this is a bug in Callsheet"
    return RunEnding("crashed", reason, RUN_AGAIN)


class ArchiveFailed(Exception):
    """A file of a run cannot be read or written; the text has the reason.

    Args:
        reason: what failed, as the run reports it.
        remedy: what the user can do.
        is_damaged: whether the store is damaged, so that the run cannot continue with it.

    Attributes:
        ending: the ending of a run because of it.
    """

    def __init__(self, reason: str, remedy: str = MAKE_ROOM, *, is_damaged: bool = False) -> None:
        super().__init__(reason)
        self.ending = (
            RunEnding("damaged", reason, remedy)
            if is_damaged
            else RunEnding("disk", reason, f"{remedy}; {RUN_AGAIN}")
        )


class BulkRefused(Exception):
    """The run was not started, and no file was changed.

    Args:
        reason: why the run was not started.
        remedy: what the user can do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class OutputInUse(BulkRefused):
    """Another process writes OUTPUT."""


class BulkStopped(Exception):
    """The run ended before every row of the input was processed.

    Received responses are stored; the same call continues the run.

    Attributes:
        ending: why the run ended, and what the user can do.
    """

    def __init__(self, ending: RunEnding) -> None:
        super().__init__(str(ending))
        self.ending = ending
