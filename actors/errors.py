"""The errors of a call."""

from collections.abc import Mapping
from copy import copy
from decimal import Decimal
from typing import Literal, Self

from .json_value import Json

Billed = Literal["no", "maybe"]


class CallFailed(Exception):
    """A call failed and is not retried. The base of the errors that the stages reply with.

    Args:
        message: the cause and, where there is one, the remedy.
        attempts: HTTP requests that were sent.
        status: the HTTP status of the last response; None if there was none.
        billed: "maybe" when the provider may have charged for a response that was lost (L3).
        body: the JSON object with which the provider refused, without any API key (L8); None if
            there was none.
        request_id: the provider's id of that HTTP request; empty if it reports none.

    Attributes:
        maybe_billed: the number of attempts that may have been charged.
        is_transient: whether the same call may succeed later and a repetition cannot be paid for
            twice: the last attempt did not reach the provider or was refused for a passing reason.
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
        """Return the same error with an addition to its message.

        Args:
            more: the text to add after a semicolon.
        """
        error = copy(self)
        error.args = (f"{self}; {more}",)
        return error


class AuthenticationFailed(CallFailed):
    """Status 401 or 403: the key is missing, wrong, or lacks the permission. Never retried."""


class BadRequest(CallFailed):
    """Any other status 4xx, or 501: the request is invalid or not supported. Never retried."""


class ContentFiltered(BadRequest):
    """The provider's content filter refused the prompt. Never retried."""


class QuotaExhausted(CallFailed):
    """The credit or a quota of a day or longer is used up. Never retried."""


class RateLimited(CallFailed):
    """Status 429 until the retry budget or the deadline was used up."""


class ProviderUnavailable(CallFailed):
    """Status 5xx until the retry budget or the deadline was used up."""


class ConnectionFailed(CallFailed):
    """There was no connection, or it broke before the response was complete."""


class SendTimedOut(CallFailed):
    """One send took longer than its limit. It may have been billed, and is not repeated."""


class MalformedResponse(CallFailed):
    """The provider sent a response that is not in its documented format."""


class UnreadableEndpoint(CallFailed):
    """Several responses of an endpoint in a row could not be read, so that no more is sent there.

    The message shows the first bytes of the last one. It holds for one model.
    """


class RequestTooLarge(CallFailed):
    """The call needs more than a limit can ever hold, so that it would never pass."""


class DeadlineTooShort(CallFailed):
    """The limits do not let the call pass before its deadline. It fails without waiting."""


class BatchUnavailable(CallFailed):
    """The Batch API cannot take the call, and it may not be sent live; see `BatchApiPolicy`."""


class BudgetExceeded(CallFailed):
    """The call, or another attempt of it, may cost more than a budget has left.

    Args:
        message: the cause and the remedy.
        budget: the budget in words, with the tenant, model or other subject that it is for.
        left_usd: what the budget has left, in USD.
        needs_usd: what the call may cost, in USD; None if no price is known for it.
        attempts: HTTP requests that were sent.
        status: the HTTP status of the last response; None if there was none.
        billed: "maybe" when the provider may have charged for a response that was lost (L3).
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
    """The ledger cannot be written although there are budgets, so that no call is sent."""
