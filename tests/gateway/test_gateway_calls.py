"""Calls through the gateway, on the virtual clock: answered, streamed, refused, ended (R4)."""

import httpx
import pytest
import trio
from gateway_kit import CHAT, CLAUDE, MESSAGES, MODEL, chat, message, open_kit

from callsheet.gateway.model_pages import ProviderModels
from callsheet.simulator import ProviderSettings


async def test_a_whole_response_is_that_of_the_provider(autojump_clock):
    async with open_kit() as kit:
        answer = await kit.client.ask(CHAT, chat())
    assert answer.status == 200
    assert answer.json["object"] == "chat.completion"
    assert answer.json["choices"][0]["message"]["role"] == "assistant"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-callsheet-route"] == "live"
    assert float(answer.headers["x-callsheet-cost-usd"]) > 0


async def test_a_stream_has_the_events_of_the_provider_and_their_end(autojump_clock):
    async with open_kit() as kit:
        answer = await kit.client.ask(CHAT, chat(stream=True))
        text = "".join(one["choices"][0]["delta"].get("content", "") for one in answer.events[:-1])
        whole = await kit.client.ask(CHAT, chat())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.events[-1] == "[DONE]"
    assert text == whole.json["choices"][0]["message"]["content"]
    assert answer.is_complete
    assert "cost-usd=" in answer.comments[-1]


async def test_messages_of_anthropic_have_its_shape_and_its_id(autojump_clock):
    async with open_kit() as kit:
        whole = await kit.client.ask(MESSAGES, message())
        stream = await kit.client.ask(MESSAGES, message(stream=True))
    assert whole.json["type"] == "message"
    assert whole.headers["request-id"].startswith("req_")
    assert stream.events[0]["type"] == "message_start"
    assert stream.events[-1]["type"] == "message_stop"


async def test_an_alias_stands_for_the_model_of_its_route(autojump_clock):
    async with open_kit() as kit:
        answer = await kit.client.ask(CHAT, {**chat(), "model": "fast"})
    assert answer.json["model"] == MODEL


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (CHAT, {**chat(), "model": "gpt-9"}, 404, "is not served here"),
        (CHAT, b"{", 400, "is not JSON"),
        (CHAT, b"", 400, "it is empty"),
        (CHAT, b"[]", 400, "must be a JSON object"),
        (CHAT, {"model": MODEL}, 400, '"messages"'),
        ("/v1/files", {}, 404, "serves no files"),
        ("/v1/batches", {}, 404, "serves no batches"),
        ("/v1/nonsense", {}, 404, "nothing at"),
    ],
)
async def test_what_cannot_be_served_is_refused_in_openais_shape(
    autojump_clock, path, body, status, words
):
    async with open_kit() as kit:
        answer = await kit.client.ask(path, body)
    assert answer.status == status
    assert words in answer.json["error"]["message"]
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}


async def test_what_cannot_be_served_is_refused_in_anthropics_shape(autojump_clock):
    async with open_kit() as kit:
        answer = await kit.client.ask(MESSAGES, {**message(), "model": "gpt-9"})
    assert (answer.status, answer.json["type"]) == (404, "error")
    assert answer.json["error"]["type"] == "not_found_error"
    assert answer.json["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_client_that_leaves_ends_the_work_at_the_provider(autojump_clock, is_streamed):
    """R4: at once, whether the response is whole or streamed."""
    slow = ProviderSettings(latency_s=(100.0, 100.0))
    async with open_kit(slow) as kit:
        before = trio.current_time()
        answer = await kit.client.ask(CHAT, chat(stream=is_streamed), leaves_after=5.0)
        assert trio.current_time() - before == pytest.approx(5.0, abs=0.1)
        await trio.sleep(1.0)
        assert kit.stats.in_flight == 0
        assert not answer.is_complete
        assert all(not one.open_calls for one in kit.gateway.endpoints.served)


async def test_a_stream_that_is_silent_gets_comments(autojump_clock):
    slow = ProviderSettings(latency_s=(35.0, 35.0), first_piece=1.0)
    async with open_kit(slow) as kit:
        answer = await kit.client.ask(CHAT, chat(stream=True))
    assert answer.comments[:3] == [": waiting"] * 3
    assert answer.events[-1] == "[DONE]"


async def test_a_body_that_is_too_large_is_refused_by_its_length(autojump_clock):
    async with open_kit() as kit:
        answer = await kit.client.ask(CHAT, chat(), headers={"content-length": "99999999999"})
    assert answer.status == 413
    assert "33,554,432 bytes" in answer.json["error"]["message"]


async def test_models_are_listed_in_the_shape_of_the_client(autojump_clock):
    async with open_kit() as kit:
        openai = await kit.client.ask("/v1/models", method="GET")
        headers = {"anthropic-version": "2023-06-01"}
        anthropic = await kit.client.ask("/v1/models", method="GET", headers=headers)
        one = await kit.client.ask(f"/v1/models/{CLAUDE}", method="GET")
        missing = await kit.client.ask("/v1/models/gpt-9", method="GET")
    assert [it["id"] for it in openai.json["data"]] == [MODEL, "text-embedding-3-small", "fast"]
    assert anthropic.json["has_more"] is False
    assert one.json["id"] == CLAUDE
    assert missing.status == 404


def listing(*names, status=200):
    return httpx.MockTransport(
        lambda _: httpx.Response(
            status, json={"object": "list", "data": [{"id": name} for name in names]}
        )
    )


@pytest.mark.parametrize("status", [200, 500])
async def test_models_of_a_pattern_are_those_that_the_provider_lists(autojump_clock, status):
    names = (CLAUDE, "claude-opus-9", "gpt-9")
    async with (
        open_kit() as kit,
        httpx.AsyncClient(transport=listing(*names, status=status)) as client,
    ):
        models = ProviderModels(kit.gateway.endpoints, client)
        found = await models.names()
    own = [MODEL, "text-embedding-3-small", "fast"]
    assert found == (own if status == 500 else [*own, CLAUDE, "claude-opus-9"])
