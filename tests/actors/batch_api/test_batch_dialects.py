"""The requests and responses of each Batch API."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import VENDORS, Endpoint, Request
from callsheet.actors.batch_api.control import LineSplitter, LineTooLong
from callsheet.actors.batch_api.policy import BatchApiPolicy
from callsheet.actors.batch_api.results import judge
from callsheet.actors.errors import (
    BadRequest,
    MalformedResponse,
    ProviderUnavailable,
    QuotaExhausted,
)
from callsheet.actors.identity import content_key
from callsheet.actors.vendors.anthropic import AnthropicMessages
from callsheet.actors.vendors.batch_anthropic import ANTHROPIC_BATCHES
from callsheet.actors.vendors.batch_catalog import DIALECTS
from callsheet.actors.vendors.batch_openai import OPENAI_BATCHES, TOGETHER_BATCHES
from callsheet.actors.vendors.format import DecodedResponse, Malformed
from callsheet.actors.vendors.openai_chat import OpenAIChat

OPENAI = {
    "id": "batch_a1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": "file-in",
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": None,
    "error_file_id": None,
    "request_counts": {"total": 3, "completed": 1, "failed": 0},
    "metadata": {"callsheet": "cs1-ab"},
}
ANTHROPIC = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "results_url": None,
}


def test_vendors_speak_what_they_speak():
    spoken = {name: vendor.batches for name, vendor in VENDORS.items() if vendor.batches}
    assert spoken == {
        "openai": OPENAI_BATCHES,
        "anthropic": ANTHROPIC_BATCHES,
        "together": TOGETHER_BATCHES,
        "gemini": DIALECTS["gemini"],
        "groq": DIALECTS["groq"],
        "mistral": DIALECTS["mistral"],
        "openrouter": DIALECTS["openrouter"],
    }


def test_any_other_server_can_be_configured_to_use_one():
    assert BatchApiPolicy(dialect="together").dialect is DIALECTS["together"]
    with pytest.raises(ValueError, match="known are openai, together, anthropic, gemini, groq"):
        BatchApiPolicy(dialect="fireworks")


def test_a_policy_names_what_is_wrong_with_it():
    for bad in ({"gather_s": -1}, {"poll_s": 0}, {"max_requests": 0}, {"enqueued_tokens": -4}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            BatchApiPolicy(**bad)
    assert BatchApiPolicy(enqueued_tokens={"m": 5}).enqueued_limit("n") == float("inf")
    assert BatchApiPolicy(enqueued_tokens=7).enqueued_limit("n") == 7


@pytest.mark.parametrize(
    ("left_s", "margin_s"), [(3600, 180), (300, 60), (30, 60), (float("inf"), 0)]
)
def test_the_margin_is_a_minute_or_a_twentieth_of_the_time(left_s, margin_s):
    assert BatchApiPolicy().margin_s(left_s) == margin_s
    assert BatchApiPolicy(live_margin_s=5).margin_s(30) == 5


def test_openai_reports_the_state_of_a_batch():
    view = OPENAI_BATCHES.read_batch(OPENAI)
    assert (view.id, view.mark, view.tag, view.size) == ("batch_a1", "file-in", "cs1-ab", 3)
    assert not view.is_over
    over = OPENAI | {"status": "completed", "output_file_id": "o", "error_file_id": "e"}
    assert OPENAI_BATCHES.read_batch(over).outputs == ("/files/o/content", "/files/e/content")
    errors = {"data": [{"code": "x", "message": "y", "line": 2}, {"code": "z", "line": None}]}
    failed = OPENAI | {"status": "failed", "errors": errors, "request_counts": {"total": 3}}
    view = OPENAI_BATCHES.read_batch(failed)
    assert (view.is_refused, [error.position for error in view.errors]) == (True, [1, None])
    half = OPENAI | {"status": "failed", "output_file_id": "o"}
    assert not OPENAI_BATCHES.read_batch(half).is_refused  # some of it has run


def test_together_reports_the_state_of_a_batch():
    body = {"job": {"id": "b", "status": "COMPLETED", "input_file_id": "f", "output_file_id": "o"}}
    view = TOGETHER_BATCHES.read_batch(body)
    assert (view.id, view.is_complete, view.mark) == ("b", True, "f")
    assert [one.id for one in TOGETHER_BATCHES.read_page([body["job"]]).views] == ["b"]
    failed = TOGETHER_BATCHES.read_batch({"id": "b", "status": "FAILED", "error": "no such model"})
    assert [error.message for error in failed.errors] == ["no such model"]
    call = TOGETHER_BATCHES.create(
        mark="f", tag="t", path="/chat/completions", model="m", content=b""
    )
    assert "metadata" not in json.loads(call.body)
    assert TOGETHER_BATCHES.prepare(b"x").form["purpose"] == "batch-api"


def test_anthropic_reports_the_state_of_a_batch():
    view = ANTHROPIC_BATCHES.read_batch(ANTHROPIC)
    assert (view.id, view.is_over, view.size) == ("msgbatch_1", False, 2)
    over = ANTHROPIC | {"processing_status": "ended", "results_url": "https://evil/x"}
    assert ANTHROPIC_BATCHES.read_batch(over).outputs == ("/messages/batches/msgbatch_1/results",)
    page = ANTHROPIC_BATCHES.read_page({"data": [ANTHROPIC], "has_more": True})
    assert page.following.query["after_id"] == "msgbatch_1"
    assert ANTHROPIC_BATCHES.read_mark({"data": []}) == "none"


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_line_is_whole_json_and_has_the_body_in_it(dialect):
    line = dialect.line("cs1-ab-0", "/chat/completions", b'{"model":"m"}')
    content = dialect.join([line, line])
    read = json.loads(line)
    assert (read.get("custom_id") or read["metadata"]["key"]) == "cs1-ab-0"
    whole = {
        "anthropic": lambda: json.loads(content)["requests"],
        "gemini": lambda: json.loads(content)["requests"]["requests"],
        "openrouter": lambda: json.loads(content),
    }.get(dialect.name, lambda: [json.loads(one) for one in content.splitlines()])
    assert whole() == [read, read]
    bodies = {"anthropic": "params", "gemini": "request"}
    assert read[bodies.get(dialect.name, "body")] == {"model": "m"}
    has_url = dialect.name in ("openai", "groq")
    assert read.get("url") == ("/v1/chat/completions" if has_url else None)


def test_a_batch_is_known_again():
    view = OPENAI_BATCHES.read_batch(OPENAI)
    assert OPENAI_BATCHES.may_be(view, mark="file-in", tag="other", size=9)
    assert not OPENAI_BATCHES.may_be(view, mark="file-2", tag="cs1-ab", size=3)
    mine = ANTHROPIC_BATCHES.read_batch(ANTHROPIC)
    assert ANTHROPIC_BATCHES.may_be(mine, mark="", tag="", size=2)
    assert not ANTHROPIC_BATCHES.may_be(mine, mark="", tag="", size=3)
    assert ANTHROPIC_BATCHES.is_older(mine, mark="msgbatch_1")


MEMBERS = [
    "id",
    "status",
    "data",
    "errors",
    "error",
    "response",
    "result",
    "type",
    "body",
    "job",
    "request_counts",
    "metadata",
    "processing_status",
    "message",
    "has_more",
    "custom_id",
    "name",
    "state",
    "operations",
    "results",
    "batchStats",
    "inlinedResponses",
    "input_files",
]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(list(DIALECTS.values())))
def test_invalid_json_is_malformed_or_read_and_raises_nothing_else(body, dialect):
    raw = json.dumps(body).encode()
    for read in (
        dialect.read_batch,
        dialect.read_page,
        dialect.read_mark,
        lambda _: dialect.read_line(raw),
    ):
        with contextlib.suppress(Malformed):
            read(body)


# ---------------------------------------------------------------- what came of a line

CHAT = Request.of("Hi", model="m")
KEY = "sk-very-secret-1234567890"
HOUSE = Endpoint("http://provider/v1", KEY)
ANSWER = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}


def openai_line(response=None, error=None):
    line = {"id": "r", "custom_id": "a", "response": response, "error": error}
    return OPENAI_BATCHES.read_line(json.dumps(line).encode())


def judged(result, form=None):
    return judge(result, form or OpenAIChat(), CHAT, HOUSE)


def refused(status, message="Sorry.", **more):
    return judged(
        openai_line({"status_code": status, "body": {"error": {"message": message} | more}})
    )


def test_an_answer_is_an_answer():
    found = judged(openai_line({"status_code": 200, "body": ANSWER}))
    assert isinstance(found, DecodedResponse)
    assert found.choices[0].text == "Hello"
    said = {"type": "message", "content": [{"type": "text", "text": "Hello"}]}
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": said}}
    result = ANTHROPIC_BATCHES.read_line(json.dumps(line).encode())
    assert judged(result, AnthropicMessages()).choices[0].text == "Hello"


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_what_may_be_gone_next_time_is_asked_again(status):
    assert refused(status).is_retried


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_what_did_not_run_is_asked_again(code):
    found = judged(openai_line(None, {"code": code, "message": "This request was not run."}))
    assert (type(found.error), found.is_retried) == (ProviderUnavailable, True)
    assert not found.maybe_billed


def test_what_is_wrong_stays_wrong():
    found = refused(400, f"no such thing {KEY}")
    assert (type(found.error), found.is_retried, found.error.status) == (BadRequest, False, 400)
    assert KEY not in str(found.error)  # L8
    assert type(refused(429, code="insufficient_quota").error) is QuotaExhausted


def test_an_answer_that_is_none_may_have_been_charged():
    found = judged(openai_line({"status_code": 200, "body": {"choices": []}}))
    assert (type(found.error), found.is_retried, found.maybe_billed) == (
        MalformedResponse,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("kind", "expected", "is_retried"),
    [
        ("invalid_request_error", BadRequest, False),
        ("overloaded_error", ProviderUnavailable, True),
        ("api_error", ProviderUnavailable, True),
    ],
)
def test_anthropic_has_errors_without_a_status(kind, expected, is_retried):
    error = {"type": "error", "error": {"type": kind, "message": "Sorry."}, "request_id": "r"}
    line = {"custom_id": "a", "result": {"type": "errored", "error": error}}
    result = ANTHROPIC_BATCHES.read_line(json.dumps(line).encode())
    found = judged(result, AnthropicMessages())
    assert (type(found.error), found.is_retried) == (expected, is_retried)
    line = {"custom_id": "a", "result": {"type": "expired"}}
    assert judged(ANTHROPIC_BATCHES.read_line(json.dumps(line).encode())).is_retried


# ---------------------------------------------------------------- lines and keys


@given(st.lists(st.binary(min_size=1).filter(lambda b: b"\n" not in b and b.strip())), st.data())
def test_lines_are_the_same_however_a_file_is_cut(lines, data):
    content = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    splitter, found = LineSplitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        found += splitter.feed(content[start:end])
    assert found + splitter.end() == lines


def test_only_a_line_feed_ends_a_line():
    text = '{"text":"a\u2028b\x85c"}\n'.encode()
    assert LineSplitter().feed(text) == [text[:-1]]
    with pytest.raises(LineTooLong):
        LineSplitter(10).feed(b"x" * 11)


def test_a_key_is_of_all_that_changes_the_answer_and_of_nothing_else():
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    same = {"messages": [{"content": "Hi", "role": "user"}], "model": "m"}
    assert content_key("a", "/x", body) == content_key("a", "/x", same)
    others = [
        content_key("b", "/x", body),
        content_key("a", "/y", body),
        content_key("a", "/x", body | {"temperature": 0}),
    ]
    assert len({content_key("a", "/x", body), *others}) == 4
