"""One line of the log for each request, without its headers and its body (L8, L9)."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import TextIO, final

import attrs
import structlog
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..actors import redact_secrets
from ..wording import printable

_STATE = "callsheet.facts"
_SHOWN = 120  # characters of what a client chooses
_QUIET = frozenset(
    {"/healthz", "/readyz", "/metrics", "/api/top"}
)  # asked for all the time, by machines

WriteLine = Callable[[dict[str, object]], None]
"""Writes a line with these names and values."""


@final
@attrs.define
class RequestFacts:
    """What the handler of a request knows of it, for its line in the log.

    Args:
        request_id: the id of the request, as its response has it.
        key: the id of the key; "" without one.
        model: the model that the client names.
        troupe: the name of the troupe that made the call.
        cost_usd: what the call cost in USD; None if it is not known.
        queued_s: seconds that the call waited for its turn.
        note: what else is to be said, such as the kind of a refusal.
    """

    request_id: str = ""
    key: str = ""
    model: str = ""
    troupe: str = ""
    cost_usd: Decimal | None = None
    queued_s: float | None = None
    note: str = ""


def facts_of(scope: Scope) -> RequestFacts:
    """Return the facts of a request, which its handler fills in.

    Args:
        scope: the ASGI scope of the request.
    """
    state = scope.setdefault("state", {})
    found = state.get(_STATE)
    if not isinstance(found, RequestFacts):
        found = state[_STATE] = RequestFacts()
    return found


@final
@attrs.frozen
class RequestLog:
    """An ASGI app around another one that writes a line when each request has ended.

    Health, readiness and metrics have a line only if they fail.

    Args:
        app: the app that answers.
        write: writes one line.
    """

    app: ASGIApp
    write: WriteLine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, facts, status = trio.current_time(), facts_of(scope), 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:  # also if the client goes away, which cancels the handler
            path = str(scope["path"])
            if path not in _QUIET or not 0 < status < 400:  # noqa: PLR2004  # the first of errors
                seconds = round(trio.current_time() - begun, 3)
                self.write(dict(_line(str(scope["method"]), path, status, seconds, facts)))


def _line(
    method: str, path: str, status: int, seconds: float, facts: RequestFacts
) -> Iterator[tuple[str, object]]:
    """Yield what a line has; status 0 is that of a client that went away before its response."""
    yield from (("method", method), ("path", _shown(path)), ("status", status))
    yield "seconds", seconds
    if facts.queued_s:
        yield "queued_s", round(facts.queued_s, 3)
    for name in ("key", "model", "troupe"):
        if text := getattr(facts, name):
            yield name, _shown(text)
    if facts.cost_usd is not None:
        yield "cost_usd", str(facts.cost_usd)
    for name, text in (("note", facts.note), ("request_id", facts.request_id)):
        if text:
            yield name, _shown(text)


def _shown(text: str) -> str:
    """Return what a client has chosen on one line, without what looks like a key."""
    text = text[: 10 * _SHOWN]  # a key that this cuts is too far behind to be shown
    text = printable(str(redact_secrets(None, "", {"text": text})["text"]))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def line_writer(file: TextIO, event: str = "request") -> WriteLine:
    """Return what writes lines to a file, each with the time.

    Args:
        file: where the lines go, such as stderr.
        event: what the lines say, as their `event`.
    """
    logger = structlog.wrap_logger(
        structlog.PrintLogger(file),
        wrapper_class=structlog.BoundLogger,
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "event"]),
        ],
    ).bind()  # once: each bound logger is a reference cycle with the methods that it has cached

    def write(values: dict[str, object]) -> None:
        with suppress(OSError, ValueError):  # a log that cannot be written costs no call (R17)
            logger.msg(event, **values)

    return write
