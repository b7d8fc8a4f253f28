"""One HTTP request to a provider and its response, whole or streamed."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping

import attrs
import httpx
import trio

from ..errors import AuthenticationFailed, BadRequest
from ..events import Destination
from ..extra_headers import joined_headers
from ..http import HttpCarrier, HttpResponse, ResponseReader
from ..messages import Request
from ..permit import Permit
from ..rate_limit import read_reports
from ..responses import StreamPiece
from ..vendors import (
    AnswerReader,
    ApiError,
    BrokeOff,
    DecodedResponse,
    Endpoint,
    StreamFailed,
    UnsupportedField,
    Vendor,
    WireFormat,
    dumps,
)
from .failures import AttemptFailed, Failures
from .passed_events import PassedEvents
from .quoted_keys import DeltaScrubber, response_without_key
from .schema_spelling import with_schema_described
from .spelling import AS_WRITTEN, Spelling
from .watch import SendWatch

_MAX_RESPONSE_BYTES = 256 * 1024 * 1024  # 2,048 embeddings of 3,072 floats are 130 MB
_MAX_URLS = 100  # remembered
_LINGER_S = 0.2  # a caller who wants the whole does not see that pieces are read later
_OVERLAP_BYTES = 64  # a key that is cut in two is found if these have its beginning
_Deliver = Callable[[StreamPiece], Awaitable[None]]
_DeliverNow = Callable[[StreamPiece], bool]


@attrs.frozen(kw_only=True)
class Prepared:
    """A request as it goes over the wire: byte for byte the same at each attempt.

    Args:
        request: the request, with the target's own model.
        form: the wire format.
        url: where it is sent.
        body: the JSON text.
        stream: whether a streamed response is requested.
        spelling: how the body differs from what is written.
    """

    request: Request
    form: WireFormat
    url: httpx.URL
    body: bytes
    stream: bool
    spelling: Spelling = AS_WRITTEN


@attrs.frozen(kw_only=True)
class Exchanged:
    """A response, the request that it is for, and how long it took.

    Args:
        request: the request, with the target's own model.
        host: the host of the endpoint that responded.
        key_name: the name of its key; empty for a single endpoint.
        deployment: the name that stands for the requested model there; None for the model itself.
        vendor: the vendor of that endpoint, whose prices apply.
        response: what the provider sent, decoded.
        seconds: from the first byte sent to the last one received.
        first_byte_s: seconds from the first byte sent to the first byte of the body; None if the
            body is empty.
        request_id: the provider's id of the HTTP request; empty if it sends none.
        status: the HTTP status.
    """

    request: Request
    host: str
    vendor: Vendor
    response: DecodedResponse
    seconds: float
    first_byte_s: float | None
    request_id: str
    status: int = 200
    key_name: str = ""
    deployment: str | None = None

    @property
    def label(self) -> str:
        """The label of the endpoint that responded; see `Endpoint.label`."""
        return f"{self.host} {self.key_name}" if self.key_name else self.host


class Exchange:
    """Send single HTTP requests to one endpoint. It retries nothing.

    Args:
        endpoint: the endpoint that receives the requests.
        carrier: transports the HTTP requests.

    Attributes:
        host: the endpoint's host.
        label: the same with the name of the key, for messages.
        destination: the endpoint, for events.
    """

    def __init__(self, endpoint: Endpoint, carrier: HttpCarrier) -> None:
        self.host = endpoint.host
        self.label = endpoint.label
        self.destination = Destination.of(endpoint.vendor.name, endpoint.base_url)
        self._endpoint = endpoint
        self._carrier = carrier
        self._failures = Failures(endpoint)
        self._urls: dict[str, httpx.URL] = {}  # parsing a URL takes longer than using it
        self._headers = {
            "host": self.host,
            "content-type": "application/json",
            "accept-encoding": "identity",  # decompressing each piece takes too long
        }
        self._latest: Mapping[str, str] = {}

    def prepare(
        self, request: Request, *, stream: bool, spelling: Spelling = AS_WRITTEN
    ) -> Prepared:
        """Encode a request.

        Args:
            request: the request to encode.
            stream: whether to request a streamed response, if the format can stream it.
            spelling: how the endpoint wants the body, by its own words.

        Raises:
            BadRequest: the wire format cannot express it.
        """
        try:
            form = self._endpoint.format_for(request)
            stream = stream and form.streams
            worded = with_schema_described(request, spelling.schema)
            written = form.encode(worded, stream=stream)
            if stream and spelling.wants_whole(written):
                stream, written = False, form.encode(worded, stream=False)
            body = dumps(spelling.apply(written))
            address = self._endpoint.url(request, form, stream=stream)
        except (ValueError, TypeError) as error:
            refused = BadRequest(f"nothing was sent: {error}")
            refused.field = error.field if isinstance(error, UnsupportedField) else ""
            raise refused from None
        url = self._urls.get(address)
        if url is None:
            if len(self._urls) > _MAX_URLS:  # those of Gemini contain the model
                self._urls.clear()
            url = self._urls[address] = httpx.URL(address)
        return Prepared(
            request=request, form=form, url=url, body=body, stream=stream, spelling=spelling
        )

    def headers(self, request: Request) -> Mapping[str, str]:
        """Return the headers of one attempt, with the key that is valid now.

        Args:
            request: the request, which may have headers of its own.

        Raises:
            AttemptFailed: there is no key.
        """
        common = self._common_headers()
        return joined_headers(common, request.extra_headers) if request.extra_headers else common

    def _common_headers(self) -> Mapping[str, str]:
        if self._latest and not callable(self._endpoint.api_key):
            return self._latest  # they never change
        try:
            headers = self._headers | self._endpoint.auth_headers()
        except Exception as error:  # noqa: BLE001  # a function of the user's may raise anything
            # Only its type: its text may contain the key (L8).
            text = f"nothing was sent: api_key returned no key ({type(error).__name__})"
            raise AttemptFailed(AuthenticationFailed(text), is_final=True) from None
        if headers != self._latest:
            self._latest = headers
        return self._latest  # the same object for many calls, which the carrier recognises

    async def send(
        self,
        prepared: Prepared,
        *,
        headers: Mapping[str, str],
        idempotency_key: str,
        attempt: int,
        watch: SendWatch,
        permit: Permit | None = None,
        deliver: _Deliver | None = None,
        deliver_now: _DeliverNow | None = None,
        wants_events: bool = False,
    ) -> Exchanged:
        """Send a request and read the whole response.

        Args:
            prepared: the encoded request to send.
            headers: the result of `headers`.
            idempotency_key: the same for every attempt of one call.
            attempt: the number of this attempt, from 1, for errors.
            watch: learns of the progress of the response.
            permit: receives the limits that the response reports.
            deliver: receives each piece of a streamed response, and may wait.
            deliver_now: receives a piece without waiting; returns False if that takes a wait.
            wants_events: whether the pieces are the provider's own events.

        Raises:
            AttemptFailed: there is no response.
        """
        start = watch.began_at
        try:
            response = await self._carrier.post(
                prepared.url, headers, idempotency_key, prepared.body
            )
            try:
                if not httpx.codes.is_success(response.status):
                    raise await self._refused(response, prepared, attempt)
                watch.head_arrived()
                if permit is not None and permit.wants_reports():
                    headers_of_limits = response.limit_headers(self._endpoint.vendor.limit_headers)
                    permit.report_limits(read_reports(headers_of_limits))
                if deliver is None:
                    response.linger(_LINGER_S)
                body = ResponseReader(response, start)
                outlet = None
                if deliver is not None:
                    outlet = _Outlet(deliver, deliver_now, watch)
                decoded = await self._read(
                    body, prepared, attempt, watch, outlet, wants_events=wants_events
                )
            finally:
                await response.aclose()
        except httpx.HTTPStatusError as error:  # raised by a hook of the user's client
            raise await self._refused(
                HttpResponse.of(error.response), prepared, attempt
            ) from self._failures.as_cause(error)
        except httpx.RequestError as error:
            raise self._failures.no_response(error, attempt) from self._failures.as_cause(error)
        if decoded.model and decoded.model != prepared.request.model:
            name = self._failures.named(decoded.model)
            if name != decoded.model:
                decoded = attrs.evolve(decoded, model=name)
        return Exchanged(
            request=prepared.request,
            host=self.host,
            key_name=self._endpoint.key_name,
            deployment=self._endpoint.deployment,
            vendor=self._endpoint.vendor,
            response=decoded,
            seconds=trio.current_time() - start,
            first_byte_s=body.first_byte_s,
            request_id=self._endpoint.scrub(response.request_id),
            status=response.status,
        )

    async def _refused(
        self, response: HttpResponse, prepared: Prepared, attempt: int
    ) -> AttemptFailed:
        return await self._failures.refused(response, prepared.form, attempt)

    async def _read(
        self,
        body: ResponseReader,
        prepared: Prepared,
        attempt: int,
        watch: SendWatch,
        outlet: "_Outlet | None",
        *,
        wants_events: bool,
    ) -> DecodedResponse:
        reader, broken, quotes_key = (
            AnswerReader(prepared.form, prepared.request, watch.saw),
            None,
            False,
        )
        scrubber = (
            None
            if outlet is None
            else self._scrubber_of(reader, prepared.form, wants_events=wants_events)
        )
        tail = b""  # of what was read before, as long as the beginning of a key
        try:
            async with body:
                while not reader.done:
                    if not body.has_arrived:
                        watch.renew()
                    try:
                        piece = await body.read(_MAX_RESPONSE_BYTES)
                    except httpx.RequestError as error:
                        # With its traceback, it and this frame would be a reference cycle.
                        broken, piece = error.with_traceback(None), b""
                    seen = tail + piece
                    quotes_key = quotes_key or self._endpoint.is_quoted_in(seen)
                    tail = seen[-_OVERLAP_BYTES:]
                    deltas = reader.feed(piece)
                    is_over = not piece or (reader.is_whole and body.is_all)
                    if reader.is_whole and not is_over:
                        watch.received(piece)
                    if outlet is not None and scrubber is not None:
                        await outlet.pass_on(scrubber.pieces(deltas, is_quoted=quotes_key))
                    if is_over:
                        break
                else:
                    await body.skip()  # only at its end can the connection be used again
            decoded = reader.end()
            if outlet is not None and scrubber is not None:
                await outlet.pass_on(scrubber.end())
        except StreamFailed as failed:
            raise self._failures.failed_within(failed.error, attempt) from None
        except ValueError as error:
            if broken is not None:  # what arrived before it broke is not the whole response
                raise self._failures.no_response(
                    broken, attempt, reader.start
                ) from self._failures.as_cause(broken)
            raise self._unreadable(error, body, reader, attempt) from None
        if isinstance(decoded, ApiError):  # OpenRouter reports generation errors so
            raise self._failures.failed_within(decoded, attempt)
        return response_without_key(self._endpoint, decoded, is_quoted=quotes_key)

    def _scrubber_of(
        self, reader: AnswerReader, form: WireFormat, *, wants_events: bool
    ) -> DeltaScrubber | PassedEvents:
        """Return what makes the pieces for the caller, without the key."""
        if not wants_events:
            return DeltaScrubber(self._endpoint)
        passed = PassedEvents(self._endpoint, form.form)
        reader.keep_events(passed.keep)
        return passed

    def _unreadable(
        self, error: ValueError, body: ResponseReader, reader: AnswerReader, attempt: int
    ) -> AttemptFailed:
        if isinstance(error, BrokeOff):
            return self._failures.broke_off(error, attempt, reader.start)
        is_no_json = isinstance(error, json.JSONDecodeError)
        what = body.describe(reader.raw)
        why = f"it is {what}" if is_no_json else str(error)
        if is_no_json and what.startswith("a web page"):
            why += "; is this the base URL of an API?"
        if is_no_json and reader.start and not reader.raw:
            why = "it has only blank lines and comments"
        return self._failures.malformed(why, attempt, reader.start)


@attrs.frozen
class _Outlet:
    """Delivers the pieces of a response to its reader."""

    deliver: _Deliver
    deliver_now: _DeliverNow | None
    watch: SendWatch

    async def pass_on(self, pieces: Iterable[StreamPiece]) -> None:
        """Deliver pieces; the wait for their reader is no silence of the provider."""
        for piece in pieces:
            if self.deliver_now is not None and self.deliver_now(piece):
                continue  # nearly always: the reader keeps up
            with self.watch.paused():
                await self.deliver(piece)
