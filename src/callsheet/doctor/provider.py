"""Examine the provider: keys, the endpoint, the way to it, whether it answers, and its clock."""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from ..actors import (
    VENDORS,
    Endpoint,
    check_environment,
    named_authorities,
    proxy_in,
    proxy_of,
    shown_url,
    transport_for,
)
from ..config import ADMIN_KEY_VARIABLE
from ..wording import duration, printable
from .finding import Finding, FindingState

_KEYS, _PROVIDER = "Keys", "Provider"
_LATE_S, _WRONG_S = 5.0, 60.0
_QUOTES = "\"'"
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_UNKNOWN = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


# --------------------------------------------------------------------------------- without sending


def examine_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the variables for keys, addresses and proxies. The values of keys are never shown (L8).

    Args:
        environ: the variables of the process.
    """
    found = list(_keys(environ))
    yield from found
    if not found:
        text = "no variable for a key is set; the built-in provider and local servers need none"
        yield Finding(_KEYS, "keys", "absent", text)
    urls = dict.fromkeys(name for vendor in VENDORS.values() for name in vendor.url_variables)
    for name in urls:
        if value := environ.get(name, "").strip():
            yield Finding(_KEYS, name, "ok", printable(shown_url(value)))


def _keys(environ: Mapping[str, str]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for vendor in VENDORS.values():
        tokens = vendor.tokens.variables if vendor.tokens is not None else ()
        for name in (*vendor.key_variables, *tokens):
            owners.setdefault(name, vendor.title)
    owners[ADMIN_KEY_VARIABLE] = "callsheet serve and top"
    for name, owner in owners.items():
        if name in environ:
            yield _key(name, owner, environ[name])


def _key(name: str, owner: str, value: str) -> Finding:
    key = value.strip()
    if not key:
        return Finding(_KEYS, name, "absent", f"for {owner}: is empty, which counts as unset")
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        text = f"for {owner}: has quotation marks, which would be part of the key"
        return Finding(_KEYS, name, "problem", text, f"set {name} without them")
    if not (key.isascii() and key.isprintable()) or " " in key:
        text = f"for {owner}: has characters that no key has"
        return Finding(_KEYS, name, "problem", text, f"copy the key into {name} again")
    return Finding(_KEYS, name, "ok", f"for {owner}: is set")


def _way(endpoint: Endpoint, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the proxy and the certificate authorities of the connections to an endpoint."""
    try:
        check_environment(endpoint, environ)
        proxy = proxy_of(endpoint, environ)
    except ValueError as error:
        name = str(error).partition(":")[0]
        text = printable(str(error))
        yield Finding(_PROVIDER, "connection", "problem", text, f"correct or unset {name}")
        return
    given = [name for name in _PROXIES if environ.get(name) or environ.get(name.lower())]
    if proxy:
        text = f"{printable(shown_url(proxy))}, by {', '.join(given) or 'the system'}"
        yield Finding(_PROVIDER, "proxy", "ok", text)
    else:
        text = f"not used on this way, although {', '.join(given)} is set" if given else "none"
        yield Finding(_PROVIDER, "proxy", "absent", text)
    if urlsplit(endpoint.base_url).scheme != "https":
        yield Finding(_PROVIDER, "certificates", "absent", "not needed: the URL is not https")
        return
    named = [f"{name}={printable(str(path))}" for name, path in named_authorities(environ)]
    text = ", ".join(named) if named else "the authorities of the package certifi"
    yield Finding(_PROVIDER, "certificates", "ok", text)


# ------------------------------------------------------------------------------------ with sending


async def examine_provider(
    endpoint: Endpoint,
    environ: Mapping[str, str],
    *,
    sends: bool,
    timeout_s: float,
    clock: Callable[[], float],
) -> Sequence[Finding]:
    """Return what was found out about an endpoint, with one request that costs nothing.

    Args:
        endpoint: the endpoint; the members of a pool are examined one after another.
        environ: the variables of the process.
        sends: whether the request, for the list of models, is sent.
        timeout_s: the longest time for the response, in seconds.
        clock: Unix time in seconds.
    """
    found: list[Finding] = []
    for member in endpoint.each:
        found += _way(member, environ)
        if any(one.state == "problem" for one in found):
            continue
        if sends:
            found += await _asked(member, timeout_s, clock)
        else:
            found.append(Finding(_PROVIDER, "reachable", "absent", "not asked (--offline)"))
    return found


@attrs.frozen
class _ModelsAnswer:
    """What an endpoint answers: the status and the date, and the times before and after it."""

    status: int
    date: str
    began: float
    ended: float


async def _asked(endpoint: Endpoint, timeout_s: float, clock: Callable[[], float]) -> list[Finding]:
    """Ask an endpoint for its models; return whether it answers, and how late the clock is."""
    at = printable(endpoint.label)
    try:
        answer = await _answer(endpoint, timeout_s, clock)
    except (trio.TooSlowError, httpx.TimeoutException):
        reason, remedy = f"no response within {timeout_s:g} s", _check(endpoint)
    except (httpx.RequestError, OSError, ValueError) as error:
        reason, remedy = _why(endpoint, error)
    else:
        return [_answered(endpoint, answer), *_clock(answer)]
    text = reason if at in reason else f"{at}: {reason}"
    return [Finding(_PROVIDER, "reachable", "problem", text, remedy)]


async def _answer(
    endpoint: Endpoint, timeout_s: float, clock: Callable[[], float]
) -> _ModelsAnswer:
    """Ask for the list of models, which costs nothing.

    Raises:
        httpx.RequestError: there is no response.
        trio.TooSlowError: it takes too long.
        ValueError: the key, the proxy or a certificate authority cannot be used.
    """
    async with httpx.AsyncClient(
        transport=transport_for(endpoint, 1), timeout=timeout_s, follow_redirects=False
    ) as client:
        request = client.build_request(
            "GET",
            f"{endpoint.base_url}/models",
            headers=endpoint.auth_headers(),
            params=dict(endpoint.query) or None,
        )
        began = clock()
        with trio.fail_after(timeout_s):
            response = await client.send(request, stream=True)
        date = response.headers.get("date", "")
        answer = _ModelsAnswer(response.status_code, date, began, clock())
        await response.aclose()
        return answer


def _answered(endpoint: Endpoint, answer: _ModelsAnswer) -> Finding:
    status, at = answer.status, printable(endpoint.label)
    took = f"{1000 * max(0.0, answer.ended - answer.began):,.0f} ms"
    name = endpoint.key_variable or "the key"
    if status < HTTPStatus.BAD_REQUEST and status >= HTTPStatus.MULTIPLE_CHOICES:
        text = f"{at} redirects to another address ({status}), which is not followed"
        return Finding(_PROVIDER, "reachable", "problem", text, _check(endpoint))
    if status < HTTPStatus.BAD_REQUEST:
        key = "accepts the key" if endpoint.api_key is not None else "needs no key for that"
        text = f"{at} lists its models ({took}), and {key}"
        return Finding(_PROVIDER, "reachable", "ok", text)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        refused = "refuses the key" if endpoint.api_key is not None else "wants a key"
        variables = " or ".join(endpoint.vendor.key_variables)
        remedy = f"check {name}" if endpoint.api_key is not None else f"set {variables}"
        if not variables and endpoint.api_key is None:
            remedy = "give the key with --secret-header authorization='Bearer KEY'"
        return Finding(_PROVIDER, "reachable", "problem", f"{at} {refused} ({status})", remedy)
    if status in _UNKNOWN:
        text = f"{at} answers ({status}, {took}), and has no list of models: no key was checked"
        return Finding(_PROVIDER, "reachable", "note", text, "check that the URL has its version")
    text = f"{at} answers with status {status} ({took})"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Finding(_PROVIDER, "reachable", "note", text, "its limit is used up at present")
    return Finding(_PROVIDER, "reachable", "problem", text, "see the status page of the provider")


def _clock(answer: _ModelsAnswer) -> Iterator[Finding]:
    """Yield how far the clock of this machine is from the date of a response."""
    try:
        there = parsedate_to_datetime(answer.date).replace(tzinfo=UTC)
    except ValueError:
        yield Finding(_PROVIDER, "clock", "absent", "not compared: the response has no date")
        return
    # The date has whole seconds, and is from some moment between the two times.
    at = there.timestamp()
    apart = max(0.0, answer.began - (at + 1.0), at - answer.ended)
    if apart < _LATE_S:
        yield Finding(_PROVIDER, "clock", "ok", "agrees with that of the provider")
        return
    text = (
        f"is {duration(apart)} {'ahead of' if answer.began > at else 'behind'} that of the provider"
    )
    state: FindingState = "problem" if apart >= _WRONG_S else "note"
    yield Finding(_PROVIDER, "clock", state, text, "set the clock of this machine (timedatectl)")


def _why(endpoint: Endpoint, error: Exception) -> tuple[str, str]:
    """Return the reason and the remedy of an error of the connection."""
    causes = list(_causes(error))
    text = endpoint.scrub(printable(str(error) or type(error).__name__))
    if proxy := proxy_in(error):
        return f"{text} (through the proxy {proxy})", "check the proxy, or set NO_PROXY"
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in causes) or (
        "CERTIFICATE_VERIFY_FAILED" in text
    ):
        remedy = "name the certificate authority of your network in SSL_CERT_FILE"
        return f"its certificate is not trusted: {text}", remedy
    return text, _check(endpoint)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _check(endpoint: Endpoint) -> str:
    where = f"check the URL {printable(endpoint.shown_url)}"
    if endpoint.is_loopback:
        return f"{where}, and start the server"
    return f"{where}, the network, and whether a proxy is needed (HTTPS_PROXY)"
