"""Failed attempts: errors that state the cause and the remedy, without the key."""

import os
import re
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

import attrs
import httpx
import trio

from ..errors import (
    AuthenticationFailed,
    BadRequest,
    Billed,
    CallFailed,
    ConnectionFailed,
    MalformedResponse,
    RateLimited,
)
from ..http import (
    HttpResponse,
    ResponseReader,
    may_have_run,
    proxy_in,
    retry_after_s,
    should_retry,
)
from ..permit import Throttled, ThrottleReason
from ..rate_limit import read_refusal, read_reports
from ..vendors import ApiError, BrokeOff, Endpoint, WireFormat, loads
from .classification import classify, is_retried
from .quoted_keys import without_key

_MESSAGE_CHARS = 300  # of a provider's error text
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_S = 5.0  # to read the body of an error
_MAX_NAMES = 100  # remembered
_TOO_MANY = re.compile(r"concurren|in[- ]flight|simultaneous|parallel|too many (active|open)")


@attrs.frozen
class AttemptFailed(Exception):
    """One attempt failed. `CallRunner` raises its error when no other attempt follows.

    Args:
        error: what the caller gets if this was the last attempt.
        is_final: whether another attempt at the same target could only fail the same way.
        server_s: the pause that the provider asks for, in seconds; None if it asks for none.
        throttled: the provider refused because of its limits, which affects other calls too.
        refusal: the words with which the provider refused the request as invalid, if it did.
        unreadable: how the body of a 200 begins that cannot be read (L11); None for any other
            failure.
    """

    error: CallFailed
    is_final: bool = False
    server_s: float | None = None
    throttled: Throttled | None = None
    refusal: ApiError | None = None
    unreadable: str | None = None


class Failures:
    """Turn each way in which an attempt at one endpoint can fail into an `AttemptFailed`.

    No text contains the endpoint's key (L8).

    Args:
        endpoint: the endpoint, whose secrets are removed from texts.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._host = endpoint.label
        self._names: dict[str, str] = {}  # of models

    def malformed(self, why: str, attempt: int, start: bytes = b"") -> AttemptFailed:
        """Return the failure of an attempt that got a 200 without a response.

        Args:
            why: what is wrong with the body.
            attempt: the number of the attempt.
            start: the first bytes of the body.
        """
        text = f"{self._host} returned 200, but not a completion: {self._quote(why)}"
        error = MalformedResponse(text, attempts=attempt, billed="maybe")
        return AttemptFailed(error, unreadable=self._shown(start))

    def broke_off(self, error: BrokeOff, attempt: int, start: bytes = b"") -> AttemptFailed:
        """Return the failure of a stream that ended before its response was whole.

        Args:
            error: what is missing.
            attempt: the number of the attempt.
            start: the first bytes of the body.
        """
        text = f"{self._host} broke off in the middle of the response: {error}"
        failed = ConnectionFailed(text, attempts=attempt, billed="maybe")
        return AttemptFailed(failed, unreadable=self._shown(start))

    def failed_within(self, error: ApiError, attempt: int) -> AttemptFailed:
        """Return the failure of an attempt that got a 200 with an error, whole or in a stream.

        Args:
            error: the provider's error.
            attempt: the number of the attempt.
        """
        kind, remedy = classify(HTTPStatus.OK, error)
        words = self._quote(error.message or error.type or error.code) or "no reason given"
        text = f"{self._host} returned 200 with an error: {words}{remedy}"
        return AttemptFailed(
            kind(text, attempts=attempt, billed="maybe"),
            is_final=not is_retried(kind, should_retry=None),
            server_s=retry_after_s(error.headers, error.message, error.details),
            throttled=_throttled(kind, error, error.headers),
            refusal=error if issubclass(kind, BadRequest) else None,
        )

    async def refused(
        self, response: HttpResponse, form: WireFormat, attempt: int
    ) -> AttemptFailed:
        """Return the failure of an attempt that got another status than 200.

        Args:
            response: the HTTP response. Its body is read, within a bound of time and of bytes.
            form: decodes the body.
            attempt: the number of the attempt.
        """
        status, host, headers = response.status, self._host, response.headers
        error, instead = ApiError(), "no reason given"
        body, raw, parsed = ResponseReader(response, 0.0), b"", None
        try:
            with trio.fail_after(_ERROR_S):  # the status alone is enough to go on
                raw = await body.read_all(_MAX_ERROR_BYTES)
            parsed = loads(raw)
            error = form.decode_error(parsed)
        except ValueError:
            text = body.text_of(raw)
            error = ApiError() if text is None else form.decode_error(text)
            instead = f"no reason given, only {self._quote(body.describe(raw))}"
        except (httpx.RequestError, httpx.StreamError, trio.TooSlowError):
            instead = "no reason given, because the connection broke off"
        if httpx.codes.is_redirect(status) and "location" in headers:
            instead = f"it redirects to {self._quote(headers['location'])}"
        kind, remedy = classify(status, error, is_json=parsed is not None)
        limits = response.limit_headers(self._endpoint.vendor.limit_headers)
        waits = {**headers, **limits}  # a vendor may have another name for "retry-after"
        retried = is_retried(kind, should_retry=should_retry(headers))
        if issubclass(kind, AuthenticationFailed):
            remedy += self._where_the_key_is
        return AttemptFailed(
            kind(
                f"{host} returned {status}: {self._quote(error.message) or instead}{remedy}",
                attempts=attempt,
                status=status,
                body=without_key(self._endpoint, parsed),
                request_id=self._endpoint.scrub(response.request_id),
            ),
            is_final=not retried,
            server_s=retry_after_s(waits, error.message, error.details) if retried else None,
            throttled=_throttled(kind, error, {**error.headers, **limits}),
            refusal=error if issubclass(kind, BadRequest) else None,
        )

    def no_response(
        self, error: httpx.RequestError, attempt: int, start: bytes = b""
    ) -> AttemptFailed:
        """Return the failure of an attempt that the network ended.

        Args:
            error: what httpx or the transport raised.
            attempt: the number of the attempt.
            start: the first bytes of the body, if the response had begun. Then it has been paid
                for, unless only silence followed, which may be the provider's work.
        """
        host, name = self._host, type(error).__name__
        words = self._quote(str(error)) or name
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            cause = _root(error)
            why = self._quote(_words_of(cause))
            if proxy := proxy_in(error):
                host += f" through the proxy {proxy}"
            text = f"cannot connect to {host} ({why}); is the address right, the server up?"
            is_final = isinstance(cause, ssl.SSLCertVerificationError)
            return AttemptFailed(ConnectionFailed(text, attempts=attempt), is_final=is_final)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
            text = f"cannot reach {host}: {words}"
            return AttemptFailed(ConnectionFailed(text, attempts=attempt), is_final=True)
        # The provider may work on a request that was sent whole, and charge for it (L3).
        text = f"{host} broke off before the response was whole ({words})"
        billed: Billed = "maybe" if may_have_run(error) else "no"
        has_begun = start.strip() and not isinstance(error, httpx.TimeoutException)
        return AttemptFailed(
            ConnectionFailed(text, attempts=attempt, billed=billed),
            unreadable=self._shown(start) if has_begun else None,
        )

    def named(self, model: str) -> str:
        """Return a model's name as it may be logged, without the key.

        Args:
            model: the name that the provider sent.
        """
        name = self._names.get(model)
        if name is None:
            if len(self._names) > _MAX_NAMES:
                self._names.clear()
            name = self._names[model] = self._quote(model)
        return name

    def as_cause(self, error: BaseException) -> BaseException | None:
        """Return the error as a cause to raise from; None if its chain quotes the key (L8).

        Args:
            error: the error that caused the failure.
        """
        below = [error]
        for one in below:
            if self._endpoint.scrub(str(one)) != str(one):
                return None
            found = (one.__cause__, one.__context__)
            below += [more for more in found if more is not None and more not in below]
            if isinstance(one, BaseExceptionGroup):
                below += cast("BaseExceptionGroup[BaseException]", one).exceptions
        return error

    def _shown(self, start: bytes) -> str:
        """Return the first bytes of a body for a message."""
        return self._quote(start.decode(errors="replace")) or "(an empty body)"

    def _quote(self, words: str) -> str:
        """Return a provider's words on one line, shortened, and without the key (L8)."""
        line = self._endpoint.scrub(" ".join(words.split()))
        return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."

    @property
    def _where_the_key_is(self) -> str:
        variables = self._endpoint.vendor.key_variables
        return f" ({variables[0]})" if variables else ""


def _throttled(
    kind: type[CallFailed], error: ApiError, headers: Mapping[str, str]
) -> Throttled | None:
    """Return what a refusal reports of limits; None if limits are not its reason."""
    if not issubclass(kind, RateLimited):
        return None
    words = f"{error.type} {error.code} {error.message}".lower()
    why: ThrottleReason = "too_many" if _TOO_MANY.search(words) else "too_fast"
    report = read_refusal(error.message)
    if report is None:  # the headers report every limit; the fullest one is the reason
        report = max(read_reports(headers), key=lambda one: one.used / one.limit, default=None)
    return Throttled(why, report)


def _root(error: BaseException) -> BaseException:
    """Return the innermost error of those that Trio and httpx wrapped around each other."""
    below = error.__cause__ or error.__context__
    if isinstance(below, BaseExceptionGroup):
        below = cast("BaseExceptionGroup[BaseException]", below).exceptions[0]
    return error if below is None else _root(below)


def _words_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return str(error) or type(error).__name__
