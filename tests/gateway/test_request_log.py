"""The line that the log has for each request of a gateway (L8, L9)."""

import io
from decimal import Decimal

import pytest
import trio
from starlette.responses import PlainTextResponse

from callsheet.gateway.request_log import RequestLog, facts_of, line_writer

KEY = f"cs-{'aB3_' * 10}xyz"


async def nothing():
    return {"type": "http.disconnect"}


async def ask(app, path="/v1/chat/completions", **scope):
    """Send one request to an app in a log, and return its lines."""
    lines = []

    async def send(message):
        pass

    headers = [(b"authorization", f"Bearer {KEY}".encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers} | scope
    await RequestLog(app, lines.append)(scope, nothing, send)
    return lines


async def answer(scope, receive, send):
    facts = facts_of(scope)
    facts.key, facts.model, facts.troupe = "k_1", "gpt-5-nano", "main"
    facts.cost_usd, facts.queued_s, facts.request_id = Decimal("0.0000123"), 1.23456, "req_1"
    await trio.sleep(2.5)
    await PlainTextResponse("Hi")(scope, receive, send)


async def test_a_line_has_what_the_handler_knows_and_no_header(autojump_clock):
    (line,) = await ask(answer)
    assert line == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "seconds": 2.5,
        "queued_s": 1.235,
        "key": "k_1",
        "model": "gpt-5-nano",
        "troupe": "main",
        "cost_usd": "0.0000123",
        "request_id": "req_1",
    }


async def test_a_client_that_goes_away_has_a_line_without_a_status(autojump_clock):
    lines = []
    with trio.move_on_after(1):
        await RequestLog(answer, lines.append)(
            {"type": "http", "method": "POST", "path": "/v1/messages"}, nothing, None
        )
    (line,) = lines
    assert (line["status"], line["seconds"], line["model"]) == (0, 1, "gpt-5-nano")


@pytest.mark.parametrize(("status", "count"), [(200, 0), (404, 1), (503, 1)])
async def test_what_machines_ask_all_the_time_is_logged_if_it_fails(status, count):
    assert len(await ask(PlainTextResponse("", status), "/healthz")) == count


async def test_another_kind_of_connection_is_passed_on():
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"

    assert await ask(app, type="lifespan") == []


async def test_what_a_client_chooses_is_one_line_and_has_no_key(autojump_clock):
    async def app(scope, receive, send):
        facts_of(scope).model = f"{'x' * 110}\n{KEY}"
        await PlainTextResponse("")(scope, receive, send)

    file, write = io.StringIO(), None
    write = line_writer(file)
    for line in await ask(app, f"/v1/models/{KEY}\r\nevent=forged"):
        write(line)
    text = file.getvalue()
    assert text.startswith("timestamp=")
    assert text.count("\n") == 1
    assert KEY[:12] not in text
    assert "***" in text


async def test_a_log_that_is_closed_costs_no_call():
    file = io.StringIO()
    write = line_writer(file)
    file.close()
    for line in await ask(PlainTextResponse("Hi")):
        write(line)
