"""The control calls of a Batch API over HTTP. Each call is one attempt; the driver retries."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import TypeVar, final

import attrs
import httpx
import trio

from ..errors import AuthenticationFailed, MalformedResponse
from ..http import HttpResponse, ResponseReader, retry_after_s, transport_for
from ..json_value import Json
from ..request import AttemptFailed, Failures
from ..vendors import BatchDialect, BatchView, ControlCall, Endpoint, Timeouts, loads

_MAX_LINE_BYTES = 256 * 1024 * 1024  # 2,048 embeddings of 3,072 floats are 130 MB


class LineTooLong(ValueError):
    """A line is longer than any result can be."""


@final
class LineSplitter:
    """Splits a file that arrives in pieces into lines, without empty ones. Pure (R14).

    Lines end in a line feed and nothing else: JSON may contain other line separators.

    Args:
        max_bytes: the length of the longest line.
    """

    def __init__(self, max_bytes: int = _MAX_LINE_BYTES) -> None:
        self._max = max_bytes
        self._tail: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece, and return the lines that are complete now.

        Raises:
            LineTooLong: a line is longer than `max_bytes`.
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
        """Return the last line, if it did not end in a line feed."""
        rest = b"".join(self._tail)
        self._tail, self._size = [], 0
        return [rest] if rest.strip() else []


T = TypeVar("T")

_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",
    "user-agent": f"callsheet/{version('callsheet')}",
}

_GOOD = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
_CONNECTIONS = 10  # control calls in flight
_MAX_FILE_BYTES = 16 * 1024**3  # of results: 50,000 embeddings of 3,072 floats are 3 GB
_MAX_BYTES = 64 * 1024 * 1024  # of a response that is not a file
_MAX_RESULTS_BYTES = 1024**3  # of a response that contains the results of a batch
_MAX_PAGES = 100  # of the list of batches, the newest first


class _Body(ResponseReader):
    """The body of a response, and its headers."""

    def __init__(self, response: HttpResponse, start: float) -> None:
        super().__init__(response, start)
        self.headers = response.headers


class Control:
    """Makes the control calls of one endpoint's Batch API.

    Args:
        endpoint: the endpoint whose Batch API is called.
        dialect: the Batch API that it speaks.
        timeouts: how long a call may be silent.
        transport: replaces the network, in tests.
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
        self._max_bytes = _MAX_BYTES if dialect.divide is None else _MAX_RESULTS_BYTES
        self._extensions = {"timeout": timeouts.by_httpx_name}
        self._transport = transport or transport_for(endpoint, _CONNECTIONS)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def prepare(self, content: bytes) -> str:
        """Make the first call of a batch, such as the upload of its input.

        Args:
            content: the lines of the batch.

        Returns:
            The mark that `create` needs, such as the id of the uploaded file.

        Raises:
            AttemptFailed: the call failed.
        """
        body, _ = await self._ask(self._dialect.prepare(content))
        return self._read(partial(self._dialect.read_mark, body))

    async def create(
        self, *, mark: str, tag: str, path: str, model: str, content: bytes
    ) -> BatchView:
        """Create a batch.

        Args:
            mark: what `prepare` returned.
            tag: Callsheet's id of the batch, which the provider stores if it can.
            path: the path of the requests.
            model: the model of the requests.
            content: the lines of the batch.

        Raises:
            AttemptFailed: the call failed. The batch may exist all the same.
        """
        call = self._dialect.create(mark=mark, tag=tag, path=path, model=model, content=content)
        return await self._ask_for_batch(call)

    async def poll(self, batch_id: str) -> BatchView:
        """Return the state of a batch.

        Raises:
            AttemptFailed: the call failed.
        """
        return await self._ask_for_batch(self._dialect.poll(batch_id))

    async def cancel(self, batch_id: str) -> BatchView | None:
        """Cancel a batch, if the provider can.

        Returns:
            Its state; None if the provider does not report it.

        Raises:
            AttemptFailed: the call failed, and the batch may go on.
        """
        call = self._dialect.cancel(batch_id)
        if call is None:
            return None
        body, _ = await self._ask(call)
        try:
            return self._dialect.read_batch(body)
        except ValueError:  # Gemini sends an empty object
            return None

    async def batches(self, mark: str) -> AsyncGenerator[BatchView]:
        """Yield the batches that may have been created since a mark, the newest first.

        Raises:
            AttemptFailed: the list cannot be read to its end.
        """
        call: ControlCall | None = self._dialect.list()
        for _ in range(_MAX_PAGES):
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
        """Yield the lines of a file of results. Only one piece of the file is in memory.

        Where the results are one JSON text, all of it is.

        Raises:
            AttemptFailed: the file cannot be read to its end.
        """
        if (divide := self._dialect.divide) is not None:
            document, _ = await self._ask(self._dialect.fetch(output))
            for line in divide(document):
                yield line
            return
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
                document = loads(await body.read_all(self._max_bytes))
                return document, body.headers
        except httpx.RequestError as error:
            raise self._failures.no_response(error, 1) from self._failures.as_cause(error)
        except ValueError as error:
            raise self._malformed(str(error)) from None

    @asynccontextmanager
    async def _sent(self, call: ControlCall) -> AsyncGenerator["_Body"]:
        """Send a call. httpx's client would follow redirects and decode bodies."""
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
        response = HttpResponse.of(await self._transport.handle_async_request(request))
        try:
            if response.status not in _GOOD:
                raise await self._failures.refused(response, self._form, 1)
            async with _Body(response, trio.current_time()) as body:
                yield body
        finally:
            await response.aclose()

    def _headers(self, call: ControlCall) -> dict[str, str]:
        try:
            headers = _HEADERS | self._endpoint.auth_headers()
        except Exception as error:  # noqa: BLE001  # the user's function may raise anything
            # Only its type: its text may contain the key (L8).
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
        text = f"the response of {self._endpoint.host} is not one of a Batch API: {why}"
        return AttemptFailed(MalformedResponse(self._endpoint.scrub(text), billed="maybe"))
