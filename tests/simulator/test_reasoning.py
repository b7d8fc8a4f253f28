"""Reasoning before a response, and the log probabilities of its tokens."""

import math

import pytest
from provider_client import connected, events_in, named_events_in


async def test_reasoning_of_a_chat_costs_tokens_and_is_not_shown(autojump_clock):
    async with connected() as client:
        plain = (await client.chat()).json()
        body = (await client.chat(reasoning_effort="low")).json()
        billed = client.provider.stats.output_tokens
    assert body["choices"][0]["message"] == plain["choices"][0]["message"]
    spent = body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert spent == 64
    assert body["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"] + spent
    assert billed == plain["usage"]["completion_tokens"] + body["usage"]["completion_tokens"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_a_setting_shows_the_reasoning_as_other_servers_do(autojump_clock, name):
    async with connected(reasoning_field=name) as client:
        whole = (await client.chat(reasoning_effort="low")).json()["choices"][0]["message"]
        async with client.chat_stream(reasoning_effort="low") as response:
            chunks = events_in((await response.aread()).decode())
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert whole[name]
    assert "".join(delta.get(name, "") for delta in deltas) == whole[name]
    assert "".join(delta.get("content", "") for delta in deltas) == whole["content"]


async def test_reasoning_may_use_up_the_limit(autojump_clock):
    async with connected() as client:
        body = (await client.chat(reasoning_effort="high", max_completion_tokens=100)).json()
    [choice] = body["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert body["usage"]["completion_tokens"] == 100


async def test_a_message_thinks_in_a_block_of_its_own(autojump_clock):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    async with connected() as client:
        plain = (await client.message(max_tokens=4000)).json()
        body = (await client.message(thinking=thinking, max_tokens=4000)).json()
        async with client.message_stream(thinking=thinking, max_tokens=4000) as response:
            events = named_events_in((await response.aread()).decode())
    thought, text = body["content"]
    assert (thought["type"], text) == ("thinking", plain["content"][0])
    assert thought["signature"]
    deltas = [data["delta"] for name, data in events if name == "content_block_delta"]
    for kind, whole in (("thinking", thought["thinking"]), ("text", text["text"])):
        said = [delta[kind] for delta in deltas if delta["type"] == f"{kind}_delta"]
        assert "".join(said) == whole
    assert [delta["type"] for delta in deltas].count("signature_delta") == 1
    assert body["usage"]["output_tokens"] == plain["usage"]["output_tokens"] + 256


async def test_a_budget_of_thinking_is_below_the_maximum_of_tokens(autojump_clock):
    async with connected() as client:
        thinking = {"type": "enabled", "budget_tokens": 2000}
        large = await client.message(thinking=thinking, max_tokens=2000)
        small = await client.message(thinking={"type": "enabled", "budget_tokens": 1000})
    assert large.status_code == small.status_code == 400
    assert "budget_tokens" in large.json()["error"]["message"]


async def test_log_probabilities_are_given_for_each_token(autojump_clock):
    async with connected() as client:
        body = (await client.chat(logprobs=True, top_logprobs=3)).json()
        async with client.chat_stream(logprobs=True, top_logprobs=3) as response:
            chunks = events_in((await response.aread()).decode())
        plain = (await client.chat(logprobs=True)).json()["choices"][0]["logprobs"]["content"]
    [choice] = body["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert len(tokens) == body["usage"]["completion_tokens"]
    for token in tokens:
        assert bytes(token["bytes"]).decode() == token["token"]
        likely = token["top_logprobs"]
        assert likely[0]["token"] == token["token"]
        assert [one["logprob"] for one in likely] == sorted(
            (one["logprob"] for one in likely), reverse=True
        )
        assert len(likely) == 3
        assert sum(math.exp(one["logprob"]) for one in likely) <= 1
    streamed = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    assert sum(len(part["content"]) for part in streamed) == len(tokens)
    assert [token["top_logprobs"] for token in plain] == [[]] * len(tokens)


async def test_completions_have_log_probabilities_with_offsets(autojump_clock):
    request = {"model": "m", "prompt": "What is Trio?", "logprobs": 2}
    async with connected() as client:
        [choice] = (await client.post("/v1/completions", json=request)).json()["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    assert found["text_offset"] == [4 * i for i in range(16)]
    assert len(found["token_logprobs"]) == len(found["top_logprobs"]) == 16


async def test_likely_tokens_need_log_probabilities(autojump_clock):
    async with connected() as client:
        response = await client.chat(top_logprobs=3)
    assert response.json()["error"]["param"] == "top_logprobs"
