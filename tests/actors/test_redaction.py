"""No secret reaches the log (L8)."""

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import Endpoint, redact_secrets

SECRET = "hush-0123456789"


def redacted(**event):
    return redact_secrets(None, "info", event)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "Proxy-Authorization",
        "api_key",
        "api-key",
        "apikey",
        "X-API-Key",
        "x-goog-api-key",
        "OPENAI_API_KEY",
        "password",
        "client_secret",
        "access_token",
        "Set-Cookie",
    ],
)
def test_what_is_named_as_a_secret_is_hidden_at_any_depth(name):
    assert redacted(**{name: SECRET})[name] == "***"
    nested = redacted(request={"headers": {name: SECRET}, "more": [{name: [SECRET]}]})
    assert SECRET not in repr(nested)
    assert SECRET not in repr(redacted(headers=[(name, SECRET), (name.encode(), SECRET.encode())]))


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abc_DEF-0123456789",
        "sk-ant-api03-0123456789",
        "gsk_0123456789abcdef",
        "csk-0123456789abcdef",
        f"cs-{'aB3_' * 10}xyz",
        "AIzaSyA0123456789abcdefghij",
    ],
)
def test_what_looks_like_a_key_is_hidden_wherever_it_stands(text):
    event = redacted(
        event=f"refused {text}.",
        error=ValueError(f"bad key {text}"),
        body=f"key={text}".encode(),
        a={"b": ({text},)},
        c={text: 1},
    )
    assert text not in repr(event)
    assert event["event"].startswith("refused ***")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("bearer abcdef123", "bearer ***"),
        ("http://user:hunter2@proxy:3128/x", "http://***@proxy:3128/x"),
        ("https://host/v1?key=abcdef&alt=sse", "https://host/v1?key=***&alt=sse"),
    ],
)
def test_secrets_in_headers_and_urls_are_hidden(text, shown):
    assert redacted(event=text)["event"] == shown


def test_what_is_no_secret_is_left_as_it_is():
    event = {
        "event": "call_answered",
        "call": "tea.headline",
        "model": "gpt-5.6",
        "input_tokens": 12,
        "cost_usd": None,
        "ok": True,
        "error": "host answered 429: Rate limit reached; ask-a-friend, risk-averse",
        "url": "http://127.0.0.1:8080/v1/chat/completions",
        "mean": 0.5,
        "steps": ["a", ("b", 2)],
        "key": "a1b2",
        "endpoint": Endpoint("http://provider/v1", "sk-0123456789"),
    }
    assert redact_secrets(None, "info", dict(event)) == event


def test_what_refers_to_itself_comes_to_an_end():
    loop: dict[str, object] = {"api_key": SECRET}
    loop["again"] = loop
    assert SECRET not in repr(redacted(loop=loop))


@given(st.recursive(st.integers() | st.text() | st.binary(), st.lists))
def test_whatever_is_logged_is_no_error(value):
    redacted(value=value)


def test_it_is_a_processor_of_structlog():
    lines = []

    class Printer:
        def msg(self, line):
            lines.append(line)

        info = msg

    log = structlog.wrap_logger(
        Printer(), processors=[redact_secrets, structlog.processors.KeyValueRenderer()]
    )
    log.info("sent", headers={"x-api-key": SECRET}, url="http://p/v1")
    assert lines == ["headers={'x-api-key': '***'} url='http://p/v1' event='sent'"]
