"""What a client is told about each error, in the shape that its SDK reads."""

import json
from decimal import Decimal

import httpx2
import pytest
from late_imports import import_when_used

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    BudgetExceeded,
    CallFailed,
    ConnectionFailed,
    ContentFiltered,
    DeadlineTooShort,
    LedgerUnavailable,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    SendTimedOut,
    TurnTooLate,
    UnreadableEndpoint,
    Usage,
)
from callsheet.gateway.dialects import DIALECTS
from callsheet.gateway.errors import InvalidBody, Refusal, Refused, refusal_of
from callsheet.runtime import ActorCrashed, ActorStopped, AskTimedOut, MailboxFull, Verdict

anthropic, openai = map(import_when_used, ("anthropic", "openai"))

OPENAIS = {"error": {"message": "own", "type": "t", "param": "messages", "code": "context_length"}}
ANTHROPICS = {"type": "error", "error": {"type": "overloaded_error", "message": "own"}}
UNSENT, SENT = Verdict.NOT_STARTED, Verdict.MAY_HAVE_RUN


CASES = [
    (InvalidBody("no", "model"), 400, "invalid_request", None),
    (BadRequest("no"), 400, "invalid_request", None),
    (BadRequest("no", status=307), 502, "provider", False),
    (BadRequest("no", status=404), 404, "not_found", None),
    (BadRequest("no", status=413), 413, "too_large", None),
    (BadRequest("no", status=422), 422, "invalid_request", None),
    (BadRequest("no", status=409), 409, "invalid_request", False),
    (BadRequest("no", status=501), 501, "invalid_request", False),
    (ContentFiltered("no", status=400), 400, "content_filter", None),
    (AuthenticationFailed("no", status=401), 502, "provider", False),
    (AuthenticationFailed("no", status=403), 502, "provider", False),
    (QuotaExhausted("no", status=429), 429, "quota", False),
    (QuotaExhausted("no", status=402), 402, "quota", False),
    (BudgetExceeded("no"), 402, "budget", False),
    (RateLimited("no", status=429), 429, "rate_limit", None),
    (TurnTooLate("no", wait_s=61.5), 429, "rate_limit", None),
    (DeadlineTooShort("no"), 429, "rate_limit", False),
    (RequestTooLarge("no"), 413, "too_large", None),
    (ProviderUnavailable("no", status=500), 500, "unavailable", None),
    (ProviderUnavailable("no", status=529), 529, "unavailable", None),
    (ProviderUnavailable("no", status=524), 503, "unavailable", None),
    (ConnectionFailed("no"), 502, "provider", None),
    (ConnectionFailed("no", billed="maybe"), 502, "provider", False),
    (SendTimedOut("no", billed="maybe"), 504, "timeout", False),
    (MalformedResponse("no"), 502, "provider", False),
    (LedgerUnavailable("no"), 503, "unavailable", None),
    (CallFailed("no"), 500, "internal", None),
    (AskTimedOut("a", SENT), 504, "timeout", False),
    (AskTimedOut("a", UNSENT), 504, "timeout", None),
    (ActorStopped("a", UNSENT), 503, "unavailable", None),
    (ActorCrashed("a", SENT, KeyError()), 500, "internal", False),
]


@pytest.mark.parametrize(("error", "status", "kind", "should_retry"), CASES)
def test_an_error_has_a_status_and_says_whether_to_retry(error, status, kind, should_retry):
    refusal = refusal_of(error)
    assert (refusal.status, refusal.kind, refusal.should_retry) == (status, kind, should_retry)
    assert refusal.message


def test_every_class_of_errors_has_a_refusal_of_its_own():
    for kind in CallFailed.__subclasses__():
        if kind.__module__ == CallFailed.__module__:
            assert refusal_of(kind("no")).kind != "internal", kind


def test_the_true_wait_is_told():
    assert refusal_of(TurnTooLate("no", wait_s=61.5)).retry_after_s == 61.5
    assert refusal_of(BudgetExceeded("no", resets_s=3600.0)).retry_after_s == 3600


def test_what_may_have_been_billed_is_not_bought_again():
    """L3: an SDK would repeat it twice in silence."""
    paid = RateLimited("no", status=429).after(Usage(1, 1), None)
    assert refusal_of(paid).should_retry is False
    lost = ProviderUnavailable("no", status=503).after(Usage(), None, maybe_billed=1)
    assert refusal_of(lost).should_retry is False


def test_a_refusal_of_the_gateway_is_passed_on():
    refusal = Refusal(status=401, message="no key", kind="authentication")
    assert refusal_of(Refused(refusal)) is refusal


def test_a_full_mailbox_is_tried_again_soon():
    refusal = refusal_of(MailboxFull("a", 5))
    assert (refusal.status, refusal.retry_after_s) == (503, 1.0)


# ------------------------------------------------------------------------------- in the SDKs


def sdk_error(path, refusal):
    """Return what the SDK raises for a refusal."""
    body = DIALECTS[path].error(refusal, "req_1")
    name = "request-id" if path == "/messages" else "x-request-id"
    headers = {"content-type": "application/json", name: "req_1"}
    sent = httpx2.Response(refusal.status, headers=headers, content=body)
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: sent)) as http:
        if path == "/messages":
            client = anthropic.Anthropic(
                base_url="http://x", api_key="x", http_client=http, max_retries=0
            )
            with pytest.raises(anthropic.APIStatusError) as caught:
                client.messages.create(model="m", max_tokens=5, messages=[])
        else:
            client = openai.OpenAI(
                base_url="http://x/v1", api_key="x", http_client=http, max_retries=0
            )
            with pytest.raises(openai.APIStatusError) as caught:
                client.chat.completions.create(model="m", messages=[])
    return caught.value


REFUSAL = Refusal(status=429, message="slow down", kind="rate_limit", param="model")


def test_openais_sdk_reads_the_parts_of_an_error():
    error = sdk_error("/chat/completions", REFUSAL)
    assert isinstance(error, openai.RateLimitError)
    assert (error.code, error.type, error.param) == (
        "rate_limit_exceeded",
        "rate_limit_error",
        "model",
    )
    assert "slow down" in error.message
    assert error.request_id == "req_1"


def test_anthropics_sdk_reads_the_parts_of_an_error():
    error = sdk_error("/messages", REFUSAL)
    assert isinstance(error, anthropic.RateLimitError)
    assert error.body["error"] == {"type": "rate_limit_error", "message": "model: slow down"}
    assert error.body["request_id"] == error.request_id == "req_1"


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(("error", "status"), [case[:2] for case in CASES])
def test_every_error_has_the_shape_of_the_dialect(path, error, status):
    refusal = refusal_of(error)
    assert refusal.status == status
    body = json.loads(DIALECTS[path].error(refusal, "req_1"))
    if path == "/messages":
        assert body.keys() == {"type", "error", "request_id"}
        assert body["error"].keys() == {"type", "message"}
    else:
        assert body["error"].keys() == {"message", "type", "param", "code"}
    event = DIALECTS[path].error_event(refusal, "req_1").decode()
    assert event.endswith("\n\n")
    assert refusal.message in json.loads(event.partition("data: ")[2])["error"]["message"]


def test_the_body_of_the_provider_passes_in_its_own_dialect_only():
    """L15: with all of its members."""
    openais = refusal_of(BadRequest("said: own", status=400, body={**OPENAIS, "more": 1}))
    anthropics = refusal_of(ProviderUnavailable("said: own", status=529, body=ANTHROPICS))
    chat, messages = DIALECTS["/chat/completions"], DIALECTS["/messages"]
    assert json.loads(chat.error(openais, "r")) == {**OPENAIS, "more": 1}
    assert json.loads(messages.error(anthropics, "r")) == {**ANTHROPICS, "request_id": "r"}
    made = json.loads(messages.error(openais, "r"))
    assert made["error"] == {"type": "invalid_request_error", "message": "messages: said: own"}
    made = json.loads(chat.error(anthropics, "r"))
    assert (made["error"]["message"], made["error"]["type"]) == ("said: own", "server_error")


def test_the_provider_that_refuses_the_key_of_the_gateway_is_not_quoted():
    body = {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}
    refusal = refusal_of(AuthenticationFailed("no", status=401, body=body))
    assert "invalid_api_key" not in DIALECTS["/chat/completions"].error(refusal, "r").decode()


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages"])
def test_the_sdk_raises_the_error_in_a_stream(path):
    stream = DIALECTS[path].error_event(REFUSAL, "req_1")
    headers = {"content-type": "text/event-stream"}
    sent = httpx2.Response(200, headers=headers, content=stream)
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: sent)) as http:
        if path == "/messages":
            client = anthropic.Anthropic(base_url="http://x", api_key="x", http_client=http)
            with pytest.raises(anthropic.APIStatusError, match="slow down"):
                list(client.messages.create(model="m", max_tokens=5, messages=[], stream=True))
            return
        client = openai.OpenAI(base_url="http://x/v1", api_key="x", http_client=http)
        create = client.responses.create
        if path == "/chat/completions":
            create = client.chat.completions.create
        more = {"input": "x"} if path == "/responses" else {"messages": []}
        with pytest.raises(openai.APIError, match="slow down"):
            list(create(model="m", stream=True, **more))


@pytest.mark.parametrize("kind", [ProviderUnavailable, UnreadableEndpoint])
def test_an_endpoint_that_takes_no_calls_says_when_it_does_again(kind):
    error = kind("nothing was sent")
    error.back_in_s = 7.5
    refusal = refusal_of(error)
    assert (refusal.status, refusal.retry_after_s, refusal.should_retry) == (503, 7.5, None)


@pytest.mark.parametrize(("field", "param"), [("logprobs", "logprobs"), ("a tool result", "")])
def test_a_member_without_a_counterpart_is_named(field, param):
    error = BadRequest("nothing was sent: it does not support that")
    error.field = field
    assert refusal_of(error).param == param


def test_a_shared_budget_does_not_tell_what_others_have_spent():
    given = {
        "budget": "the budget of $20 per day",
        "left_usd": Decimal("7.31"),
        "needs_usd": Decimal(9),
        "resets_s": 7200.0,
    }
    text = "held back: the budget has $7.31 left"
    shared = refusal_of(BudgetExceeded(text, **given, is_shared=True)).message
    assert "7.31" not in shared
    assert "the budget of $20 per day, which callers" in shared
    assert "; wait for 2 h" in shared
    given["shorter_helps"] = True
    shared = refusal_of(BudgetExceeded(text, **given, is_shared=True)).message
    assert "; lower max_tokens, or wait for 2 h" in shared
    given |= {"shorter_helps": False, "resets_s": None}
    shared = refusal_of(BudgetExceeded(text, **given, is_shared=True)).message
    assert "; ask those who run the gateway to raise it" in shared
    assert refusal_of(BudgetExceeded(text, **given)).message == text


def test_the_response_to_another_call_is_not_quoted():
    text = "work has stopped: 3 responses in a row could not be read; it begins with: their words"
    refusal = refusal_of(UnreadableEndpoint(text))
    assert (refusal.status, refusal.should_retry) == (502, False)
    assert "each minute" in refusal.message
    assert "their words" not in refusal.message


def test_a_ledger_that_cannot_be_written_is_not_named_by_its_path():
    refusal = refusal_of(LedgerUnavailable("the ledger /var/lib/gateway/ledger.sqlite3 is full"))
    assert (refusal.status, refusal.should_retry) == (503, None)
    assert refusal.code == "budgets_unavailable"
    assert "/var" not in refusal.message
    assert "the ledger of the gateway, or the server that its replicas share" in refusal.message
