"""The routes of the page: its files, the login, and what it shows as JSON and as a stream."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import ceil
from typing import Self, final
from urllib.parse import parse_qs

import attrs
import trio
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.responses import Response as HttpResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .access import PageAccess, address_of, comes_from_here, cookie_name, is_encrypted
from .document import to_json
from .feed import GatewayView, PageFeed
from .sessions import SESSION_S, PageSessions, TooManyAttempts, WrongKey

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES = ("page.css", "page.js", "live.js", "tables.js", "charts.js", "words.js", "icon.svg")
_STATIC = files("callsheet.gateway.page") / "static"
_MAX_FORM = 4096  # bytes of a login
_AGAIN_MS = 2000  # until a browser connects again
_LOG_OUT = '<form method="post" action="/ui/logout"><button>Log out</button></form>'

_Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


def page_routes(view: GatewayView, access: PageAccess) -> list[Route]:
    """Return the routes of the page, under `/ui` and `/api`.

    Args:
        view: the gateway that it shows.
        access: who may see it. Without an admin key, the page is there for clients on this
            machine, and answers 404 to others.
    """
    page = _Page(PageFeed(view), view, access)
    return [
        Route("/ui", page.guarded(page.home, is_page=True)),
        *(Route(path, page.guarded(page.lead, is_page=True)) for path in ("/", "/ui/")),
        Route("/ui/login", page.secured(page.log_in), methods=["GET", "POST"]),
        Route("/ui/logout", page.secured(page.log_out), methods=["POST"]),
        Route("/ui/{name}", page.secured(page.file)),
        Route("/api/reading", page.guarded(page.reading)),
        Route("/api/call", page.guarded(page.call)),
        Route("/api/events", page.guarded(page.events)),
    ]


@final
@attrs.frozen
class _Page:
    """Answers the requests of the page."""

    feed: PageFeed
    view: GatewayView
    access: PageAccess

    # ------------------------------------------------------------------------ who gets an answer

    def secured(self, handler: _Handler) -> _Handler:
        """Return a handler whose answers have the headers that keep a page safe."""

        async def answer(request: HttpRequest) -> HttpResponse:
            try:
                response = await handler(request)
            except TooManyAttempts as error:
                response = _refusal(429, str(error), retry_after_s=error.wait_s)
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return answer

    def guarded(self, handler: _Handler, *, is_page: bool = False) -> _Handler:
        """Return a handler that answers only those who may see the page."""

        async def answer(request: HttpRequest) -> HttpResponse:
            now = trio.current_time()
            access = self.access.of(request, now)
            if access == "not here":
                return _not_found()
            if access == "yes" or (not is_page and self.access.has_key(request, now)):
                return await handler(request)
            if is_page:
                return RedirectResponse("/ui/login", 303)
            return _refusal(401, "log in at /ui, or send the admin key as a bearer token")

        return self.secured(answer)

    # ------------------------------------------------------------------------ the page

    async def home(self, _request: HttpRequest) -> HttpResponse:
        """Answer with the page."""
        log_out = "" if self.access.sessions is None else _LOG_OUT
        return _html(_text("index.html").replace("{log_out}", log_out))

    async def lead(self, _request: HttpRequest) -> HttpResponse:
        """Lead a browser to the page from the addresses that people type."""
        return RedirectResponse("/ui", 303)

    async def file(self, request: HttpRequest) -> HttpResponse:
        """Answer with a style sheet, a script or a picture, which have nothing secret."""
        name = request.path_params["name"]
        if name not in _FILES:
            return _not_found()
        body, tag = _file(name)
        headers = {"cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return HttpResponse(status_code=304, headers=headers)
        return HttpResponse(body, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])

    async def log_in(self, request: HttpRequest) -> HttpResponse:
        """Show the form of the login, or check the key that it has sent."""
        sessions = self.access.sessions
        if sessions is None:
            is_here = self.access.of(request, trio.current_time()) == "yes"
            return RedirectResponse("/ui", 303) if is_here else _not_found()
        if request.method != "POST":
            return _login_page("")
        if not comes_from_here(request.headers):
            return _login_page("This form was sent by another site.", 403)
        key = await _key_in_form(request)
        if key is None:
            return _login_page("This is no login.", 400)
        return self._log_in(request, sessions, key)

    def _log_in(self, request: HttpRequest, sessions: PageSessions, key: str) -> HttpResponse:
        try:
            token = sessions.log_in(key, address_of(request), trio.current_time())
        except WrongKey:
            return _login_page("This is no admin key.", 401)
        except TooManyAttempts as error:
            words = (
                f"Too many wrong keys came from your address. Try again in {error.wait_s:.0f} s."
            )
            return _login_page(words, 429, retry_after_s=error.wait_s)
        response = RedirectResponse("/ui", 303)
        response.set_cookie(
            cookie_name(request),
            token,
            max_age=int(SESSION_S),
            secure=is_encrypted(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def log_out(self, request: HttpRequest) -> HttpResponse:
        """End the session."""
        if not comes_from_here(request.headers):
            return _refusal(403, "this form was sent by another site")
        name = cookie_name(request)
        if self.access.sessions is not None:
            self.access.sessions.log_out(request.cookies.get(name, ""))
        response = RedirectResponse("/ui/login", 303)
        response.delete_cookie(name, secure=name.startswith("__Host-"), samesite="strict")
        return response

    # ------------------------------------------------------------------------ what it shows

    async def reading(self, _request: HttpRequest) -> HttpResponse:
        """Answer with the document of this second."""
        return HttpResponse(await self.feed.latest(), media_type="application/json")

    async def call(self, request: HttpRequest) -> HttpResponse:
        """Answer with the timeline of the call that the parameter `id` names."""
        name = request.query_params.get("id", "")
        found = self.view.recorder.timeline(name, trio.current_time())
        if found is None:
            return _refusal(404, "no call with this id is kept: it is too old, or never was")
        return HttpResponse(to_json(found), media_type="application/json")

    async def events(self, request: HttpRequest) -> HttpResponse:
        """Answer with a stream of documents."""
        if not self.feed.has_room:
            return _refusal(503, "too many pages are open", retry_after_s=10.0)
        ends_at = self.access.ends_at(request, trio.current_time())

        def is_open() -> bool:  # a bearer token has no end; nor has the page of this machine
            return ends_at is None or self.access.ends_at(request, trio.current_time()) is not None

        return _EventStream(self.feed, _Documents(self.feed, self.view.draining, is_open))


@final
class _Documents:
    """Iterates over the parts of a stream of documents; the last one says why it ends.

    Args:
        feed: makes the documents that are sent.
        draining: set when the gateway takes no more calls.
        is_open: returns whether the viewer may see the next document.
    """

    def __init__(self, feed: PageFeed, draining: trio.Event, is_open: Callable[[], bool]) -> None:
        self._feed = feed
        self._draining = draining
        self._is_open = is_open
        self._parts = 0
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        if self._parts:
            with trio.move_on_at(self._feed.next_at):
                await self._draining.wait()
        self._parts += 1
        self._is_over = self._draining.is_set() or not self._is_open()
        if self._is_over:
            reason = "draining" if self._draining.is_set() else "login"
            return f"event: {reason}\ndata: {{}}\n\n".encode()
        document = await self._feed.latest()
        return f"retry: {_AGAIN_MS}\nevent: reading\ndata: ".encode() + document + b"\n\n"


@final
class _EventStream(StreamingResponse):
    """A stream of documents for one viewer, who is counted while it lasts."""

    def __init__(self, feed: PageFeed, documents: _Documents) -> None:
        headers = {"x-accel-buffering": "no"}
        super().__init__(documents, media_type="text/event-stream", headers=headers)
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until the viewer has gone."""
        with self._feed.viewer():
            await super().__call__(scope, receive, send)


async def _key_in_form(request: HttpRequest) -> str | None:
    """Return the member `key` of a small form; None if there is none."""
    body = bytearray()
    try:
        async with aclosing(request.stream()) as parts:
            async for part in parts:
                body += part
                if len(body) > _MAX_FORM:
                    return None
    except ClientDisconnect:
        return None
    return parse_qs(body.decode("utf-8", "replace")).get("key", [None])[0]


def _login_page(problem: str, status: int = 200, *, retry_after_s: float = 0.0) -> HttpResponse:
    response = _html(_text("login.html").replace("{problem}", escape(problem)), status)
    if retry_after_s:
        response.headers["retry-after"] = str(ceil(retry_after_s))
    return response


def _html(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text, status, media_type=_TYPES["html"])


def _refusal(status: int, words: str, *, retry_after_s: float = 0.0) -> HttpResponse:
    headers = {"retry-after": str(ceil(retry_after_s))} if retry_after_s else None
    return JSONResponse({"error": words}, status, headers)


def _not_found() -> HttpResponse:
    return _refusal(404, "there is nothing at this address")


@cache
def _file(name: str) -> tuple[bytes, str]:
    """Return a file of the page, and the tag of its version."""
    body = (_STATIC / name).read_bytes()
    return body, f'"{sha256(body).hexdigest()[:16]}"'


def _text(name: str) -> str:
    return _file(name)[0].decode()
