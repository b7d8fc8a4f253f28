"""A run streams underneath: long thinking is no silence, and a row that is cancelled is freed."""

import json

import httpx
import pytest
import trio
from bulk_rows import URL, lines_of, on_the_spot, row

from callsheet.actors import Endpoint, TroupeSettings
from callsheet.bulk import bulk

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
CHUNKS = [
    {"delta": {"role": "assistant", "content": None, "tool_calls": [CALL]}},
    {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]}},
    {"delta": {}, "finish_reason": "tool_calls"},
]


class Stream(httpx.AsyncByteStream):
    """Sends a chunk every `gap` seconds."""

    def __init__(self, gap, closed):
        self.gap, self.closed = gap, closed

    async def __aiter__(self):
        for choice in CHUNKS:
            whole = {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, **choice}]}
            yield f"data: {json.dumps(whole)}\n\n".encode()
            await trio.sleep(self.gap)
        yield b"data: [DONE]\n\n"

    async def aclose(self):
        self.closed.append(trio.current_time())


def provider(asked, closed, gap=1.0):
    def handle(request):
        asked.append(json.loads(request.content))
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Stream(gap, closed))

    return TroupeSettings(
        endpoint=Endpoint(URL, None, "openai"), transport=httpx.MockTransport(handle)
    )


@pytest.mark.parametrize(("limit", "streams"), [(None, True), (1000, True), (100, False)])
async def test_rows_are_streamed_unless_they_are_short(autojump_clock, tmp_path, limit, streams):
    """L10: OUTPUT has the body of the provider, put together from the pieces of the stream."""
    asked, output = [], tmp_path / "out.jsonl"
    async with bulk(
        [row(1, "Hi", max_tokens=limit)], output, provider(asked, []), in_thread=on_the_spot
    ) as results:
        await results.wait()
    assert asked[0].get("stream", False) is streams
    (line,) = lines_of(output)
    (choice,) = line["response"]["body"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (called,) = choice["message"]["tool_calls"]
    assert called["function"] == {"name": "f", "arguments": '{"a": 1}'}


async def test_a_row_that_thinks_for_minutes_is_answered_and_paid_for_once(
    autojump_clock, tmp_path
):
    asked, output = [], tmp_path / "out.jsonl"
    troupe = provider(asked, [], gap=110)
    async with bulk(
        [row(1, "Hi", max_tokens=None)], output, troupe, in_thread=on_the_spot
    ) as results:
        await results.wait()
    assert trio.current_time() > 300
    assert len(asked) == 1
    assert lines_of(output)[0]["callsheet"]["maybe_billed"] == 0


async def test_a_run_that_is_cancelled_closes_its_streams_at_once(autojump_clock, tmp_path):
    """A second Ctrl-C frees the server."""
    closed, output = [], tmp_path / "out.jsonl"
    troupe = provider([], closed, gap=100)
    with trio.move_on_after(50):
        rows = [row(number, max_tokens=None) for number in (1, 2)]
        async with bulk(rows, output, troupe, in_thread=on_the_spot) as results:
            await results.wait()
    assert closed == [50, 50]


async def test_a_row_without_a_valid_result_fails_with_its_cost(autojump_clock, tmp_path):
    """L3: both responses were paid for."""
    output = tmp_path / "out.jsonl"
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    choice = {"index": 0, "message": {"content": "No."}, "finish_reason": "stop"}
    whole = {"model": "gpt-4o-mini", "choices": [choice], "usage": usage}
    troupe = TroupeSettings(
        endpoint=Endpoint(URL, None, "openai"),
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=whole)),
    )
    wanted = row(1, "Hi", max_tokens=50, returns=int)
    async with bulk([wanted], output, troupe, in_thread=on_the_spot) as results:
        (result,) = [result async for result in results]
    assert result.error == "ResultNotValid"
    assert (result.event.attempts, result.event.usage.input_tokens) == (2, 2000)
    assert results.progress().cost_usd == result.event.cost_usd > 0
