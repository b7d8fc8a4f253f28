"""What a client of the gateway is told about a call that failed. Pure (R14).

SDKs retry the statuses 408, 409, 429 and 5xx by themselves. What may have been billed already, and
what cannot succeed a second time, is marked so that they do not (``x-should-retry: false``).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

import attrs

from ..actors import (
    AuthenticationFailed,
    BadRequest,
    BatchUnavailable,
    BudgetExceeded,
    CallFailed,
    ConnectionFailed,
    ContentFiltered,
    DeadlineTooShort,
    Json,
    LedgerUnavailable,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    SendTimedOut,
    TurnTooLate,
    UnreadableEndpoint,
)
from ..bodies import InvalidBody
from ..runtime import AskFailed, AskTimedOut, MailboxFull, Verdict
from ..wording import dollars, duration

__all__ = ["InvalidBody", "Refusal", "RefusalKind", "Refused", "refusal_of"]

RefusalKind = Literal[
    "invalid_request",
    "authentication",
    "permission",
    "not_found",
    "too_large",
    "content_filter",
    "budget",
    "quota",
    "rate_limit",
    "unavailable",
    "provider",
    "timeout",
    "internal",
]
"""Why a call was refused or failed, from which each dialect takes its own word."""


@attrs.frozen(kw_only=True)
class Refusal:
    """The answer to a call that was refused or failed, in no dialect yet.

    Args:
        status: the HTTP status.
        message: the reason and, where there is one, the remedy.
        kind: why, from which a dialect takes its own word.
        param: the member of the body that is the reason; "" for none.
        code: a more precise word, such as "context_length_exceeded"; "" for none.
        retry_after_s: seconds after which the call can succeed; None if that is not known.
        should_retry: whether the client should repeat the call; None leaves it to the client, which
            decides by the status.
        body: the provider's own body, which is passed on in its own dialect; None for none.
    """

    status: int
    message: str
    kind: RefusalKind
    param: str = ""
    code: str = ""
    retry_after_s: float | None = None
    should_retry: bool | None = None
    body: Mapping[str, Json] | None = attrs.field(default=None, repr=False)


class Refused(Exception):
    """A call is refused by the gateway itself.

    Args:
        refusal: what the client is told.

    Attributes:
        refusal: what the client is told.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal_of(error: CallFailed | AskFailed | InvalidBody | Refused) -> Refusal:
    """Return what a client is told about an error.

    Args:
        error: what reading its body raised, or the call.
    """
    if isinstance(error, Refused):
        return error.refusal
    if isinstance(error, InvalidBody):
        return Refusal(status=400, message=error.reason, kind="invalid_request", param=error.param)
    if isinstance(error, AskFailed):
        return _of_ask(error)
    refusal = _of_call(error)
    if error.billed == "maybe" or error.maybe_billed or error.usage.total_tokens:
        return attrs.evolve(refusal, should_retry=False)  # what is paid for is not bought twice
    return refusal


def _of_ask(error: AskFailed) -> Refusal:
    is_safe = error.verdict is Verdict.NOT_STARTED
    should_retry = None if is_safe else False
    if isinstance(error, AskTimedOut):
        text = "there was no response in time"
        return Refusal(status=504, message=text, kind="timeout", should_retry=should_retry)
    if isinstance(error, MailboxFull):
        text = "too many calls wait already"
        return Refusal(status=503, message=text, kind="unavailable", retry_after_s=1.0)
    if is_safe:
        text = "the gateway did not start the call, because it stops or restarts a part of it"
        return Refusal(status=503, message=text, kind="unavailable", retry_after_s=1.0)
    text = "a part of the gateway failed during the call, which may have been billed"
    return Refusal(status=500, message=text, kind="internal", should_retry=False)


def _of_call(error: CallFailed) -> Refusal:
    if isinstance(error, TurnTooLate):
        return Refusal(
            status=429, message=str(error), kind="rate_limit", retry_after_s=error.wait_s
        )
    for kinds, make in _BY_CLASS:
        if isinstance(error, kinds):
            return make(error)
    status = 502 if error.status is not None else 500
    return Refusal(status=status, message=str(error), kind="internal")


def _bad_request(error: CallFailed) -> Refusal:
    """Return the provider's refusal of the request; without one, nothing was sent."""
    own = error.status or 0
    if own // 100 == HTTPStatus.MULTIPLE_CHOICES // 100:  # a wrong base URL is not the client's
        return Refusal(status=502, message=str(error), kind="provider", should_retry=False)
    status = own if own // 100 == HTTPStatus.BAD_REQUEST // 100 else 400
    kind = _KINDS.get(status, "invalid_request")
    if isinstance(error, ContentFiltered):
        kind = "content_filter"
    if own == HTTPStatus.NOT_IMPLEMENTED:
        status = own
    # The calls were repeated already where that helps; a client would repeat 408 and 409.
    should_retry = False if status in (408, 409, 501) else None
    return Refusal(
        status=status,
        message=str(error),
        kind=kind,
        code=_word_in(error.body, "code"),
        param=_word_in(error.body, "param") or _member_in(error),
        should_retry=should_retry,
        body=error.body,
    )


_KINDS: Mapping[int, RefusalKind] = {404: "not_found", 413: "too_large"}


def _word_in(body: Mapping[str, Json] | None, name: str) -> str:
    error = None if body is None else body.get("error")
    word = error.get(name) if isinstance(error, dict) else None
    return word if isinstance(word, str) else ""


def _member_in(error: CallFailed) -> str:
    """Return the member of the body that has no counterpart at the endpoint; "" for none."""
    field = error.field if isinstance(error, BadRequest) else ""
    return field if field.isidentifier() else ""


def _provider_key(_: CallFailed) -> Refusal:
    """The provider refused the key of the gateway, which is not that of the client.

    What the provider says may quote a part of that key, and is for those who run the gateway.
    """
    text = (
        "the provider refused the key or the account of the gateway, and not the key of this call; "
        "the log of the gateway has the reason"
    )
    return Refusal(status=502, message=text, kind="provider", should_retry=False)


def _quota(error: CallFailed) -> Refusal:
    return Refusal(
        status=402 if error.status == HTTPStatus.PAYMENT_REQUIRED else 429,
        message=str(error),
        kind="quota",
        code="insufficient_quota",
        should_retry=False,
        body=error.body,
    )


def _rate_limit(error: CallFailed) -> Refusal:
    return Refusal(
        status=429,
        message=str(error),
        kind="rate_limit",
        code="rate_limit_exceeded",
        body=error.body,
    )


def _deadline(error: CallFailed) -> Refusal:
    return Refusal(status=429, message=str(error), kind="rate_limit", should_retry=False)


def _budget(error: CallFailed) -> Refusal:
    return Refusal(
        status=402,
        message=_of_shared(error) if isinstance(error, BudgetExceeded) else str(error),
        kind="budget",
        code="budget_exceeded",
        retry_after_s=error.resets_s if isinstance(error, BudgetExceeded) else None,
        should_retry=False,
    )


def _of_shared(error: BudgetExceeded) -> str:
    """Return the refusal for a budget. That of a shared budget does not say how much is left."""
    if not error.is_shared or error.needs_usd is None:  # no price is known: no sum is told
        return str(error)
    text = (
        f"held back: {error.budget}, which callers of this gateway share, has less left than the "
        f"{dollars(error.needs_usd)} that the call may cost"
    )
    remedies = ["lower max_tokens"] if error.shorter_helps else []
    if error.resets_s is not None:
        remedies.append(f"wait for {duration(error.resets_s)}, until it is available again")
    if not remedies:
        remedies.append("ask those who run the gateway to raise it")
    return f"{text}; {', or '.join(remedies)}"


def _unavailable(error: CallFailed) -> Refusal:
    status = error.status if error.status in (500, 502, 503, 504, 529) else 503
    kind: RefusalKind = "timeout" if status == HTTPStatus.GATEWAY_TIMEOUT else "unavailable"
    return Refusal(
        status=status or 503,
        message=str(error),
        kind=kind,
        retry_after_s=error.back_in_s,
        body=error.body,
    )


def _within(error: CallFailed) -> Refusal:
    return Refusal(status=503, message=str(error), kind="unavailable")


def _no_ledger(_: CallFailed) -> Refusal:
    """The error names a file or a server, which is for those who run the gateway."""
    text = (
        "held back, because a budget needs the ledger of the gateway, or the server that its "
        "replicas share, which cannot be written now; the log of the gateway has the reason"
    )
    return Refusal(status=503, message=text, kind="unavailable", code="budgets_unavailable")


def _connection(error: CallFailed) -> Refusal:
    return Refusal(status=502, message=str(error), kind="provider")


def _unreadable(error: CallFailed) -> Refusal:
    return Refusal(status=502, message=str(error), kind="provider", should_retry=False)


def _stopped(error: CallFailed) -> Refusal:
    """No call is sent there, because of responses to earlier ones, which may be of other tenants.

    The error quotes the last of them.
    """
    text = (
        "no call for this model is sent now, because the latest responses of the provider could "
        "not be read; each minute one call tries again, and the log of the gateway has more"
    )
    if error.back_in_s is None:
        return Refusal(status=502, message=text, kind="provider", should_retry=False)
    return Refusal(status=503, message=text, kind="unavailable", retry_after_s=error.back_in_s)


def _timeout(error: CallFailed) -> Refusal:
    return Refusal(status=504, message=str(error), kind="timeout", should_retry=False)


def _too_large(error: CallFailed) -> Refusal:
    return Refusal(status=413, message=str(error), kind="too_large")


_BY_CLASS = (
    (AuthenticationFailed, _provider_key),
    (BadRequest, _bad_request),
    (QuotaExhausted, _quota),
    (BudgetExceeded, _budget),
    (RateLimited, _rate_limit),
    (DeadlineTooShort, _deadline),
    (RequestTooLarge, _too_large),
    (ProviderUnavailable, _unavailable),
    (BatchUnavailable, _within),
    (LedgerUnavailable, _no_ledger),
    (ConnectionFailed, _connection),
    (SendTimedOut, _timeout),
    (UnreadableEndpoint, _stopped),
    (MalformedResponse, _unreadable),
)
"""(class of error, function that says what the client is told)"""
