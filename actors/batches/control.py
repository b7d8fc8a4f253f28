"""The calls of a Batch API over HTTP: each once, and what came of it. It retries nothing."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TypeVar, cast

import attrs
import httpx

from ..client import transport_for
from ..endpoint import Endpoint, Timeouts
from ..errors import AuthenticationFailed, MalformedAnswer
from ..failures import Failures, Refusal
from ..messages import Json
from ..retry import retry_after_s
from ..way import HttpAnswer
from ..wire import loads
from .dialect import BatchDialect, BatchView, ControlCall
from .splitting import LineSplitter, LineTooLong

__all__ = ["Control"]

T = TypeVar("T")

_CONNECTIONS = 10  # control calls at a time
_MAX_BYTES = 64 * 1024 * 1024  # of an answer that is no file
_MOST_PAGES = 100  # of the list, the newest batches first


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
        self._client = httpx.AsyncClient(
            transport=transport or transport_for(endpoint, _CONNECTIONS),
            follow_redirects=False,  # wherever one leads, the key does not go there (L8)
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

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
            async with self._sent(self._dialect.fetch(output)) as response:
                async with aclosing(_pieces(response)) as pieces:
                    async for piece in pieces:
                        for line in splitter.feed(piece):
                            yield line
                for line in splitter.end():
                    yield line
        except (httpx.RequestError, httpx.StreamError) as error:
            raise self._broken(error) from self._failures.as_cause(error)
        except LineTooLong as error:
            raise self._malformed(str(error)) from None

    async def _ask_for_batch(self, call: ControlCall) -> BatchView:
        body, headers = await self._ask(call)
        view = self._read(partial(self._dialect.read_batch, body))
        return attrs.evolve(view, wait_s=retry_after_s(headers))

    async def _ask(self, call: ControlCall) -> tuple[Json, Mapping[str, str]]:
        raw = bytearray()
        try:
            async with self._sent(call) as response:
                async with aclosing(_pieces(response)) as pieces:
                    async for piece in pieces:
                        raw += piece
                        if len(raw) > _MAX_BYTES:
                            raise self._malformed(f"it has more than {_MAX_BYTES} bytes")
                return self._read(partial(loads, bytes(raw))), response.headers
        except (httpx.RequestError, httpx.StreamError) as error:
            raise self._broken(error) from self._failures.as_cause(error)

    @asynccontextmanager
    async def _sent(self, call: ControlCall) -> AsyncGenerator[httpx.Response]:
        request = self._client.build_request(
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
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code not in (HTTPStatus.OK, HTTPStatus.CREATED):
                answer = HttpAnswer.of(response)
                raise await self._failures.refused(answer, self._form, 1, streamed=False)
            yield response
        finally:
            await response.aclose()

    def _headers(self, call: ControlCall) -> dict[str, str]:
        try:
            headers = self._endpoint.auth_headers()
        except Exception as error:  # noqa: BLE001  # a function of the user's may raise anything
            # Its type only: its text may have the key in it (L8).
            text = f"nothing was sent: api_key gave no key ({type(error).__name__})"
            raise Refusal(AuthenticationFailed(text), is_final=True) from None
        if call.body is not None:
            headers["content-type"] = "application/json"
        return headers

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except ValueError as error:
            raise self._malformed(str(error)) from None

    def _broken(self, error: httpx.RequestError | httpx.StreamError) -> Refusal:
        if isinstance(error, httpx.RequestError):
            return self._failures.no_response(error, 1)
        return self._malformed("it could not be read")

    def _malformed(self, why: str) -> Refusal:
        text = f"{self._endpoint.host} answered, but not as a Batch API does: {why}"
        return Refusal(MalformedAnswer(self._endpoint.scrub(text), billed="maybe"))


def _pieces(response: httpx.Response) -> AsyncGenerator[bytes]:
    """The body's; httpx does not say that it is a generator, which has to be closed."""
    return cast("AsyncGenerator[bytes]", response.aiter_bytes())
