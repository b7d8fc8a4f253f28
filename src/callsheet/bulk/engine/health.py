"""What a failed row means: for the row, and for the run. Pure (R14)."""

from math import inf
from typing import Literal, final

import attrs

from ...actors import (
    AuthenticationFailed,
    BatchUnavailable,
    BudgetExceeded,
    CallEvent,
    CallFailed,
    ConnectionFailed,
    DeadlineTooShort,
    LedgerUnavailable,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    UnreadableEndpoint,
)
from ...runtime import AskTimedOut
from ..errors import LATE, RUN_AGAIN, RunEnding

_FATAL = (
    AuthenticationFailed,
    BatchUnavailable,
    LedgerUnavailable,
    QuotaExhausted,
    UnreadableEndpoint,
)
"""Errors that every other row would meet as well."""

_TEMPORARY = (RateLimited, ProviderUnavailable, ConnectionFailed)
"""Errors that may disappear some time after the attempts of a row are used up (R10)."""

_UNREACHABLE_S = 20.0  # since the start of the run, without any connection
_NOT_FOUND = 404
_MAX_NOT_FOUND = 10  # rows with status 404, if no row has a response
_OUTAGE_S = 30.0  # without any response
_MAX_ROUNDS = 10  # further rounds of attempts for a row during an outage
_FEW_ROUNDS = 2  # further rounds while other rows get responses

RowFate = Literal["fails", "waits", "goes back", "is over the budget"]
"""A failed row fails for good; it is sent again after the others; it goes back to the queue, since
the run ends; or it goes back because the budget is too small for it at present.
"""


@attrs.frozen
class Judgement:
    """What a failed row means.

    Args:
        fate: what happens to the row.
        ending: why the run ends because of it; None if it does not.
    """

    fate: RowFate
    ending: RunEnding | None = None


@final
class ProviderHealth:
    """What is known of the provider, and what follows for rows that fail.

    Args:
        started_at: the start of the run, in seconds on Trio's clock.
        is_timed: True if the run has a deadline.

    Attributes:
        answered_at: the time of the last response, on Trio's clock; -inf if there is none.
        trouble: the error of the last attempt, if no response has arrived since; else "".
        is_unreached: True if no response has arrived, and the last attempt had no connection.
    """

    def __init__(self, started_at: float, *, is_timed: bool) -> None:
        self.answered_at, self.trouble = -inf, ""
        self.is_unreached = False
        self._started_at = started_at
        self._is_timed = is_timed
        self._not_found = 0  # rows that failed with status 404: no such path, or no such model

    @property
    def has_answered(self) -> bool:
        """Whether any response has arrived."""
        return self.answered_at > -inf

    def note_response(self, now: float) -> None:
        """Record that a response has arrived."""
        self.answered_at, self.trouble = now, ""
        self.is_unreached = False

    def note_retry(self, event: CallEvent, running: int) -> RunEnding | None:
        """Record that an attempt has failed; return why the run ends, if no connection succeeds.

        The breaker would let it go on for hours. It goes on while another row is in flight: a
        fallback target may be processing it.

        Args:
            event: the event of the failed attempt.
            running: the number of rows that the provider may be processing.
        """
        self.trouble = event.error or ""
        self.is_unreached = event.is_unreachable and not self.has_answered
        is_late = event.at - self._started_at >= _UNREACHABLE_S
        return unanswered(self.trouble) if self.is_unreached and is_late and running <= 1 else None

    def judge(self, error: Exception, rounds: int, now: float) -> Judgement:
        """Return what the failure of a row means.

        Args:
            error: the error of the row.
            rounds: the earlier rounds of attempts of the row.
            now: the current time, in seconds on Trio's clock.
        """
        if isinstance(error, BudgetExceeded):
            return Judgement("is over the budget")
        if isinstance(error, _FATAL):
            return Judgement("goes back", _fatal(error))
        if self._is_timed and isinstance(error, (AskTimedOut, DeadlineTooShort)):
            return Judgement("goes back", LATE)
        call = error if isinstance(error, CallFailed) else CallFailed(str(error))
        if self._is_deferred(call, rounds, now):
            self.trouble = str(error)
            return Judgement("waits")
        if self._is_unreachable(call):
            return Judgement("goes back", unanswered(str(error)))
        self._not_found += call.status == _NOT_FOUND
        is_nowhere = self._not_found >= _MAX_NOT_FOUND and not self.has_answered
        return Judgement("fails", unanswered(str(error)) if is_nowhere else None)

    def _is_deferred(self, error: CallFailed, rounds: int, now: float) -> bool:
        """Return whether a failed row is sent again later, because the provider is at fault.

        While other rows get responses this is not certain: an outage may just have begun. During an
        outage the breaker lets one row at a time through, so the rows wait, possibly for hours. The
        number of rounds is limited, because the request itself may be what no provider can process.
        """
        if not (isinstance(error, _TEMPORARY) and error.is_transient) or rounds >= _MAX_ROUNDS:
            return False
        if isinstance(error, RateLimited):
            return True
        if now - self.answered_at < _OUTAGE_S:
            return rounds < _FEW_ROUNDS
        return not self._is_unreachable(error)

    def _is_unreachable(self, error: CallFailed) -> bool:
        """Return whether no connection has ever succeeded: the address may be wrong."""
        is_first = not self.has_answered
        return is_first and isinstance(error, ConnectionFailed) and error.billed == "no"


def unanswered(why: str) -> RunEnding:
    """Return the ending of a run whose provider gives no responses."""
    return RunEnding("unanswered", why, f"afterwards {RUN_AGAIN}")


def _fatal(error: Exception) -> RunEnding:
    if isinstance(error, BatchUnavailable):
        remedy = "choose another route (--route live)"
        return RunEnding("unbatched", f"--route batch: {error}", remedy)
    return unanswered(str(error))
