"""One HTTP request to a provider and its answer: whole, or piece by piece."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import attrs
import httpx
import trio

from ..errors import AuthenticationFailed, BadRequest
from ..http import HttpCarrier, HttpResponse, ResponseReader, TooLarge
from ..messages import Delta, Request
from ..permit import Permit
from ..rate_limit import read_reports
from ..vendors import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Endpoint,
    Malformed,
    SseParser,
    StreamFailed,
    WireFormat,
    dumps,
    loads,
)
from .failures import AttemptFailed, Failures, without_key

__all__ = [
    "Exchange",
    "Exchanged",
    "Prepared",
]


_MAX_ANSWER_BYTES = 256 * 1024 * 1024  # 2,048 embeddings of 3,072 floats are 130 MB
_MOST_URLS = 100  # to remember
_TAKE = Callable[[Delta], Awaitable[None]]


@attrs.frozen(kw_only=True)
class Prepared:
    """A request as it goes over the wire: byte for byte the same at each attempt.

    Args:
        request: what is asked, of the target's own model.
        form: the wire format.
        url: where it goes.
        body: the JSON text.
        stream: whether the answer is asked for piece by piece.
    """

    request: Request
    form: WireFormat
    url: httpx.URL
    body: bytes
    stream: bool


@attrs.frozen
class Exchanged:
    """An answer, and how long it took.

    Args:
        answer: what the provider said.
        seconds: from the first byte sent to the last one received.
        first_byte_s: from the first byte sent to the first of the answer's body.
        request_id: by which the provider knows it; empty if it does not say.
    """

    answer: DecodedResponse
    seconds: float
    first_byte_s: float | None
    request_id: str


class Exchange:
    """Asks one endpoint once, and says what came of it. It retries nothing.

    Args:
        endpoint: whom to ask.
        way: takes the HTTP requests there.

    Attributes:
        host: the endpoint's, for messages.
    """

    def __init__(self, endpoint: Endpoint, way: HttpCarrier) -> None:
        self.host = endpoint.host
        self._endpoint = endpoint
        self._way = way
        self._failures = Failures(endpoint)
        self._urls: dict[str, httpx.URL] = {}  # a URL takes longer to parse than to use
        self._headers = {
            "host": self.host,
            "content-type": "application/json",
            "accept-encoding": "identity",  # nothing to unpack, piece by piece, for each call
        }
        self._latest: Mapping[str, str] = {}

    def prepare(self, request: Request, *, stream: bool) -> Prepared:
        """Write a request.

        Raises:
            BadRequest: the provider's format cannot say it.
        """
        try:
            form = self._endpoint.format_for(request)
            stream = stream and form.streams
            body = dumps(form.encode(request, stream=stream))
            address = self._endpoint.url(request, stream=stream)
        except (ValueError, TypeError) as error:
            raise BadRequest(f"nothing was sent: {error}") from None
        url = self._urls.get(address)
        if url is None:
            if len(self._urls) > _MOST_URLS:  # Gemini's have the model in them
                self._urls.clear()
            url = self._urls[address] = httpx.URL(address)
        return Prepared(request=request, form=form, url=url, body=body, stream=stream)

    def headers(self) -> Mapping[str, str]:
        """The headers of one attempt, with the key of the moment.

        Raises:
            Refusal: there is no key.
        """
        try:
            headers = self._headers | self._endpoint.auth_headers()
        except Exception as error:  # noqa: BLE001  # a function of the user's may raise anything
            # Its type only: its text may have the key in it (L8).
            text = f"nothing was sent: api_key gave no key ({type(error).__name__})"
            raise AttemptFailed(AuthenticationFailed(text), is_final=True) from None
        if headers != self._latest:
            self._latest = headers
        return self._latest  # mostly the same for thousands of calls at a time

    async def ask(
        self,
        prepared: Prepared,
        *,
        headers: Mapping[str, str],
        idempotency_key: str,
        attempt: int,
        permit: Permit | None = None,
        take: _TAKE | None = None,
    ) -> Exchanged:
        """Send a request and read the whole answer.

        Args:
            prepared: what to send.
            headers: what `headers` gives.
            idempotency_key: the same for every attempt of one call.
            attempt: which one it is, for error texts.
            permit: is told what the answer says of limits.
            take: is given each piece of a streamed answer, and may wait.

        Raises:
            Refusal: there is no answer.
        """
        start = trio.current_time()
        try:
            response = await self._way.post(prepared.url, headers, idempotency_key, prepared.body)
            try:
                if response.status != HTTPStatus.OK:
                    raise await self._refused(response, prepared, attempt)
                if permit is not None and permit.listens():
                    permit.hear(read_reports(response.limit_headers))
                body = ResponseReader(response, start)
                if prepared.stream and body.kind.startswith("text/event-stream"):
                    answer = await self._read_events(body, prepared, attempt, take)
                else:
                    answer = await self._read_whole(body, prepared, attempt)
            finally:
                await response.aclose()
        except httpx.HTTPStatusError as error:  # raised by a hook of the user's client
            refused = await self._refused(HttpResponse.of(error.response), prepared, attempt)
            raise refused from self._failures.as_cause(error)
        except httpx.RequestError as error:
            raise self._failures.no_response(error, attempt) from self._failures.as_cause(error)
        if answer.model and answer.model != prepared.request.model:
            answer = attrs.evolve(answer, model=self._failures.named(answer.model))
        seconds = trio.current_time() - start
        request_id = self._endpoint.scrub(response.request_id)
        return Exchanged(answer, seconds, body.first_byte_s, request_id)

    async def _refused(
        self, response: HttpResponse, prepared: Prepared, attempt: int
    ) -> AttemptFailed:
        form, streamed = prepared.form, prepared.stream
        return await self._failures.refused(response, form, attempt, streamed=streamed)

    async def _read_events(
        self, body: ResponseReader, prepared: Prepared, attempt: int, take: _TAKE | None
    ) -> DecodedResponse:
        parser, decoder = SseParser(), prepared.form.stream_decoder(prepared.request)
        try:
            async with body:
                while not decoder.done:
                    piece = await body.read(_MAX_ANSWER_BYTES)
                    events = parser.feed(piece) if piece else parser.end()
                    for event in events:
                        deltas = decoder.feed(event)
                        if take is not None:
                            for delta in deltas:
                                await take(delta)
                    if not piece:
                        break
                else:
                    await body.skip()  # to its end, so that the connection can be used again
            return decoder.end()
        except StreamFailed as failed:
            raise self._failures.failed_within(failed.error, attempt) from None
        except BrokeOff as error:
            raise self._failures.broke_off(error, attempt) from None
        except ValueError as error:
            raise self._failures.malformed(str(error), attempt) from None

    async def _read_whole(
        self, body: ResponseReader, prepared: Prepared, attempt: int
    ) -> DecodedResponse:
        raw = b""
        try:
            raw = await body.read_all(_MAX_ANSWER_BYTES)
            answer = prepared.form.decode(loads(raw), prepared.request)
        except ValueError as error:
            is_telling = isinstance(error, Malformed | TooLarge)
            why = str(error) if is_telling else f"it is {body.describe(raw)}"
            raise self._failures.malformed(why, attempt) from None
        if isinstance(answer, ApiError):  # OpenRouter reports generation errors so
            raise self._failures.failed_within(answer, attempt)
        if self._endpoint.is_quoted_in(raw):  # by a gateway that says what it was asked
            return attrs.evolve(answer, body=without_key(self._endpoint, answer.body))
        return answer
