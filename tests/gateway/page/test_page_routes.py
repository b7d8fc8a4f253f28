"""What the page's addresses answer, to whom, and with which headers."""

import json
import re
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import pytest
import trio
from page_demo import KEY
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest

from callsheet.actors import CallContext, CallEvent, LedgerUnavailable, Reading
from callsheet.gateway import page
from callsheet.gateway.page import CallRecorder, PageAccess, PageSessions, feed, page_routes, routes
from callsheet.runtime import AskTimedOut, Verdict

STATIC = Path(page.__file__).parent / "static"
LOGIN = {"key": KEY}
PAGES = ("/ui", "/api/reading", "/api/events", "/api/call?id=req-1")


@attrs.define(eq=False, slots=False)
class QuietGateway:
    """A gateway without calls, which counts how often it is read."""

    recorder: CallRecorder = attrs.field(factory=CallRecorder)
    started_at: float = attrs.field(factory=trio.current_time)
    draining: trio.Event = attrs.field(factory=trio.Event)
    takes_s: float = 0.0
    readings_made: int = 0
    costs_made: int = 0

    def tenants(self):
        return []

    async def readings(self):
        self.readings_made += 1
        await trio.sleep(self.takes_s)
        return {"main": Reading(at=trio.current_time())}

    async def costs(self):
        self.costs_made += 1


@asynccontextmanager
async def browser(view, *, admin_key=KEY, address="192.0.2.1", url="http://gateway.test"):
    """A client with cookies, at some address, whose requests reach the routes."""
    access = PageAccess(PageSessions(admin_key) if admin_key else None)
    app = Starlette(routes=page_routes(view, access))
    transport = httpx.ASGITransport(app, client=(address, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        yield client


@pytest.fixture
async def view():
    return QuietGateway()


async def test_a_login_opens_the_page_until_the_log_out(autojump_clock, view):
    async with browser(view) as client:
        sent_on = await client.get("/ui")
        assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/ui/login")
        form = await client.get("/ui/login")
        assert 'type="password"' in form.text
        opened = await client.post("/ui/login", data=LOGIN)
        assert (opened.status_code, opened.headers["location"]) == (303, "/ui")
        shown = await client.get("/ui")
        assert "<h1>Callsheet gateway</h1>" in shown.text
        assert "Log out" in shown.text
        reading = await client.get("/api/reading")
        assert reading.json()["troupes"][0]["name"] == "main"
        token = client.cookies["callsheet_session"]
        ended = await client.post("/ui/logout")
        assert (ended.status_code, ended.headers["location"]) == (303, "/ui/login")
        assert "callsheet_session" not in client.cookies
        again = await client.get("/api/reading", headers={"cookie": f"callsheet_session={token}"})
        assert again.status_code == 401


@pytest.mark.parametrize("path", ["/", "/ui/"])
async def test_addresses_that_people_type_lead_to_the_page(autojump_clock, view, path):
    async with browser(view) as client:
        assert (await client.get(path)).headers["location"] == "/ui/login"
        await client.post("/ui/login", data=LOGIN)
        assert (await client.get(path)).headers["location"] == "/ui"
    async with browser(view, admin_key="") as client:
        assert (await client.get(path)).status_code == 404


async def test_the_cookie_is_for_no_script_no_other_site_and_no_plain_connection(
    autojump_clock, view
):
    async with browser(view) as client:
        cookie = (await client.post("/ui/login", data=LOGIN)).headers["set-cookie"]
        assert KEY not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    async with browser(view, url="https://gateway.test") as client:
        cookie = (await client.post("/ui/login", data=LOGIN)).headers["set-cookie"]
        assert cookie.startswith("__Host-callsheet_session=")
        assert "Secure" in cookie.split("; ")


async def test_a_session_ends_by_itself(autojump_clock, view):
    async with browser(view) as client:
        await client.post("/ui/login", data=LOGIN)
        await trio.sleep(12 * 3600 - 1)
        assert (await client.get("/api/reading")).status_code == 200
        await trio.sleep(1)
        assert (await client.get("/api/reading")).status_code == 401


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_session_nothing_is_shown(autojump_clock, view, path):
    async with browser(view) as client:
        for cookie in ("", "callsheet_session=", "callsheet_session=guess"):
            answer = await client.get(path, headers={"cookie": cookie})
            assert answer.status_code == (303 if path == "/ui" else 401)
    assert view.readings_made == 0


async def test_wrong_keys_are_refused_in_words_and_slowed_down(autojump_clock, view):
    async with browser(view) as client:
        for _ in range(3):
            wrong = await client.post("/ui/login", data={"key": "<script>"})
            assert wrong.status_code == 401
            assert "This is no admin key." in wrong.text
            assert "<script>" not in wrong.text
        slowed = await client.post("/ui/login", data=LOGIN)
        assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "1")
        assert "Try again in 1 s." in slowed.text
        by_token = await client.get("/api/reading", headers={"authorization": f"Bearer {KEY}"})
        assert (by_token.status_code, by_token.headers["retry-after"]) == (429, "1")
        await trio.sleep(1)
        assert (await client.post("/ui/login", data=LOGIN)).status_code == 303


@pytest.mark.parametrize("body", [b"", b"x=1", b"\xff\xfe", b"key"])
async def test_what_is_no_login_is_refused(autojump_clock, view, body):
    async with browser(view) as client:
        answer = await client.post("/ui/login", content=body)
        assert answer.status_code == 400
        assert "This is no login." in answer.text


async def test_a_login_is_read_up_to_a_bound():
    received = []

    async def receive():
        received.append(1)
        return {"type": "http.request", "body": b"key=" + b"a" * 996, "more_body": True}

    request = HttpRequest({"type": "http", "method": "POST", "headers": []}, receive)
    assert await routes._key_in_form(request) is None
    assert len(received) == 5


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://gateway.test"}, 303),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({}, 303),
    ],
)
async def test_forms_of_other_sites_are_refused(autojump_clock, view, headers, status):
    async with browser(view) as client:
        assert (await client.post("/ui/login", data=LOGIN, headers=headers)).status_code == status
        assert (await client.post("/ui/logout", headers=headers)).status_code == status


async def test_the_admin_key_opens_the_api_to_programs_and_not_the_page(autojump_clock, view):
    async with browser(view) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        assert (await client.get("/api/reading", headers=headers)).status_code == 200
        assert (await client.get("/ui", headers=headers)).status_code == 303
        headers = {"authorization": f"Basic {KEY}"}
        assert (await client.get("/api/reading", headers=headers)).status_code == 401
        assert "set-cookie" not in (await client.get("/api/reading", headers=headers)).headers


@pytest.mark.parametrize(
    ("address", "host", "headers", "is_there"),
    [
        ("127.0.0.1", "127.0.0.1:4000", {}, True),
        ("127.0.0.1", "localhost:4000", {}, True),
        ("::1", "[::1]:4000", {}, True),
        ("192.0.2.1", "127.0.0.1:4000", {}, False),
        ("127.0.0.1", "evil.test:4000", {}, False),  # DNS rebinding
        ("127.0.0.1", "127.0.0.1:4000", {"x-forwarded-for": "192.0.2.1"}, False),
    ],
)
async def test_without_an_admin_key_only_this_machine_has_a_page(
    autojump_clock, address, host, headers, is_there
):
    at = {"admin_key": "", "address": address, "url": f"http://{host}"}
    async with browser(QuietGateway(), **at) as client:
        for path in ("/ui", "/api/reading"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == (200 if is_there else 404)
        login = await client.get("/ui/login", headers=headers)
        assert login.status_code == (303 if is_there else 404)
        if is_there:
            assert "Log out" not in (await client.get("/ui")).text


@pytest.mark.parametrize("host", ["[::1", "", "[", "a b", "127.0.0.1:x", ":4000", "\xff"])
async def test_a_host_that_is_none_has_no_page(autojump_clock, host):
    async with browser(QuietGateway(), admin_key="", address="127.0.0.1") as client:
        headers = {"host": host.encode("latin-1")}
        assert (await client.get("/api/reading", headers=headers)).status_code == 404


async def test_every_answer_has_the_headers_that_keep_the_page_safe(autojump_clock, view):
    async with browser(view) as client:
        before = [
            await client.get(path) for path in (*PAGES, "/ui/login", "/ui/none", "/ui/page.js")
        ]
        login = await client.post("/ui/login", data=LOGIN)
        after = [await client.get(path) for path in ("/ui", "/api/reading", "/api/call?id=x")]
    for answer in (*before, login, *after):
        headers = answer.headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        is_file = answer.url.path == "/ui/page.js"
        assert headers["cache-control"] == ("no-cache" if is_file else "no-store")


async def test_files_are_served_by_name_and_from_nowhere_else(autojump_clock, view):
    async with browser(view) as client:
        for path in STATIC.iterdir():
            answer = await client.get(f"/ui/{path.name}")
            is_page = path.suffix == ".html"
            assert answer.status_code == (404 if is_page else 200), path.name
            if not is_page:
                assert answer.content == path.read_bytes()
                tag = {"if-none-match": answer.headers["etag"]}
                assert (await client.get(f"/ui/{path.name}", headers=tag)).status_code == 304
        for name in ("..%2Froutes.py", "routes.py", "%2Fetc%2Fpasswd", "a" * 9000):
            assert (await client.get(f"/ui/{name}")).status_code == 404


def test_the_files_hold_to_the_policy():
    """No inline script or style, nothing from elsewhere, and no markup made of data."""
    for path in STATIC.iterdir():
        text = path.read_text()
        if path.suffix == ".html":
            assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?![^>]* src=)", text)
            assert not re.search(r'(?:src|href)="(?!/ui|#)', text)
        if path.suffix == ".js":
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
        found = set(re.findall(r"https?://[^\"' )]+", text))
        assert found <= {"http://www.w3.org/2000/svg"}, path.name


# ------------------------------------------------------------------------------ the stream


def parts_of(stream):
    """The names and data of a stream of server-sent events."""
    found = re.findall(r"^event: (\w+)\ndata: (.*)$", stream, re.MULTILINE)
    return [(name, json.loads(data)) for name, data in found]


async def stream_of(client, headers=None):
    return await client.get("/api/events", headers=headers or {})


async def test_a_stream_has_a_document_each_second_and_ends_when_the_gateway_drains(
    autojump_clock, view
):
    async with browser(view) as client, trio.open_nursery() as nursery:
        await client.post("/ui/login", data=LOGIN)

        @nursery.start_soon
        async def drain():
            await trio.sleep(3.5)
            view.draining.set()

        answer = await stream_of(client)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 2000\n")
    names = [name for name, _ in parts_of(answer.text)]
    assert names == ["reading"] * 4 + ["draining"]
    assert {data["state"] for name, data in parts_of(answer.text) if name == "reading"} == {
        "serving"
    }
    assert trio.current_time() - view.started_at == pytest.approx(3.5)


async def test_viewers_share_readings_and_without_viewers_there_are_none(autojump_clock, view):
    async with browser(view) as client, trio.open_nursery() as nursery:
        await client.post("/ui/login", data=LOGIN)
        for _ in range(10):
            nursery.start_soon(stream_of, client)
        await trio.sleep(9.5)
        assert view.readings_made == 10
        assert view.costs_made == 2
        nursery.cancel_scope.cancel()
    await trio.sleep(60)
    assert view.readings_made == 10


async def test_readings_that_take_long_are_made_more_rarely(autojump_clock):
    view = QuietGateway(takes_s=0.5)
    async with browser(view) as client:
        await client.post("/ui/login", data=LOGIN)
        with trio.move_on_after(100):
            await stream_of(client)
    assert 9 <= view.readings_made <= 11


@pytest.mark.parametrize(
    "error", [AskTimedOut("ledger", Verdict.NOT_STARTED), LedgerUnavailable("disk full"), None]
)
async def test_a_ledger_that_does_not_reply_is_shown_as_it_was(autojump_clock, view, error):
    async def costs():
        await trio.sleep(0 if error else 60)
        raise error

    async with browser(view) as client:
        await client.post("/ui/login", data=LOGIN)
        assert (await client.get("/api/reading")).status_code == 200
        view.costs = costs
        await trio.sleep(5)
        began = trio.current_time()
        assert (await client.get("/api/reading")).status_code == 200
        assert trio.current_time() - began <= 1


async def test_a_viewer_that_goes_away_during_a_reading_leaves_it_to_the_next(autojump_clock):
    view, answers = QuietGateway(takes_s=0.5), []
    async with browser(view) as client, trio.open_nursery() as nursery:
        await client.post("/ui/login", data=LOGIN)

        @nursery.start_soon
        async def wait():
            await trio.sleep(0.1)
            answers.append(await client.get("/api/reading"))

        with trio.move_on_after(0.2):
            await client.get("/api/reading")
    assert [answer.status_code for answer in answers] == [200]
    assert trio.current_time() - view.started_at == pytest.approx(0.7)


async def test_a_stream_ends_with_its_session(autojump_clock, view):
    async with browser(view) as client, trio.open_nursery() as nursery:
        await client.post("/ui/login", data=LOGIN)

        @nursery.start_soon
        async def leave():
            await trio.sleep(2.5)
            await client.post("/ui/logout")

        cookie = {"cookie": f"callsheet_session={client.cookies['callsheet_session']}"}
        names = [name for name, _ in parts_of((await stream_of(client, cookie)).text)]
    assert names == ["reading"] * 3 + ["login"]


async def test_viewers_are_bounded(autojump_clock, view, monkeypatch):
    monkeypatch.setattr(feed, "_MAX_VIEWERS", 2)
    async with browser(view) as client, trio.open_nursery() as nursery:
        await client.post("/ui/login", data=LOGIN)
        for _ in range(2):
            nursery.start_soon(stream_of, client)
        await trio.sleep(1)
        refused = await stream_of(client)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        nursery.cancel_scope.cancel()


async def test_one_call_is_found_by_its_id(autojump_clock, view):
    observe = view.recorder.observer("main")
    observe(CallEvent(stage="asked", at=0.0, context=CallContext("req/1 ä&"), model="gpt-5-nano"))
    async with browser(view) as client:
        await client.post("/ui/login", data=LOGIN)
        found = await client.get("/api/call", params={"id": "req/1 ä&"})
        assert found.json()["summary"]["state"] == "open"
        missing = await client.get("/api/call", params={"id": "req-2"})
        assert missing.status_code == 404
        assert "no call with this id is kept" in missing.json()["error"]
