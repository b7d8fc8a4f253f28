"""Why an attempt gave no answer, in words that one can act on."""

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
    MalformedAnswer,
    RateLimited,
)
from ..http import HttpResponse, ResponseReader, may_have_run, retry_after_s, should_retry
from ..messages import Json
from ..permit import Refused, Throttled
from ..rate_limit import read_refusal, read_reports
from ..vendors import ApiError, BrokeOff, Endpoint, WireFormat, loads
from .classification import classify, is_retried

__all__ = [
    "AttemptFailed",
    "Failures",
    "without_key",
]


_MESSAGE_CHARS = 300  # of a provider's error text: enough to see what it is about
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_S = 5.0  # for a body that says what went wrong
_MOST_NAMES = 100  # to remember
_TOO_MANY = re.compile(r"concurren|in[- ]flight|simultaneous|parallel|too many (active|open)")


@attrs.frozen
class AttemptFailed(Exception):
    """One attempt failed.

    Args:
        error: what the caller gets if it was the last attempt.
        is_final: whether another attempt at the same target could only fail the same way.
        server_s: how long the provider asks one to wait, in seconds.
        throttled: the provider refused because of its limits, which concerns everybody.
        wants_whole: the server does not know how to stream; it may answer in one piece.
    """

    error: CallFailed
    is_final: bool = False
    server_s: float | None = None
    throttled: Throttled | None = None
    wants_whole: bool = False


class Failures:
    """Says what an attempt at one endpoint failed with, so that nobody can quote its key (L8).

    Args:
        endpoint: whom the attempts ask.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._host = endpoint.host
        self._names: dict[str, str] = {}  # of models

    def malformed(self, why: str, attempt: int) -> AttemptFailed:
        """A 200 that is no answer."""
        text = f"{self._host} answered 200, but not with a completion: {self._quote(why)}"
        return AttemptFailed(MalformedAnswer(text, attempts=attempt, billed="maybe"))

    def broke_off(self, error: BrokeOff, attempt: int) -> AttemptFailed:
        """A stream that ended before its answer did."""
        text = f"{self._host} broke off in the middle of the answer: {error}"
        return AttemptFailed(ConnectionFailed(text, attempts=attempt, billed="maybe"))

    def failed_within(self, said: ApiError, attempt: int) -> AttemptFailed:
        """An error that came with status 200: in the body, or in the middle of a stream."""
        kind, remedy = classify(HTTPStatus.OK, said)
        words = self._quote(said.message or said.type or said.code) or "no reason given"
        text = f"{self._host} answered with an error: {words}{remedy}"
        return AttemptFailed(
            kind(text, attempts=attempt, billed="maybe"),
            is_final=not is_retried(kind, should_retry=None),
            server_s=retry_after_s({}, said.message, said.details),
            throttled=_throttled(kind, said, {}),
        )

    async def refused(
        self, response: HttpResponse, form: WireFormat, attempt: int, *, streamed: bool
    ) -> AttemptFailed:
        """Any other status than 200.

        Args:
            response: its body is read, for a while and as far as it may tell something.
            form: reads that.
            attempt: which one it was.
            streamed: a stream was asked for.
        """
        status, host, headers = response.status, self._host, response.headers
        said, instead = ApiError(), "no reason given"
        body, raw, told = ResponseReader(response, 0.0), b"", None
        try:
            with trio.fail_after(_ERROR_S):  # what it says is not worth waiting for
                raw = await body.read_all(_MAX_ERROR_BYTES)
            told = loads(raw)
            said = form.decode_error(told)
        except ValueError:
            instead = f"no reason given, only {self._quote(body.describe(raw))}"
        except (httpx.RequestError, httpx.StreamError, trio.TooSlowError):
            instead = "no reason given, for it broke off"
        if httpx.codes.is_redirect(status) and "location" in headers:
            instead = f"it redirects to {self._quote(headers['location'])}"
        kind, remedy = classify(status, said)
        retried = is_retried(kind, should_retry=should_retry(headers))
        if issubclass(kind, AuthenticationFailed):
            remedy += self._where_the_key_is
        wants_whole = (
            streamed
            and issubclass(kind, BadRequest)
            and re.search(r"\bstream(ing|_options)?\b", said.message) is not None
        )
        return AttemptFailed(
            kind(
                f"{host} answered {status}: {self._quote(said.message) or instead}{remedy}",
                attempts=attempt,
                status=status,
                body=without_key(self._endpoint, told),
                request_id=self._endpoint.scrub(response.request_id),
            ),
            is_final=not retried,
            server_s=retry_after_s(headers, said.message, said.details) if retried else None,
            throttled=_throttled(kind, said, response.limit_headers),
            wants_whole=wants_whole,
        )

    def no_response(self, error: httpx.RequestError, attempt: int) -> AttemptFailed:
        """No answer, or not the whole of one."""
        host, name = self._host, type(error).__name__
        words = self._quote(str(error)) or name
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            cause = _root(error)
            why = self._quote(_words_of(cause))
            text = f"cannot connect to {host} ({why}); is the address right, the server up?"
            is_final = isinstance(cause, ssl.SSLCertVerificationError)
            return AttemptFailed(ConnectionFailed(text, attempts=attempt), is_final=is_final)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError):
            text = f"cannot reach {host}: {words}"
            return AttemptFailed(ConnectionFailed(text, attempts=attempt), is_final=True)
        # The provider may work, and charge, for what was sent whole (L3).
        text = f"{host} broke off without a whole answer ({words})"
        billed: Billed = "maybe" if may_have_run(error) else "no"
        return AttemptFailed(ConnectionFailed(text, attempts=attempt, billed=billed))

    def named(self, model: str) -> str:
        """A model's name as it may be logged; most are the same again and again."""
        name = self._names.get(model)
        if name is None:
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
            name = self._names[model] = self._quote(model)
        return name

    def as_cause(self, error: BaseException) -> BaseException | None:
        """The error, unless it or anything below it quotes the key (L8)."""
        below = [error]
        for one in below:
            if self._endpoint.scrub(str(one)) != str(one):
                return None
            found = (one.__cause__, one.__context__)
            below += [more for more in found if more is not None and more not in below]
            if isinstance(one, BaseExceptionGroup):
                below += cast("BaseExceptionGroup[BaseException]", one).exceptions
        return error

    def _quote(self, words: str) -> str:
        """What a provider said, on one line, not too long, and without the key (L8)."""
        line = self._endpoint.scrub(" ".join(words.split()))
        return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}..."

    @property
    def _where_the_key_is(self) -> str:
        variables = self._endpoint.vendor.key_variables
        return f" ({variables[0]})" if variables else ""


def without_key(endpoint: Endpoint, told: Json | Mapping[str, Json]) -> Mapping[str, Json] | None:
    """What a provider said, as anybody may see it (L8); None if it is no object."""
    try:
        found = _scrubbed(endpoint, dict(told) if isinstance(told, Mapping) else told)
    except RecursionError:  # nested too deep to be meant
        return None
    return found if isinstance(found, dict) else None


def _scrubbed(endpoint: Endpoint, value: Json) -> Json:
    if isinstance(value, str):
        return endpoint.scrub(value)
    if isinstance(value, list):
        return [_scrubbed(endpoint, item) for item in value]
    if isinstance(value, dict):
        return {endpoint.scrub(name): _scrubbed(endpoint, item) for name, item in value.items()}
    return value


def _throttled(
    kind: type[CallFailed], said: ApiError, headers: Mapping[str, str]
) -> Throttled | None:
    """What a refusal says of limits, if it is about them."""
    if not issubclass(kind, RateLimited):
        return None
    words = f"{said.type} {said.code} {said.message}".lower()
    why: Refused = "too_many" if _TOO_MANY.search(words) else "too_fast"
    told = read_refusal(said.message)
    if told is None:  # the headers have all limits; the fullest is in the way
        told = max(read_reports(headers), key=lambda one: one.used / one.limit, default=None)
    return Throttled(why, told)


def _root(error: BaseException) -> BaseException:
    """What is at the bottom of what Trio and httpx wrapped around it."""
    below = error.__cause__ or error.__context__
    if isinstance(below, BaseExceptionGroup):
        below = cast("BaseExceptionGroup[BaseException]", below).exceptions[0]
    return error if below is None else _root(below)


def _words_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return str(error) or type(error).__name__
