"""The calls of a Batch API over HTTP: each once, and what came of it. It retries nothing.

Lines out of bytes that come in any pieces. Pure (R14).
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import TypeVar, final

import attrs
import httpx
import trio

from ..errors import AuthenticationFailed, MalformedAnswer
from ..http import HttpResponse, ResponseReader, retry_after_s, transport_for
from ..messages import Json
from ..request import AttemptFailed, Failures
from ..vendors import BatchDialect, BatchView, ControlCall, Endpoint, Timeouts, loads

__all__ = [
    "Control",
    "LineSplitter",
    "LineTooLong",
]


_MAX_LINE_BYTES = 256 * 1024 * 1024  # 2,048 embeddings of 3,072 floats are 130 MB


class LineTooLong(ValueError):
    """A line is longer than any result is."""


@final
class LineSplitter:
    """Takes a file's bytes in any pieces, and gives its lines, of which none is empty.

    Lines end in a line feed and nothing else: JSON may have other line separators in its texts.

    Args:
        max_bytes: that one line may have.
    """

    def __init__(self, max_bytes: int = _MAX_LINE_BYTES) -> None:
        self._max = max_bytes
        self._tail: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are whole now.

        Raises:
            LineTooLong: one has no end.
        """
        first, *more = piece.split(b"\n")
        self._tail.append(first)
        self._size += len(first)
        if self._size > self._max:
            raise LineTooLong(f"a line has more than {self._max} bytes")
        if not more:
            return []
        lines = [b"".join(self._tail), *more[:-1]]
        self._tail, self._size = [more[-1]], len(more[-1])
        return [line for line in lines if line.strip()]

    def end(self) -> list[bytes]:
        """What is left when the file has ended."""
        rest = b"".join(self._tail)
        self._tail, self._size = [], 0
        return [rest] if rest.strip() else []


T = TypeVar("T")

_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",
    "user-agent": f"callsheet/{version('callsheet')}",
}

_CONNECTIONS = 10  # control calls at a time
_MAX_FILE_BYTES = 16 * 1024**3  # of results: 50,000 embeddings of 3,072 floats are 3 GB
_MAX_BYTES = 64 * 1024 * 1024  # of an answer that is no file
_MOST_PAGES = 100  # of the list, the newest batches first


class _Body(ResponseReader):
    """The body of an answer, and its headers."""

    def __init__(self, answer: HttpResponse, start: float) -> None:
        super().__init__(answer, start)
        self.headers = answer.headers


class Control:
    """Makes the control calls of one endpoint's Batch API.

    Args:
        endpoint: whom to ask.
        dialect: how.
        timeouts: how long a call may be silent.
        transport: takes the place of the network, in tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        dialect: BatchDialect,
        timeouts: Timeouts,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._dialect = dialect
        self._failures = Failures(endpoint)
        self._form = next(iter(endpoint.vendor.formats.values()))  # reads errors
        self._extensions = {"timeout": timeouts.by_httpx_name}
        self._transport = transport or transport_for(endpoint, _CONNECTIONS)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def prepare(self, content: bytes) -> str:
        """Take the first step of a batch; returns its mark.

        Raises:
            Refusal: it was not taken.
        """
        body, _ = await self._ask(self._dialect.prepare(content))
        return self._read(partial(self._dialect.read_mark, body))

    async def create(self, *, mark: str, tag: str, path: str, content: bytes) -> BatchView:
        """Make a batch.

        Raises:
            Refusal: nobody knows of one; see `may_have_made`.
        """
        call = self._dialect.create(mark=mark, tag=tag, path=path, content=content)
        return await self._ask_for_batch(call)

    async def poll(self, batch_id: str) -> BatchView:
        """How a batch stands.

        Raises:
            Refusal: it does not say.
        """
        return await self._ask_for_batch(self._dialect.poll(batch_id))

    async def cancel(self, batch_id: str) -> BatchView:
        """End a batch.

        Raises:
            Refusal: it goes on.
        """
        return await self._ask_for_batch(self._dialect.cancel(batch_id))

    async def batches(self, mark: str) -> AsyncGenerator[BatchView]:
        """All that were made since a mark, as far as that can be told; the newest first.

        Raises:
            Refusal: the list is not to be had, or not to its end.
        """
        call: ControlCall | None = self._dialect.list()
        for _ in range(_MOST_PAGES):
            if call is None:
                return
            body, _headers = await self._ask(call)
            page = self._read(partial(self._dialect.read_page, body))
            for view in page.views:
                if self._dialect.is_older(view, mark=mark):
                    return
                yield view
            call = page.following

    async def lines(self, output: str) -> AsyncGenerator[bytes]:
        """The lines of results, as they come; no more of them is in memory than one piece has.

        Raises:
            Refusal: they are not to be had, or not to their end.
        """
        splitter = LineSplitter()
        try:
            async with self._sent(self._dialect.fetch(output)) as body:
                while piece := await body.read(_MAX_FILE_BYTES):
                    for line in splitter.feed(piece):
                        yield line
                for line in splitter.end():
                    yield line
        except httpx.RequestError as error:
            raise self._failures.no_response(error, 1) from self._failures.as_cause(error)
        except ValueError as error:
            raise self._malformed(str(error)) from None

    async def _ask_for_batch(self, call: ControlCall) -> BatchView:
        body, headers = await self._ask(call)
        view = self._read(partial(self._dialect.read_batch, body))
        return attrs.evolve(view, wait_s=retry_after_s(headers))

    async def _ask(self, call: ControlCall) -> tuple[Json, Mapping[str, str]]:
        try:
            async with self._sent(call) as body:
                said = loads(await body.read_all(_MAX_BYTES))
                return said, body.headers
        except httpx.RequestError as error:
            raise self._failures.no_response(error, 1) from self._failures.as_cause(error)
        except ValueError as error:
            raise self._malformed(str(error)) from None

    @asynccontextmanager
    async def _sent(self, call: ControlCall) -> AsyncGenerator["_Body"]:
        """Straight over the transport: a client of httpx's would follow, keep and decode."""
        request = httpx.Request(
            call.method,
            self._endpoint.base_url + call.path,
            params={**self._endpoint.query, **call.query},
            headers=self._headers(call),
            content=call.body,
            data=call.form or None,
            files=None
            if call.upload is None
            else {"file": ("callsheet.jsonl", call.upload, "application/jsonl")},
            extensions=self._extensions,
        )
        answer = HttpResponse.of(await self._transport.handle_async_request(request))
        try:
            if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                raise await self._failures.refused(answer, self._form, 1, streamed=False)
            async with _Body(answer, trio.current_time()) as body:
                yield body
        finally:
            await answer.aclose()

    def _headers(self, call: ControlCall) -> dict[str, str]:
        try:
            headers = _HEADERS | self._endpoint.auth_headers()
        except Exception as error:  # noqa: BLE001  # a function of the user's may raise anything
            # Its type only: its text may have the key in it (L8).
            text = f"nothing was sent: api_key gave no key ({type(error).__name__})"
            raise AttemptFailed(AuthenticationFailed(text), is_final=True) from None
        if call.body is not None:
            headers["content-type"] = "application/json"
        return headers

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except ValueError as error:
            raise self._malformed(str(error)) from None

    def _malformed(self, why: str) -> AttemptFailed:
        text = f"{self._endpoint.host} answered, but not as a Batch API does: {why}"
        return AttemptFailed(MalformedAnswer(self._endpoint.scrub(text), billed="maybe"))
