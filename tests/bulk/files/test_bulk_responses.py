"""Rows for OpenAI's Responses: OUTPUT has bodies of that shape, and reads them back."""

import json
from decimal import Decimal

import pytest
from bulk_rows import MODEL, lines_of, rows, stage

from callsheet.actors import BatchApiPolicy, Choice, Endpoint, Response, ToolCall, Usage
from callsheet.bulk.files.lines import answer_line, read_answer
from callsheet.bulk.reading.opening import open_rows
from callsheet.bulk.reading.settings import ReadSettings

BODY = {"model": MODEL, "input": "Name a colour.", "max_output_tokens": 20}
LINE = {"custom_id": "r-1", "method": "POST", "url": "/v1/responses", "body": BODY}


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    with open_rows(path, ReadSettings()) as found:
        return list(found)


@pytest.mark.parametrize("route", ["live", "batch"])
async def test_the_body_is_the_providers_own(autojump_clock, output, asked, route):
    troupe = {"batches": BatchApiPolicy()}
    async with stage() as it:
        (result,) = await it.run(asked, output, route=route, troupe=troupe)
        again = await it.run(asked, output, route=route, troupe=troupe)
    (line,) = lines_of(output)
    assert line["response"]["body"]["object"] == "response"
    assert line["callsheet"]["route"] == route
    assert "provider_body" not in line["callsheet"]
    assert result.response == read_answer(output.read_bytes())
    assert [one.line for one in again] == [result.line], "a second run sends nothing"


async def test_a_chat_keeps_its_shape_at_an_endpoint_with_responses(autojump_clock, output):
    endpoint = Endpoint("http://provider/v1", None, "openai", api="responses")
    async with stage() as it:
        await it.run(rows(1), output, troupe={"endpoint": endpoint})
    (line,) = lines_of(output)
    assert line["response"]["body"]["object"] == "chat.completion"
    assert line["response"]["body"]["choices"][0]["message"]["content"]
    assert line["callsheet"]["provider_body"]["object"] == "response"


@pytest.mark.parametrize(
    "choice",
    [
        Choice("Hi", "stop", reasoning="hm", annotations=({"type": "url_citation"},)),
        Choice("Hi", "length"),
        Choice("", "content_filter", refusal="No."),
        Choice("Hi", "content_filter"),
        Choice("", "tool_calls", tool_calls=(ToolCall("f", "{}", "call_1"),)),
    ],
)
def test_a_body_that_is_made_reads_back_as_the_same_response(asked, choice):
    """A part of a pack has no body of the provider's."""
    response = Response(
        text=choice.text,
        model=MODEL,
        finish_reason=choice.finish_reason,
        usage=Usage(10, 5, 4, reasoning_tokens=2),
        cost_usd=Decimal("0.01"),
        choices=(choice,),
        route="pack",
    )
    line = answer_line(asked[0], response, 1_800_000_000)
    body = json.loads(line)["response"]["body"]
    assert body["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}
    assert read_answer(line) == response
