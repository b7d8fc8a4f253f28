"""The errors of a call."""

from collections.abc import Mapping
from copy import copy
from decimal import Decimal
from typing import Literal, Self

from .json_value import Json
from .responses import Usage, sum_of_costs

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
        queued_s: seconds that the call waited for its turn; see `Response.queued_s`.
        maybe_billed: the number of attempts that may have been charged.
        usage: the tokens of responses that were paid for before it failed, such as its share of a
            pack without an answer to it. What `billed` and `maybe_billed` say is not in it.
        cost_usd: the cost in USD of those responses; 0 if there are none, and None if a price is
            not known.
        is_transient: whether the same call may succeed later and a repetition cannot be paid for
            twice: the last attempt did not reach the provider or was refused for a passing reason.
        back_in_s: seconds until calls are sent to the endpoint again, where none were sent because
            it keeps failing; None if that is not known.
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
        self.usage = Usage()
        self.cost_usd: Decimal | None = Decimal(0)
        self.is_transient = False
        self.body = body
        self.request_id = request_id
        self.queued_s = 0.0
        self.back_in_s: float | None = None

    def __copy__(self) -> Self:
        """Return the same error, whatever arguments the subclass takes, without its traceback."""
        error = type(self).__new__(type(self), *self.args)
        error.__dict__.update(self.__dict__)
        error.__cause__ = self.__cause__
        return error

    def but(self, more: str) -> Self:
        """Return the same error with an addition to its message.

        Args:
            more: the text to add after a semicolon.
        """
        error = copy(self)
        error.args = (f"{self}; {more}",)
        return error

    def after(
        self,
        usage: Usage,
        cost_usd: Decimal | None,
        *,
        attempts: int = 0,
        maybe_billed: int = 0,
    ) -> Self:
        """Return the same error with what was spent on the call before.

        Args:
            usage: the tokens of earlier responses.
            cost_usd: their cost in USD; None if a price is not known.
            attempts: earlier HTTP requests.
            maybe_billed: how many other HTTP requests may have been charged.
        """
        error = copy(self)
        error.usage = usage + self.usage
        error.cost_usd = sum_of_costs(cost_usd, self.cost_usd)
        error.attempts += attempts
        error.maybe_billed += maybe_billed
        if maybe_billed:
            error.billed = "maybe"
        return error


class AuthenticationFailed(CallFailed):
    """Status 401 or 403: the key is missing, wrong, or lacks the permission. Never retried."""


class BadRequest(CallFailed):
    """Any other status 4xx, or 501: the request is invalid or not supported. Never retried.

    Attributes:
        field: what the wire format of the endpoint cannot express, if nothing was sent for that.
    """

    field = ""


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


class TurnTooLate(CallFailed):
    """The turn of the call does not come within `CallContext.patience_s`. Nothing was sent.

    Args:
        message: the wait, and the limit that causes it.
        wait_s: seconds from now until the turn of the call, by estimate.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.is_transient = True


class BatchUnavailable(CallFailed):
    """The Batch API cannot take the call, and it may not be sent live; see `BatchApiPolicy`."""


class BudgetExceeded(CallFailed):
    """The call, or another attempt of it, may cost more than a budget has left.

    Args:
        message: the cause and the remedy.
        budget: the budget in words, with the tenant, model or other subject that it is for.
        left_usd: what the budget has left, in USD.
        needs_usd: what the call may cost, in USD; None if no price is known for it.
        resets_s: seconds until the budget of a day or a month is available again; None for others.
        is_shared: whether calls of other tenants use the budget as well, so that `left_usd` and the
            message tell what these have spent.
        shorter_helps: whether what is left is enough for the same call with a lower `max_tokens`.
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
        resets_s: float | None = None,
        is_shared: bool = False,
        shorter_helps: bool = False,
        attempts: int = 0,
        status: int | None = None,
        billed: Billed = "no",
    ) -> None:
        super().__init__(message, attempts=attempts, status=status, billed=billed)
        self.is_shared = is_shared
        self.shorter_helps = shorter_helps
        self.budget = budget
        self.left_usd = left_usd
        self.needs_usd = needs_usd
        self.resets_s = resets_s


class LedgerUnavailable(CallFailed):
    """The ledger cannot be written although there are budgets, so that no call is sent."""
