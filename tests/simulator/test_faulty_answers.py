import json

import httpx
import pytest
import trio
import trio.testing
from provider_client import connected, events_in, named_events_in, text_in

from callsheet.simulator.faults import REFUSALS, Faults

VENDORS = pytest.mark.parametrize("vendor", ["chat", "message"])


def fault_of(kind):
    return {"x-callsheet-fault": kind}


async def read_stream(client, vendor, fault, **more):
    """Return the text of a stream as far as it arrives, and the error that ends it, or None."""
    text, error = "", None
    start = getattr(client, f"{vendor}_stream")
    try:
        async with start(headers=fault_of(fault), **more) as response:
            async for piece in response.aiter_text():
                text += piece
    except httpx.TransportError as caught:
        error = caught
    return text, error


def said_in(vendor, text):
    """Return the text of the complete events of a stream, none of which may be its end."""
    blocks = text.split("\n\n")[:-1]
    assert not any("[DONE]" in block or "_stop" in block for block in blocks)
    if vendor == "message":
        return text_in(named_events_in("".join(f"{block}\n\n" for block in blocks)))
    choices = [json.loads(block.removeprefix("data: "))["choices"][0] for block in blocks]
    assert not any(choice["finish_reason"] for choice in choices)
    return "".join(choice["delta"].get("content", "") for choice in choices)


async def whole_text(client, vendor):
    body = (await getattr(client, vendor)()).json()
    if vendor == "message":
        return body["content"][0]["text"]
    return body["choices"][0]["message"]["content"]


REFUSED = [
    # fault, status, type and code of OpenAI, type of Anthropic
    ("401", 401, ("invalid_request_error", "invalid_api_key"), "authentication_error"),
    ("429; retry-after=7", 429, ("rate_limit_error", "slow_down"), "rate_limit_error"),
    ("quota", 429, ("insufficient_quota", "insufficient_quota"), "rate_limit_error"),
    ("500; retry-after=7", 500, ("server_error", None), "api_error"),
    (
        "503; retry-after=7",
        503,
        ("service_unavailable_error", "server_is_overloaded"),
        "api_error",
    ),
    (
        "529; retry-after=7",
        529,
        ("service_unavailable_error", "server_is_overloaded"),
        "overloaded_error",
    ),
]


def test_every_refusal_is_here():
    assert {fault.partition(";")[0] for fault, *_ in REFUSED} == REFUSALS


@pytest.mark.parametrize(("fault", "status", "openai", "anthropic"), REFUSED)
async def test_a_refusal_on_demand_has_the_body_of_its_vendor(
    autojump_clock, fault, status, openai, anthropic
):
    async with connected(rpm=10) as client:
        chat = await client.chat(headers=fault_of(fault))
        message = await client.message(headers=fault_of(fault))
        assert trio.current_time() == 0
        fine = await client.chat()
    assert (chat.status_code, message.status_code, fine.status_code) == (status, status, 200)
    error = chat.json()["error"]
    assert (error["type"], error["code"]) == openai
    assert error["message"]
    assert message.json()["error"]["type"] == anthropic
    waits = "7" if "7" in fault else None
    assert chat.headers.get("retry-after") == message.headers.get("retry-after") == waits
    assert ("x-ratelimit-limit-requests" in chat.headers) == (status != 401)


async def test_a_spent_budget_is_reported_in_both_formats(autojump_clock):
    async with connected(headers_on_429=["x-should-retry", "retry-after"]) as client:
        chat = await client.chat(headers=fault_of("quota"))
        message = await client.message(headers=fault_of("quota"))
    for response in (chat, message):
        assert response.headers["x-should-retry"] == "false"
        assert "retry-after" not in response.headers
    details = message.json()["error"]["details"]
    assert details == {"error_code": "enforced_spend_limit_reached"}


async def test_a_reset_is_a_read_error(autojump_clock):
    async with connected() as client:
        with pytest.raises(httpx.ReadError):
            await client.chat(headers={"x-callsheet-fault": "reset"})
        assert client.provider.stats.broken == 1


async def test_a_stall_lasts_until_the_client_gives_up(autojump_clock):
    async with connected(timeout=20.0) as client:
        start = trio.current_time()
        with pytest.raises(httpx.ReadTimeout):
            await client.chat(headers={"x-callsheet-fault": "stall"})
        assert trio.current_time() - start == 20.0
        await trio.testing.wait_all_tasks_blocked()
        assert client.provider.stats.cancelled == 1


async def test_a_stall_may_end_in_a_reset(autojump_clock):
    async with connected(faults=Faults({"stall": 1.0}, stall_s=30.0)) as client:
        start = trio.current_time()
        with pytest.raises(httpx.ReadError):
            await client.chat()
        assert trio.current_time() - start == 30.0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_truncated_body_breaks_off(autojump_clock, stream):
    async with connected() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            await client.chat(stream=stream, headers={"x-callsheet-fault": "truncate"})
        assert client.provider.stats.broken == 1
        assert client.provider.stats.output_tokens > 0


async def test_a_malformed_body_is_html_or_half_a_json(autojump_clock):
    async with connected() as client:
        html = await client.chat(headers={"x-callsheet-fault": "malformed"})
        half = await client.chat(headers={"x-callsheet-fault": "malformed; body=json"})
    assert (html.status_code, half.status_code) == (200, 200)
    assert html.text.startswith("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        half.json()


async def test_a_slow_body_trickles_but_is_whole(autojump_clock):
    async with connected(timeout=5.0) as client:
        start = trio.current_time()
        response = await client.chat(headers={"x-callsheet-fault": "slow"})
        pieces = -(-len(response.content) // 64)
        assert trio.current_time() - start == pytest.approx(1.0 + 0.5 * (pieces - 1))
    assert response.json()["choices"]


async def test_an_unknown_fault_is_a_400_that_lists_the_known(autojump_clock):
    async with connected() as client:
        response = await client.chat(headers={"x-callsheet-fault": "flood"})
    assert response.status_code == 400
    assert "unknown fault 'flood'; known are 401, 429" in response.json()["error"]["message"]


async def test_ok_in_the_header_overrules_the_rates(autojump_clock):
    async with connected(faults=Faults({"500": 1.0})) as client:
        assert (await client.chat()).status_code == 500
        assert (await client.chat(headers={"x-callsheet-fault": "ok"})).status_code == 200


async def test_faults_by_rate_are_the_same_for_a_seed(autojump_clock):
    async def statuses(seed):
        async with connected(seed=seed, faults=Faults({"500": 0.5})) as client:
            return [(await client.chat()).status_code for _ in range(30)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert set(first) == {200, 500}


# ------------------------------------------------------------------ streams, and other bodies


@VENDORS
async def test_a_cut_stream_ends_cleanly_without_its_end(autojump_clock, vendor):
    async with connected() as client:
        whole = await whole_text(client, vendor)
        billed = client.provider.stats.output_tokens
        text, error = await read_stream(client, vendor, "cut")
        stats = client.provider.stats
    assert error is None
    assert text.endswith("\n\n")
    said = said_in(vendor, text)
    assert whole.startswith(said)
    assert 0 < len(said) < len(whole)
    assert stats.output_tokens - billed == -(-len(said) // 4)
    assert (stats.answered, stats.broken) == (2, 0)


@VENDORS
@pytest.mark.parametrize(
    ("fault", "expected"),
    [("truncate", httpx.RemoteProtocolError), ("reset_body", httpx.ReadError)],
)
async def test_a_stream_that_breaks_off_does_so_within_an_event(
    autojump_clock, vendor, fault, expected
):
    async with connected() as client:
        whole = await whole_text(client, vendor)
        text, error = await read_stream(client, vendor, fault)
        stats = client.provider.stats
    assert type(error) is expected
    assert not text.endswith("\n\n")
    said = said_in(vendor, text)
    assert whole.startswith(said)
    assert said
    assert (stats.broken, stats.in_flight, stats.working) == (1, 0, 0)


@VENDORS
async def test_a_body_may_be_reset_in_the_middle(autojump_clock, vendor):
    async with connected() as client:
        with pytest.raises(httpx.ReadError):
            await getattr(client, vendor)(headers=fault_of("reset_body"))
        stats = client.provider.stats
    assert stats.broken == 1
    assert stats.output_tokens > 0, "the tokens were generated nevertheless"


@VENDORS
async def test_a_cut_body_is_half_a_json_that_ends_as_it_should(autojump_clock, vendor):
    async with connected() as client:
        response = await getattr(client, vendor)(headers=fault_of("cut"))
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        response.json()


async def test_an_error_in_a_stream_is_its_last_event(autojump_clock):
    async with connected() as client:
        chat, _ = await read_stream(client, "chat", "error_event")
        message, _ = await read_stream(client, "message", "error_event")
    *_, last, rest = chat.split("\n\n")
    assert rest == ""
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    *before, (name, data) = named_events_in(message)
    assert text_in(before)
    assert name == "error"
    assert data["error"] == {"type": "overloaded_error", "message": "Overloaded"}


@VENDORS
async def test_an_error_may_come_with_a_200_and_costs_nothing(autojump_clock, vendor):
    async with connected() as client:
        response = await getattr(client, vendor)(headers=fault_of("error_event"))
        stats = client.provider.stats
    assert response.status_code == 200
    assert response.json()["error"]["message"]
    assert (stats.input_tokens, stats.output_tokens) == (0, 0)


async def test_usage_may_be_missing_everywhere(autojump_clock):
    async with connected() as client:
        chat = await client.chat(headers=fault_of("no_usage"))
        message = await client.message(headers=fault_of("no_usage"))
        body = {"model": "m", "input": "x"}
        vector = await client.post("/v1/embeddings", json=body, headers=fault_of("no_usage"))
        asked = {"stream_options": {"include_usage": True}}
        streamed, _ = await read_stream(client, "chat", "no_usage", **asked)
        named, _ = await read_stream(client, "message", "no_usage")
        assert client.provider.stats.output_tokens > 0
    for response in (chat, message, vector):
        assert response.status_code == 200
        assert "usage" not in response.json()
    assert all(not event.get("usage") and event["choices"] for event in events_in(streamed))
    assert "usage" not in named
    assert named_events_in(named)[-1][0] == "message_stop"


@VENDORS
async def test_a_compressed_response_has_the_same_text(autojump_clock, vendor):
    async with connected() as client:
        plain = await getattr(client, vendor)()
        zipped = await getattr(client, vendor)(headers=fault_of("gzip"))
        ordinary, _ = await read_stream(client, vendor, "ok")
        start = trio.current_time()
        streamed, _ = await read_stream(client, vendor, "gzip")
        async with getattr(client, f"{vendor}_stream")(headers=fault_of("gzip")) as response:
            pieces = [len(piece) async for piece in response.aiter_raw()]
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.json()["usage"] == plain.json()["usage"]
    assert len(streamed) == len(ordinary)
    assert trio.current_time() - start == pytest.approx(2)
    assert sum(pieces) < len(streamed) / 2
    assert len(pieces) == 12


@VENDORS
async def test_a_slow_stream_is_whole(autojump_clock, vendor):
    async with connected() as client:
        ordinary, _ = await read_stream(client, vendor, "ok")
        slow, error = await read_stream(client, vendor, "slow")
    assert error is None
    assert len(slow) == len(ordinary)
