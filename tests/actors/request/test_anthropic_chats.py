"""Chats in OpenAI's shape with the Anthropic of the built-in provider."""

import pytest
from fakes import URL
from provided import house

from callsheet.actors import BadRequest, ChatMessage, Endpoint, Request

CLAUDE = "claude-haiku-4-5"
TOKEN = "sk-ant-oat01-1234567890"
MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def chat(*messages, **more):
    return Request(model=CLAUDE, messages=messages, **more)


async def test_a_chat_with_an_image_and_a_tool_is_answered(autojump_clock):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "?"}, picture]
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    async with house(vendor="anthropic") as under_test:
        response = await under_test.troupe.complete(
            chat(
                ChatMessage("system", "Be brief."),
                ChatMessage("user", "", extra={"content": parts}),
                ChatMessage("assistant", "", extra={"content": None, "tool_calls": [call]}),
                ChatMessage("tool", "4", extra={"tool_call_id": "toolu_1"}),
                tools=[TOOL],
            )
        )
    assert response.text
    assert response.finish_reason == "stop"


async def test_a_marked_system_message_is_written_to_the_cache_and_read_from_it(autojump_clock):
    """Its tokens are counted and charged apart: cache writes by their lifetime."""
    system = ChatMessage("system", "Count the letters of each word. " * 1000, extra=MARK)
    async with house(vendor="anthropic") as under_test:
        first, second = [
            await under_test.troupe.complete(chat(system, ChatMessage("user", "Go.")))
            for _ in range(2)
        ]
    assert first.usage.cache_write_tokens == first.usage.cache_write_1h_tokens > 1000
    assert second.usage.cached_tokens == first.usage.cache_write_tokens
    assert second.cost_usd < first.cost_usd / 5


async def test_a_late_system_message_is_refused_in_the_providers_words(autojump_clock):
    async with house(vendor="anthropic") as under_test:
        with pytest.raises(BadRequest, match=r"messages\.1\.role"):
            await under_test.troupe.complete(
                chat(ChatMessage("user", "Hi"), ChatMessage("system", "Be brief."))
            )
        assert len(under_test.sent) == 1


async def test_an_access_token_is_accepted(autojump_clock):
    async with house(endpoint=Endpoint(URL, TOKEN, "anthropic")) as under_test:
        assert (await under_test.troupe.complete(chat(ChatMessage("user", "Hi")))).text
        (sent,) = under_test.sent
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-api-key" not in sent.headers
