"""What can go wrong with a call, each with its cause and its remedy."""

from collections.abc import Mapping
from copy import copy
from decimal import Decimal
from typing import Literal, Self

from .messages import Json

__all__ = [
    "AuthenticationFailed",
    "BadRequest",
    "Billed",
    "BudgetExceeded",
    "CallFailed",
    "ConnectionFailed",
    "DeadlineTooShort",
    "LedgerUnavailable",
    "MalformedAnswer",
    "ProviderUnavailable",
    "QuotaExhausted",
    "RateLimited",
    "RequestTooLarge",
]

Billed = Literal["no", "maybe"]


class CallFailed(Exception):
    """A call has no answer, for good. Base of the errors that the stages of a call reply with.

    Attributes:
        attempts: how many HTTP requests were made.
        status: the HTTP status of the last one, or None.
        billed: "maybe" when the provider may have worked, and charged, for an answer that
            never came (L3).
        maybe_billed: how many attempts that may have been charged for.
        is_transient: the same call may fare better later, and nothing is paid twice by that: its
            last attempt was refused, or never got there, for a reason that passes.
        body: what the provider said when it refused with a status, in its own shape, without any
            key (L8); None if that was no JSON object.
        request_id: by which the provider knows that HTTP request; empty if it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        attempts: int = 0,
        status: int | None = None,
        billed: Billed = "no",
        body: Mapping[str, Json] | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.status = status
        self.billed: Billed = billed
        self.maybe_billed = 0
        self.is_transient = False
        self.body = body
        self.request_id = request_id

    def but(self, more: str) -> Self:
        """The same error, with something to add to its text."""
        error = copy(self)
        error.args = (f"{self}; {more}",)
        return error


class AuthenticationFailed(CallFailed):
    """401 or 403: the key is missing, wrong, or not allowed to do this. Never retried."""


class BadRequest(CallFailed):
    """Any other 4xx: the request itself is at fault. Never retried."""


class QuotaExhausted(CallFailed):
    """No credit is left, or the quota of a day: waiting does not help soon. Never retried."""


class RateLimited(CallFailed):
    """429 until the retry budget or the deadline was used up."""


class ProviderUnavailable(CallFailed):
    """5xx until the retry budget or the deadline was used up."""


class ConnectionFailed(CallFailed):
    """No connection, or one that broke before the answer was whole."""


class MalformedAnswer(CallFailed):
    """The provider answered with something that is not a completion."""


class RequestTooLarge(CallFailed):
    """The call needs more than the limit can ever hold; it would wait for ever."""


class DeadlineTooShort(CallFailed):
    """The limits leave no room for the call before its deadline: it is told at once, not later."""


class BudgetExceeded(CallFailed):
    """The call, or one more attempt of it, might cost more than a budget has left.

    Attributes:
        budget: in words, and of whom it is.
        left_usd: what it has left, in USD.
        needs_usd: what might be spent, in USD; None if no price is known for it.
    """

    def __init__(
        self,
        message: str,
        *,
        budget: str = "",
        left_usd: Decimal | None = None,
        needs_usd: Decimal | None = None,
        attempts: int = 0,
        status: int | None = None,
        billed: Billed = "no",
    ) -> None:
        super().__init__(message, attempts=attempts, status=status, billed=billed)
        self.budget = budget
        self.left_usd = left_usd
        self.needs_usd = needs_usd


class LedgerUnavailable(CallFailed):
    """The ledger cannot be written, and there are budgets: nothing is spent that is not counted."""
