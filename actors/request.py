"""Makes the calls: HTTP, retries, deadlines, typed errors, usage and cost."""

import os
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import cast

import attrs
import httpx
import trio

from ..runtime import Actor, ActorCrashed, AskFailed, AskTimedOut, handles
from .endpoint import Endpoint, Timeouts
from .errors import (
    BadRequest,
    CallFailed,
    ConnectionFailed,
    MalformedAnswer,
    ProviderUnavailable,
    RateLimited,
)
from .events import CallEvent, Observer, Stage, ignore
from .lanes import LanedTransport, proxy_for
from .messages import Complete, Request, Response, Usage
from .prices import PriceBook, default_prices
from .refusal import TRANSIENT, classify
from .retry import RetryPolicy, retry_after_s
from .wire import Answer, ApiError, Malformed, dumps, loads

__all__ = ["RequestActor"]

_MESSAGE_CHARS = 300  # of a provider's error text: enough to see what it is about


@attrs.frozen
class _Refusal(Exception):
    """One attempt failed.

    Args:
        error: what the caller gets if it was the last attempt.
        is_final: whether another attempt could only fail the same way.
        server_s: how long the provider asks one to wait, in seconds.
        throttled: the provider said "too fast", which concerns everybody.
    """

    error: CallFailed
    is_final: bool = False
    server_s: float | None = None
    throttled: bool = False


class RequestActor(Actor):
    """Asks the provider, as often as the one retry budget allows (L2), and answers the asker.

    It runs up to its spawned ``concurrency`` of calls at a time. The runtime cancels a call whose
    asker has gone or whose deadline has passed, which closes its connection (L1, R4).

    Args:
        endpoint: where the provider is.
        retry: how often and how late to try again.
        timeouts: how long one attempt may be silent.
        prices: what models cost.
        connections: how many may be open at a time; the `concurrency` it is spawned with.
        transport: takes the place of the network, in tests.
        observer: is told of every attempt.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        prices: PriceBook | None = None,
        connections: int = 100,
        transport: httpx.AsyncBaseTransport | None = None,
        observer: Observer = ignore,
    ) -> None:
        self._endpoint = endpoint
        self._retry = retry or RetryPolicy()
        self._prices = prices or default_prices()
        self._observer = observer
        timeouts = timeouts or Timeouts()
        proxy = None if endpoint.is_loopback else proxy_for(endpoint.base_url)
        self._client = httpx.AsyncClient(
            transport=transport or LanedTransport(connections, proxy=proxy),
            timeout=httpx.Timeout(
                None, connect=timeouts.connect_s, read=timeouts.first_byte_s, write=timeouts.write_s
            ),
            trust_env=False,  # the transport has the proxy; a .netrc must not replace the key
        )

    async def stopped(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @handles(Complete, raises=(CallFailed,))
    async def complete(self, message: Complete) -> Response:
        """Make one call.

        Raises:
            CallFailed: there is no answer; the subclass says why.
        """
        try:
            form = self._endpoint.format_for(message.request)
            body = dumps(form.encode(message.request, stream=False))
        except (ValueError, TypeError) as error:
            raise BadRequest(f"nothing was sent: {error}") from None
        attempt, billed = 0, False
        while True:
            attempt += 1
            self._tell("sent", message, attempt)
            try:
                return await self._attempt(message, body, attempt)
            except _Refusal as refusal:
                billed = billed or refusal.error.billed == "maybe"
                if billed:  # one attempt that may have been is enough (L3)
                    refusal.error.billed = "maybe"
                await self._wait_to_retry(message, attempt, refusal)

    async def _attempt(self, message: Complete, body: bytes, attempt: int) -> Response:
        start = trio.current_time()
        try:
            request = self._client.build_request(
                "POST",
                self._endpoint.url(message.request),
                content=body,
                headers={"content-type": "application/json"} | self._endpoint.auth_headers(),
            )
            request.stream = _Body(body)
            response = await self._fetch(request)
        except httpx.RequestError as error:
            raise self._no_response(error, attempt) from error
        if response.status_code != HTTPStatus.OK:
            raise self._refused(response, message.request, attempt)
        answer = self._read(response, message.request, attempt)
        model = answer.model or message.request.model
        usage = Usage() if answer.usage is None else answer.usage
        cost = None  # without the tokens nobody knows it
        if answer.usage is not None:
            cost = self._prices.cost(model, usage)
            if cost is None:
                cost = self._prices.cost(message.request.model, usage)
        return Response(
            text=answer.choices[0].text if answer.choices else "",
            model=model,
            finish_reason=answer.choices[0].finish_reason if answer.choices else None,
            choices=answer.choices,
            embeddings=answer.embeddings,
            usage=usage,
            cost_usd=cost,
            http_requests=attempt,
            seconds=trio.current_time() - start,
        )

    async def _fetch(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read the whole answer.

        The body is decoded when it is there: an error in the middle of httpx's own way of doing
        both at once leaves an async generator suspended, which Trio reports.
        """
        response = await self._client.send(request, stream=True)
        if response.is_closed:  # a transport that is no network gives it whole
            return response
        try:
            raw = b"".join([piece async for piece in response.aiter_raw()])
        finally:
            await response.aclose()
        return httpx.Response(
            response.status_code, headers=response.headers, content=raw, request=request
        )

    async def _wait_to_retry(self, message: Complete, attempt: int, refusal: _Refusal) -> None:
        """Return when the next attempt may be made, or raise the error that there will be none."""
        error, permit = refusal.error, message.permit
        pause = None
        if not refusal.is_final:
            pause = self._retry.pause(attempt, refusal.server_s, self.random)
        if pause is None:
            if permit is not None and refusal.throttled and refusal.server_s is not None:
                permit.park(delay=min(refusal.server_s, self._retry.max_server_s))
            raise error
        until = trio.current_time() + pause
        if until >= self.deadline:  # L1: fail now rather than then
            if permit is not None and refusal.throttled:
                permit.park(delay=pause)
            raise error.but(f"the deadline leaves no time for another attempt in {pause:.1f} s")
        self._tell("retrying", message, attempt, error=str(error), delay=pause)
        if permit is None:
            await trio.sleep(pause)
        while permit is not None:
            delay = max(0.0, until - trio.current_time())
            try:
                await permit.renew(delay=delay, throttled=refusal.throttled)
                break
            except AskTimedOut:
                if self.deadline <= trio.current_time():  # else it was postponed meanwhile (R4)
                    raise error.but("the deadline has passed") from None
            except ActorCrashed:
                pass  # what waited there was not started; its next incarnation takes it up
            except AskFailed as stopped:
                raise error.but(f"there is no other attempt, because {stopped}") from None

    def _no_response(self, error: httpx.RequestError, attempt: int) -> _Refusal:
        host, name = self._endpoint.host, type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            why = self._quote(_root(error))
            text = f"cannot connect to {host} ({why}); is the address right, the server up?"
            return _Refusal(ConnectionFailed(text, attempts=attempt))
        if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
            text = f"cannot reach {host}: {self._quote(str(error)) or name}"
            return _Refusal(ConnectionFailed(text, attempts=attempt), is_final=True)
        # It was sent, at least in part: the provider may work, and charge, for it (L3).
        text = f"{host} broke off without a whole answer ({self._quote(str(error)) or name})"
        return _Refusal(ConnectionFailed(text, attempts=attempt, billed="maybe"))

    def _refused(self, response: httpx.Response, request: Request, attempt: int) -> _Refusal:
        status, host = response.status_code, self._endpoint.host
        said, instead = ApiError(), "no reason given"
        try:
            said = self._endpoint.format_for(request).decode_error(loads(response.content))
        except ValueError:
            instead = f"no reason given, only {self._quote(_kind(response))}"
        if response.has_redirect_location:
            instead = f"it redirects to {self._quote(response.headers['location'])}"
        words = self._quote(said.message) or instead
        kind, remedy = classify(status, said)
        is_final = kind not in TRANSIENT
        return _Refusal(
            kind(f"{host} answered {status}: {words}{remedy}", attempts=attempt, status=status),
            is_final=is_final,
            server_s=None if is_final else retry_after_s(response.headers, said.message),
            throttled=kind is RateLimited,
        )

    def _read(self, response: httpx.Response, request: Request, attempt: int) -> Answer:
        host = self._endpoint.host
        try:
            answer = self._endpoint.format_for(request).decode(loads(response.content), request)
        except ValueError as error:
            kind = self._quote(_kind(response))
            why = str(error) if isinstance(error, Malformed) else f"it is {kind}"
            text = f"{host} answered 200, but not with a completion: {why}"
            raise _Refusal(MalformedAnswer(text, attempts=attempt, billed="maybe")) from None
        if isinstance(answer, ApiError):  # OpenRouter reports generation errors so
            text = f"{host} answered with an error: {self._quote(answer.message)}"
            raise _Refusal(ProviderUnavailable(text, attempts=attempt, billed="maybe"))
        return answer

    def _quote(self, words: str) -> str:
        """What a provider said, on one line, not too long, and without the key (L8)."""
        line = self._endpoint.scrub(" ".join(words.split()))
        return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."

    def _tell(
        self,
        stage: Stage,
        message: Complete,
        attempt: int,
        *,
        error: str | None = None,
        delay: float | None = None,
    ) -> None:
        self._observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                origin=message.origin,
                model=message.request.model,
                attempt=attempt,
                error=error,
                delay=delay,
            )
        )


class _Body(httpx.AsyncByteStream):
    """The body of a request in one piece.

    httpx's own is an async generator, and a request that is cancelled while it is sent leaves that
    suspended, which Trio reports.
    """

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _root(error: BaseException) -> str:
    """What the system said, at the bottom of what Trio and httpx wrapped around it."""
    below = error.__cause__ or error.__context__
    if isinstance(below, BaseExceptionGroup):
        below = cast("BaseExceptionGroup[BaseException]", below).exceptions[0]
    if below is not None:
        return _root(below)
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return str(error) or type(error).__name__


def _kind(response: httpx.Response) -> str:
    """What a body is, for somebody who expected a completion."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    start = response.content[:200].lstrip().lower()
    if "html" in kind or start.startswith((b"<!doctype", b"<html")):
        return "a web page (HTML); is this the base URL of an API?"
    if not response.content:
        return "an empty body"
    return f"{kind or 'something'} that is not whole JSON"
