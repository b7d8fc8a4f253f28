"""Rows of Anthropic's and Gemini's batch files: OUTPUT has the lines that their batches have."""

import json
from decimal import Decimal

import attrs
import pytest
from bulk_rows import MODEL, lines_of, stage

from callsheet.actors import (
    BatchApiPolicy,
    CallFailed,
    Choice,
    Endpoint,
    ProviderUnavailable,
    Request,
    Response,
    ToolCall,
    Usage,
)
from callsheet.bulk.files.lines import answer_line, failure_line, key_start, read_answer, with_id
from callsheet.bulk.reading import ReadSettings, open_rows
from callsheet.bulk.row import Row, gemini_url

USER = {"role": "user", "content": "Name a colour."}
PARAMS = {"model": MODEL, "max_tokens": 20, "messages": [USER]}
ANTHROPIC = {"custom_id": "r-1", "params": PARAMS}
CONTENT = {"role": "user", "parts": [{"text": "Name a colour."}]}
GEMINI = {"key": "r-1", "request": {"contents": [CONTENT]}}
LINES = {"anthropic": ANTHROPIC, "gemini": GEMINI}
ENDPOINTS = {
    "anthropic": Endpoint("http://provider/v1", None, "anthropic"),
    "gemini": Endpoint("http://provider/v1beta", None, "gemini"),
}


@pytest.fixture(params=["anthropic", "gemini"])
def vendor(request):
    return request.param


@pytest.fixture
def asked(tmp_path, vendor):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(LINES[vendor]) + "\n")
    with open_rows(path, ReadSettings(model=MODEL)) as found:
        return list(found)


def response_of(choice):
    return Response(
        text=choice.text,
        model=MODEL,
        finish_reason=choice.finish_reason,
        usage=Usage(input_tokens=7, output_tokens=2),
        cost_usd=Decimal("0.5"),
        http_requests=1,
        seconds=0.25,
        choices=(choice,),
        route="pack",
    )


def message_of(line):
    return line["result"]["message"] if "result" in line else line["response"]


@pytest.mark.parametrize(
    ("vendor", "route"), [("anthropic", "live"), ("anthropic", "batch"), ("gemini", "live")]
)
async def test_the_line_is_that_of_the_providers_own_batches(
    autojump_clock, output, asked, vendor, route
):
    troupe = {"endpoint": ENDPOINTS[vendor], "batches": BatchApiPolicy()}
    async with stage() as it:
        (result,) = await it.run(asked, output, route=route, troupe=troupe)
        again = await it.run(asked, output, route=route, troupe=troupe)
    assert result.error is None, result.message
    (line,) = lines_of(output)
    ours = line.pop("callsheet")
    assert line.pop("id").startswith("batch_req_")
    if vendor == "anthropic":
        assert line.keys() == {"custom_id", "result"}
        assert line["result"]["type"] == "succeeded"
        assert line["result"]["message"]["type"] == "message"
        assert line["result"]["message"]["content"][0]["type"] == "text"
    else:
        assert line.keys() == {"key", "response"}
        assert line["response"]["candidates"][0]["content"]["parts"]
    assert ours["route"] == route
    assert "provider_body" not in ours
    assert result.response == read_answer(output.read_bytes())
    assert result.response.text
    assert [one.line for one in again] == [result.line], "a second run sends nothing"


async def test_the_line_is_the_same_where_another_provider_responds(
    autojump_clock, output, asked, vendor
):
    async with stage() as it:
        (result,) = await it.run(asked, output)
    (line,) = lines_of(output)
    assert isinstance(message_of(line)["content" if vendor == "anthropic" else "candidates"], list)
    assert line["callsheet"]["provider_body"]["object"] == "chat.completion"
    assert read_answer(output.read_bytes()) == result.response


@pytest.mark.parametrize(
    "choice",
    [
        Choice("Hi", "stop"),
        Choice("Hi", "length"),
        Choice("Hi", "content_filter"),
        Choice("", "tool_calls", tool_calls=(ToolCall("f", '{"a":1}', "call_1"),)),
    ],
)
def test_a_body_that_is_made_reads_back_as_the_same_response(asked, choice):
    (row,) = asked
    response = response_of(choice)
    line = answer_line(row, response, 1)
    back = read_answer(line)
    assert back.text == choice.text
    assert back.choices[0].tool_calls == choice.tool_calls
    assert back.usage == response.usage
    assert key_start(line) == row.key[:12]


def test_an_error_has_the_form_of_the_providers(asked, vendor):
    (row,) = asked
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    error = ProviderUnavailable("busy", status=529, body=body)
    line = json.loads(failure_line(row, error))
    if vendor == "anthropic":
        assert line["custom_id"] == "r-1"
        assert line["result"] == {"type": "errored", "error": body}
        bare = json.loads(failure_line(row, CallFailed("no answer")))["result"]["error"]
        assert bare["error"] == {"type": "api_error", "message": "no answer"}
    else:
        assert line["key"] == "r-1"
        assert line["error"] == {"code": 2, "message": "busy"}
        refused = json.loads(failure_line(row, CallFailed("wrong", status=400)))
        assert refused["error"] == {"code": 3, "message": "wrong"}
    assert line["callsheet"]["kind"] == "ProviderUnavailable"
    assert line["callsheet"]["row"] == 1


def test_the_line_of_a_batch_of_geminis_has_the_body_of_the_provider():
    """The built-in provider has no batches of Gemini's; a result of one is the same response."""
    body = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "usageMetadata": {}}
    request = Request.of("x", model=MODEL)
    row = Row(number=1, custom_id="k", request=request, key=bytes(16), url=gemini_url(MODEL))
    response = attrs.evolve(response_of(Choice("Hi", "stop")), route="batch", body=body)
    line = json.loads(answer_line(row, response, 1))
    assert (line["key"], line["response"]) == ("k", body)


def test_a_stored_line_gets_the_id_of_its_row(asked, vendor):
    (row,) = asked
    response = response_of(Choice("Hi", "stop"))
    line = answer_line(row, response, 1).rstrip(b"\n")
    name = "key" if vendor == "gemini" else "custom_id"
    assert with_id(line, row) == line
    assert json.loads(with_id(line, attrs.evolve(row, custom_id="b")))[name] == "b"
