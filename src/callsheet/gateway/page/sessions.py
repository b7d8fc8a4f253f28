"""Who may see the page: those with an admin key, and for a while with the cookie it is traded for.

One admin key is in the environment of the gateway. Others may be keys of its store, and a session
ends with the key that opened it. The cookie is a random text, so that no browser keeps a key. Wrong
keys slow down those who come from the same address, and no others. Pure (R14).
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from typing import final

import attrs

SESSION_S = 12 * 3600.0
"""How long a login is valid, in seconds."""

_MAX_SESSIONS = 64
_MAX_ADDRESSES = 1000
_FREE_FAILURES = 3  # the next attempt is possible at once
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_FORGET_S = 900.0  # since the latest wrong key of an address
_PREFIX_BITS = 64  # of an IPv6 address: one customer has all of the others


FindAdmin = Callable[[str], Callable[[], bool] | None]
"""Looks for a key of an admin: what tells whether it is still valid; None if it is none."""


class WrongKey(Exception):
    """The key is no admin key."""


class TooManyAttempts(Exception):
    """Wrong keys came from the same address, so that it has to wait.

    Attributes:
        wait_s: seconds until a key from there is looked at, at least one.
    """

    def __init__(self, wait_s: float) -> None:
        self.wait_s = max(1.0, wait_s)
        super().__init__(f"too many wrong keys; try again in {self.wait_s:.0f} s")


@attrs.define
class _Failures:
    count: int = 0
    latest_at: float = 0.0

    @property
    def next_at(self) -> float:
        """When a key is looked at again, in seconds."""
        if self.count < _FREE_FAILURES:
            return self.latest_at
        doublings = min(self.count - _FREE_FAILURES, 10)
        return self.latest_at + min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**doublings)


@attrs.frozen
class _Session:
    end: float
    is_valid: Callable[[], bool]


def _always() -> bool:
    return True


@final
class PageSessions:
    """The sessions of a gateway, in memory: they end with the process.

    Args:
        admin_key: the key that opens a session; None for no other ones than those of `find_admin`.
        find_admin: looks for another key that does; None for no other ones.
        new_token: makes the random text of a session.

    Raises:
        ValueError: the admin key is empty.
    """

    def __init__(
        self,
        admin_key: str | None,
        *,
        find_admin: FindAdmin | None = None,
        new_token: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        if admin_key is not None and not admin_key:
            raise ValueError("the admin key is empty")
        self._key = None if admin_key is None else _digest(admin_key)
        self._find_admin = find_admin
        self._new_token = new_token
        # {digest of the token: session}, in the order of time. A digest, so that how long it takes
        # to find one tells nothing of a token.
        self._open: dict[bytes, _Session] = {}
        self._failures: OrderedDict[str, _Failures] = OrderedDict()  # {address: failures}

    def __repr__(self) -> str:
        return f"<PageSessions {len(self._open)} open>"

    def check_key(self, key: str, address: str, now: float) -> Callable[[], bool]:
        """Check a key, in a time that does not depend on it; return whether it still is an admin's.

        Args:
            key: what the client has sent.
            address: the address of the client.
            now: the current time in seconds.

        Raises:
            TooManyAttempts: the address has to wait; the key was not looked at.
            WrongKey: it is no admin key.
        """
        place = _place(address)
        failures = self._failures.get(place)
        if failures is not None:
            if now - failures.latest_at > _FORGET_S:
                del self._failures[place]
            elif now < failures.next_at:
                raise TooManyAttempts(failures.next_at - now)
        is_valid = self._admin(key)
        if is_valid is None:
            failures = self._failures.setdefault(place, _Failures())
            failures.count += 1
            failures.latest_at = now
            self._failures.move_to_end(place)
            if len(self._failures) > _MAX_ADDRESSES:
                self._failures.popitem(last=False)
            raise WrongKey
        self._failures.pop(place, None)
        return is_valid

    def log_in(self, key: str, address: str, now: float) -> str:
        """Open a session and return its token.

        Args:
            key: what the client has sent.
            address: the address of the client.
            now: the current time in seconds.

        Raises:
            TooManyAttempts, WrongKey: as for `check_key`.
        """
        is_valid = self.check_key(key, address, now)
        token = self._new_token()
        self._open[_digest(token)] = _Session(now + SESSION_S, is_valid)
        if len(self._open) > _MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        return token

    def end_of(self, token: str, now: float) -> float | None:
        """Return when a session ends, in seconds; None if it is not open.

        Args:
            token: the token of the session, as the client has sent it.
            now: the current time in seconds.
        """
        session = self._open.get(_digest(token))
        if session is None or now >= session.end or not session.is_valid():
            return None
        return session.end

    def log_out(self, token: str) -> None:
        """Close a session; nothing happens if it is not open.

        Args:
            token: the token of the session.
        """
        self._open.pop(_digest(token), None)

    def _admin(self, key: str) -> Callable[[], bool] | None:
        if self._key is not None and compare_digest(_digest(key), self._key):
            return _always
        return None if self._find_admin is None else self._find_admin(key)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _place(address: str) -> str:
    """Return an address as failures are counted: of IPv6 its network."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # of a Unix socket
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(int(parsed) >> (128 - _PREFIX_BITS))
    return str(parsed)
