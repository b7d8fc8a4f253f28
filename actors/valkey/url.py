"""The URL of a Valkey or Redis server."""

from typing import Self, final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

import attrs

SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
"""The schemes of URLs that name a server."""

_TLS = ("valkeys", "rediss")
_PORT = 6379
_MAX_SOCKET_PATH = 107  # bytes; the operating system takes no more
_MAX_DATABASE = 9  # digits
_ESCAPE = "in a password, write / as %2F, ? as %3F, # as %23 and @ as %40"


@final
@attrs.frozen(kw_only=True)
class ServerUrl:
    """Where a server is, and how to log in.

    Args:
        host: the name or address of the host; "" for a Unix socket.
        port: the TCP port.
        socket: the path of a Unix socket; "" for TCP.
        database: the number of the database.
        username: the user name; "" for the default user.
        password: the password; "" for none. It is in no `repr` and in no text (L8).
        tls: whether the connection is encrypted, and the certificate of the server is checked.
    """

    host: str = ""
    port: int = _PORT
    socket: str = ""
    database: int = 0
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Args:
            url: `valkey://host:6379/0`, `redis://...`, `rediss://...` with TLS, each with
                `user:password@` before the host if the server asks for it, or
                `unix:///run/valkey.sock?db=0`.

        Raises:
            ValueError: it names no server; the message says why, without the password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its text may have a part of the password
            raise ValueError(f"the URL of the shared server is malformed; {_ESCAPE}") from None
        if parts.scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            is_one = bool(parts.scheme) and url.startswith(f"{parts.scheme}://")
            shown = f"{parts.scheme}://" if is_one else "a URL without a scheme"
            raise ValueError(f"the URL of the shared server must begin with {known}; not {shown}")
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme == "unix":
            return cls(
                socket=_socket(parts),
                database=_database(_options(parts).get("db", "0")),
                username=username,
                password=password,
            )
        shape = f"it is {parts.scheme}://user:password@host:6379/0; {_ESCAPE}"
        if not parts.hostname:
            raise ValueError(f"the URL of the shared server names no host; {shape}")
        if parts.query or parts.fragment:
            raise ValueError(f"the URL of the shared server has options or a fragment; {shape}")
        if port == 0:
            raise ValueError("the URL of the shared server has the port 0; leave it out for 6379")
        return cls(
            host=parts.hostname,
            port=_PORT if port is None else port,
            database=_database(parts.path.strip("/") or "0"),
            username=username,
            password=password,
            tls=parts.scheme in _TLS,
        )

    def __str__(self) -> str:
        """Return the URL without user name and password."""
        if self.socket:
            path = quote(self.socket)
            return f"unix://{path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{host}:{self.port}/{self.database}"

    @property
    def with_login(self) -> str:
        """The URL with user name and password, for another process; never show it (L8)."""
        if not (self.username or self.password):
            return str(self)
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return str(self).replace("://", f"://{login}@", 1)


def _socket(parts: SplitResult) -> str:
    path = unquote(parts.netloc.rpartition("@")[2] + parts.path)
    if not path.startswith("/") or "\0" in path or parts.fragment:
        raise ValueError(
            "the URL of a Unix socket needs the whole path, such as unix:///run/valkey.sock; "
            f"{_ESCAPE}"
        )
    if len(path.encode()) > _MAX_SOCKET_PATH:
        raise ValueError(f"the path of a Unix socket has at most {_MAX_SOCKET_PATH} bytes: {path}")
    return path


def _options(parts: SplitResult) -> dict[str, str]:
    found = {
        name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
    }
    if found.keys() - {"db"}:
        raise ValueError(
            "the URL of the shared server has an option that is not known; a Unix socket has ?db=0 "
            f"alone; {_ESCAPE}"
        )
    return found


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DATABASE:
        raise ValueError(
            f"the database in the URL of the shared server must be a number, such as /0; {_ESCAPE}"
        )
    return int(text)
