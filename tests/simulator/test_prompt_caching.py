"""Prompt caching as OpenAI and Anthropic document it, on the virtual clock (R13)."""

import pytest
import trio
from provider_client import connected, named_events_in

from callsheet.simulator import CacheSettings
from callsheet.simulator.caching import anthropic_rules, openai_rules

LONG = "It was the best of times. " * 400  # 2,600 tokens
OLD, NEW, CLAUDE = "gpt-4o-mini", "gpt-5.6-luna", "claude-sonnet-5"


def chat_messages(*texts):
    return [{"role": "user", "content": text} for text in texts]


async def chat_usage(client, *texts, model=OLD, headers=None, **more):
    messages = chat_messages(*texts)
    response = await client.chat(model=model, messages=messages, headers=headers, **more)
    usage = response.json()["usage"]
    details = usage["prompt_tokens_details"]
    return details["cached_tokens"], details.get("cache_write_tokens", 0)


def marked(text, **mark):
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"} | mark}]


async def message_usage(client, system=None, text="What is Trio?", **more):
    if system is not None:
        more["system"] = system
    usage = (await client.message(text, model=CLAUDE, **more)).json()["usage"]
    return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage


async def test_older_models_read_the_common_prefix_in_steps_of_128(autojump_clock):
    async with connected() as client:
        assert await chat_usage(client, LONG + "One") == (0, 0)
        assert await chat_usage(client, LONG + "Two") == (2560, 0)
        assert await chat_usage(client, LONG[:5000]) == (1152, 0)
        assert await chat_usage(client, "x" + LONG) == (0, 0)
        assert await chat_usage(client, LONG[:4000]) == (0, 0)  # fewer than 1,024 tokens


async def test_a_prefix_can_be_read_from_the_first_token_of_the_answer_on(autojump_clock):
    async with connected(first_piece=0.5) as client:
        found = {}

        async def ask(after):
            await trio.sleep(after)
            found[after] = await chat_usage(client, LONG, model=NEW)

        async with trio.open_nursery() as nursery:
            for after in (0, 0.4, 0.6):
                nursery.start_soon(ask, after)
    written = found[0][1]
    assert found == {0: (0, written), 0.4: (0, written), 0.6: (written, 0)}


async def test_a_prefix_is_forgotten_when_it_is_not_used(autojump_clock):
    async with connected() as client:
        await chat_usage(client, LONG)
        for _ in range(3):  # each use renews its life
            await trio.sleep(500)
            assert (await chat_usage(client, LONG))[0] == 2560
        await trio.sleep(601)
        assert await chat_usage(client, LONG) == (0, 0)


async def test_newer_models_write_to_the_end_of_the_prompt_and_read_to_a_block(autojump_clock):
    async with connected() as client:
        read, written = await chat_usage(client, LONG, model=NEW)
        assert (read, written) == (0, 4 + 2600)
        read, more = await chat_usage(client, LONG, "What is Trio?", model=NEW)
        assert (read, more) == (written, 4 + 4)
        assert await chat_usage(client, LONG + "!", model=NEW) == (0, written + 1)


async def test_keys_and_models_share_no_cache(autojump_clock):
    async with connected() as client:
        await chat_usage(client, LONG)
        assert (await chat_usage(client, LONG, model="gpt-4o"))[0] == 0
        other = {"authorization": "Bearer another"}
        assert (await chat_usage(client, LONG, headers=other))[0] == 0
        assert (await chat_usage(client, LONG))[0] == 2560


async def test_a_message_is_cached_up_to_its_marks_only(autojump_clock):
    async with connected() as client:
        assert (await message_usage(client, LONG))[:2] == (0, 0)
        assert (await message_usage(client, LONG))[:2] == (0, 0)
        read, written, usage = await message_usage(client, marked(LONG))
        assert (read, written) == (0, 4 + 2600)
        assert usage["cache_creation"]["ephemeral_5m_input_tokens"] == written
        read, more, usage = await message_usage(client, marked(LONG), "What is attrs?")
        assert (read, more) == (written, 0)
        assert usage["input_tokens"] < 20
        await trio.sleep(301)
        assert (await message_usage(client, marked(LONG)))[:2] == (0, written)


async def test_an_hour_is_counted_apart_and_lasts(autojump_clock):
    async with connected() as client:
        _, written, usage = await message_usage(client, marked(LONG, ttl="1h"))
        assert usage["cache_creation"] == {
            "ephemeral_5m_input_tokens": 0,
            "ephemeral_1h_input_tokens": written,
        }
        await trio.sleep(3000)
        assert (await message_usage(client, marked(LONG)))[0] == written


async def test_a_mark_at_the_top_moves_with_the_conversation(autojump_clock):
    mark = {"cache_control": {"type": "ephemeral"}}
    async with connected() as client:
        _, written, _ = await message_usage(client, text=LONG, **mark)
        turn = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "Yes."}]
        turn.append({"role": "user", "content": "Why?"})
        read, more, _ = await message_usage(client, messages=turn, **mark)
    assert read == written > 2600
    assert 0 < more < 30


async def test_a_short_prompt_is_not_cached_and_not_refused(autojump_clock):
    async with connected() as client:
        for _ in range(2):
            assert (await message_usage(client, marked("Be brief.")))[:2] == (0, 0)


async def test_five_marks_are_refused(autojump_clock):
    async with connected() as client:
        response = await client.message(system=marked("a") * 5)
    assert response.status_code == 400
    assert "maximum of 4 blocks" in response.json()["error"]["message"]


async def test_a_stream_reports_the_cache_at_its_beginning_and_its_end(autojump_clock):
    async with connected() as client:
        await message_usage(client, marked(LONG))
        async with client.message_stream(model=CLAUDE, system=marked(LONG)) as response:
            events = dict(named_events_in((await response.aread()).decode()))
    for usage in (events["message_start"]["message"]["usage"], events["message_delta"]["usage"]):
        assert usage["cache_read_input_tokens"] == 2604


async def test_reads_and_writes_are_billed_at_their_prices(autojump_clock):
    async with connected() as client:
        _, written, _ = await message_usage(client, marked(LONG))
        bill = client.provider.stats.billed[CLAUDE]["default"]
        assert (bill.written_tokens, bill.saved_tokens) == (written, -0.25 * written)
        await message_usage(client, marked(LONG))
        bill = client.provider.stats.billed[CLAUDE]["default"]
    assert bill.cached_tokens == written
    assert bill.saved_tokens == pytest.approx(0.65 * written)


async def test_reads_do_not_count_against_the_limit_of_input_tokens(autojump_clock):
    async with connected(itpm=10_000) as client:
        await message_usage(client, marked(LONG))
        await trio.sleep(60)
        response = await client.message(model=CLAUDE, system=marked(LONG))
        await trio.sleep(0.01)
        last = await client.message("?", model=CLAUDE)
    assert response.json()["usage"]["cache_read_input_tokens"] == 2604
    assert last.headers["anthropic-ratelimit-input-tokens-remaining"] == "10000"


async def test_a_prefix_can_be_read_at_the_end_of_the_answer_where_that_is_set(autojump_clock):
    ended = CacheSettings(readable="ended")
    async with connected(latency_s=(1, 1), cache=ended) as client:
        found = {}

        async def ask(after):
            await trio.sleep(after)
            found[after] = (await chat_usage(client, LONG))[0]

        async with trio.open_nursery() as nursery:
            for after in (0, 0.9, 1.1):
                nursery.start_soon(ask, after)
    assert found == {0: 0, 0.9: 0, 1.1: 2560}


async def test_any_number_of_requests_goes_to_one_machine_where_that_is_set(autojump_clock):
    async with connected(latency_s=(0.1, 0.1), cache=CacheSettings(machine_rpm=None)) as client:
        reads = [(await chat_usage(client, LONG))[0] for _ in range(45)]
    assert reads == [0] + [2560] * 44


async def test_a_burst_overflows_and_keys_keep_requests_together(autojump_clock):
    async with connected(latency_s=(0.1, 0.1)) as client:
        reads = [(await chat_usage(client, LONG))[0] for _ in range(45)]  # within 5 seconds
        assert [at for at, read in enumerate(reads) if not read] == [0, 15, 30]
        for key in "ab":
            more = [(await chat_usage(client, LONG, prompt_cache_key=key))[0] for _ in range(15)]
            assert more == [0] + [2560] * 14
        await trio.sleep(60)  # the first machine takes requests again
        assert (await chat_usage(client, LONG))[0] == 2560


async def test_the_explicit_mode_writes_marked_beginnings_only(autojump_clock):
    def messages(question, **mark):
        part = {"type": "text", "text": LONG, **mark}
        return [{"role": "system", "content": [part]}, {"role": "user", "content": question}]

    async def usage(client, question, **mark):
        options = {"prompt_cache_options": {"mode": "explicit"}}
        asked = messages(question, **mark)
        response = await client.chat(model=NEW, messages=asked, **options)
        details = response.json()["usage"]["prompt_tokens_details"]
        return details["cached_tokens"], details.get("cache_write_tokens", 0)

    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    async with connected() as client:
        assert await usage(client, "One?") == (0, 0)
        assert await usage(client, "One?", **mark) == (0, 2604)
        assert await usage(client, "Two?", **mark) == (2604, 0)
        assert await usage(client, "Two?") == (0, 0)  # without a mark nothing is compared


async def test_the_schema_of_the_output_is_a_part_of_the_prefix(autojump_clock):
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    async with connected() as client:
        assert (await chat_usage(client, LONG))[0] == 0
        assert (await chat_usage(client, LONG, response_format=schema))[0] == 0
        assert (await chat_usage(client, LONG, response_format=schema))[0] == 2560


async def gemini_usage(client, question, model="gemini-2.5-flash", text=LONG):
    body = {
        "systemInstruction": {"parts": [{"text": text}]},
        "contents": [{"role": "user", "parts": [{"text": question}]}],
    }
    path = f"/v1beta/models/{model}:generateContent"
    headers = {"x-goog-api-key": "key"}
    usage = (await client.post(path, json=body, headers=headers)).json()["usageMetadata"]
    return usage.get("cachedContentTokenCount", 0)


async def test_gemini_reads_what_another_request_has_begun_with(autojump_clock):
    async with connected() as client:
        assert await gemini_usage(client, "One?") == 0
        assert await gemini_usage(client, "Two?") == 2560
        assert await gemini_usage(client, "Two?", "gemini-2.0-flash") == 0
        assert await gemini_usage(client, "Two?", "gemini-3.1-pro-preview") == 0  # from 4,096 on
        bill = client.provider.stats.billed["gemini-2.5-flash"]["default"]
        assert (bill.cached_tokens, bill.saved_tokens) == (2560, pytest.approx(0.9 * 2560))


async def test_gemini_caches_nothing_where_that_is_set(autojump_clock):
    async with connected(cache=CacheSettings(gemini=False)) as client:
        assert [await gemini_usage(client, "One?") for _ in range(2)] == [0, 0]


async def test_the_minimum_can_be_set(autojump_clock):
    async with connected(cache=CacheSettings(minimum=4096)) as client:
        assert [await message_usage(client, marked(LONG)) for _ in range(2)][1][:2] == (0, 0)


@pytest.mark.parametrize(
    ("model", "step", "read"),
    [
        ("gpt-4o-mini", 128, 0.5),
        ("gpt-4.1", 128, 0.25),
        ("gpt-5-nano", 128, 0.1),
        ("gpt-5.6-sol", None, 0.1),
        ("gpt-6.1-terra", None, 0.05),
    ],
)
def test_the_rules_follow_from_the_model(model, step, read):
    rules = openai_rules(model)
    assert (rules.step, rules.read_price) == (step, read)
    assert rules.write_price == (1.0 if step else 1.25)


def test_some_models_have_no_cache_or_a_longer_minimum():
    assert openai_rules("gpt-3.5-turbo") is None
    assert anthropic_rules("claude-haiku-4-5").minimum == 4096
    assert anthropic_rules("claude-opus-5-5").read_price == 0.05
