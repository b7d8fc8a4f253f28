"""Who may see a request's answer: by the cookie of a session, by an admin key, or by the place.

Without an admin key in its environment, the page is there for the machine itself, and for those
with a key of an admin.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal, final

from starlette.requests import Request as HttpRequest

from .sessions import PageSessions, WrongKey

Access = Literal["yes", "log in", "not here"]
"""Whether the page is shown, shown after a login, or does not exist for this client."""

_COOKIE = "callsheet_session"
_PORT = re.compile(r":\d*$")
# Headers by which a proxy shows that the client is another machine.
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@final
class PageAccess:
    """Decides who may see the page.

    Args:
        sessions: the open sessions; None where no key opens any.
        opens_here: whether clients on this machine need no session; by default, if there are none.
    """

    def __init__(self, sessions: PageSessions | None, *, opens_here: bool | None = None) -> None:
        self.sessions = sessions
        self._opens_here = sessions is None if opens_here is None else opens_here

    def of(self, request: HttpRequest, now: float) -> Access:
        """Return whether a client may see the page.

        Args:
            request: what the client has sent.
            now: the current time in seconds.
        """
        if self._opens_here and is_on_this_machine(request):
            return "yes"
        if self.sessions is None:
            return "not here"
        return "log in" if self.ends_at(request, now) is None else "yes"

    def ends_at(self, request: HttpRequest, now: float) -> float | None:
        """Return when the session of a request ends, in seconds; None without one.

        Args:
            request: what the client has sent.
            now: the current time in seconds.
        """
        if self.sessions is None:
            return None
        return self.sessions.end_of(request.cookies.get(cookie_name(request), ""), now)

    def has_key(self, request: HttpRequest, now: float) -> bool:
        """Return whether a request has the admin key in its header `Authorization`.

        Args:
            request: what the client has sent.
            now: the current time in seconds.

        Raises:
            TooManyAttempts: wrong keys came from the same address.
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if self.sessions is None or scheme.lower() != "bearer":
            return False
        try:
            self.sessions.check_key(key.strip(), address_of(request), now)
        except WrongKey:
            return False
        return True


def cookie_name(request: HttpRequest) -> str:
    """Return the name of the cookie. With TLS, browsers take it from this host alone.

    Args:
        request: any request of the client.
    """
    return f"__Host-{_COOKIE}" if is_encrypted(request) else _COOKIE


def is_encrypted(request: HttpRequest) -> bool:
    """Return whether a request came by TLS, here or at a trusted proxy.

    Args:
        request: what the client has sent.
    """
    return bool(request.scope["scheme"] == "https")


def address_of(request: HttpRequest) -> str:
    """Return the address of a client; "" if it has none, as on a Unix socket.

    Args:
        request: what the client has sent.
    """
    return "" if request.client is None else request.client.host


def is_on_this_machine(request: HttpRequest) -> bool:
    """Return whether a client is on this machine, and has asked for it by a name of its own.

    A page of another site could have its name point here, and read what a browser gets (DNS
    rebinding); then the header `Host` has that name.

    Args:
        request: what the client has sent.
    """
    if any(name in request.headers for name in _OF_PROXIES):
        return False
    host = _PORT.sub("", request.headers.get("host", "")).strip("[]").lower()
    return _is_loopback(address_of(request)) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def comes_from_here(headers: Mapping[str, str]) -> bool:
    """Return whether a form was sent by a page of this server, as far as the browser says.

    Args:
        headers: the headers of the request.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")
