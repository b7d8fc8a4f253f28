"""The URL of a Valkey or Redis server."""

from typing import Self, final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")
"""The schemes of URLs that name a server."""

_TLS = ("valkeys", "rediss")
_PORT = 6379
_MAX_SOCKET_PATH = 107  # bytes; the operating system takes no more


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
        except ValueError:
            raise ValueError("the URL of the shared server is malformed") from None
        if parts.scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            shown = f"{parts.scheme}://" if parts.scheme else "a URL without a scheme"
            raise ValueError(f"the URL of the shared server must begin with {known}; not {shown}")
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme == "unix":
            return cls(
                socket=_socket(parts),
                database=_database(_options(parts).get("db", "0")),
                username=username,
                password=password,
            )
        if not parts.hostname:
            raise ValueError(
                f"the URL of the shared server names no host; write {parts.scheme}://host:6379/0"
            )
        if parts.query or parts.fragment:
            raise ValueError(
                "the URL of the shared server has options that are not known; it is "
                f"{parts.scheme}://user:password@host:6379/0"
            )
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
            return f"unix://{self.socket}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{host}:{self.port}/{self.database}"


def _socket(parts: SplitResult) -> str:
    path = unquote(parts.netloc.rpartition("@")[2] + parts.path)
    if not path.startswith("/"):
        raise ValueError(
            "the URL of a Unix socket needs the whole path, such as unix:///run/valkey.sock"
        )
    if len(path.encode()) > _MAX_SOCKET_PATH:
        raise ValueError(f"the path of a Unix socket has at most {_MAX_SOCKET_PATH} bytes: {path}")
    return path


def _options(parts: SplitResult) -> dict[str, str]:
    found = dict(parse_qsl(parts.query))
    if unknown := found.keys() - {"db"}:
        raise ValueError(
            f"the URL of the shared server has the option {min(unknown)!r}; only db is known"
        )
    return found


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"the database of the shared server must be a number, not {text!r:.40}")
    return int(text)
