"""Where a server listens: a port of a host, or a Unix socket."""

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import attrs
import trio

_BACKLOG: Final = 4096
_MAX_PORT: Final = 65_535
_UNIX: Final = "unix:"
_ATTEMPTS: Final = 8  # at finding a port that is free at each address of a name
_REMEDIES: Final = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EACCES: "it is not permitted; choose a port from 1024 on",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 is all of its IPv4 addresses",
    errno.EAFNOSUPPORT: "this machine has no addresses of this kind",
}


class CannotServe(OSError):
    """Nothing can listen at the address; the text has the reason and a remedy."""


def _check_port(_listen: object, _field: object, port: int) -> None:
    if not 0 <= port <= _MAX_PORT:
        raise ValueError(f"{port} is no port: ports are 0 to {_MAX_PORT}")


@final
@attrs.frozen
class Listen:
    """Where to listen.

    Args:
        host: the address or name of this machine; without effect if there is a path.
        port: the port; 0 for any free one.
        path: the path of a Unix socket; "" for none.
        mode: the permissions of the Unix socket.
    """

    host: str = "127.0.0.1"
    port: int = attrs.field(default=0, validator=_check_port)
    path: str = ""
    mode: int = 0o600

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Read an address.

        Args:
            text: such as "127.0.0.1:4000", "[::1]:4000", ":4000", "4000", "unix:/run/app.sock" or
                "unix:/run/app.sock?mode=660". Without a host, it is that of this machine for itself
                (loopback). "[::]:4000" is each address of IPv6, and none of IPv4.

        Raises:
            ValueError: it is no address.
            TypeError: it is no text.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f'an address is text such as "127.0.0.1:4000", not {text!r:.60}')
        if text.startswith(_UNIX):
            return cls._parse_unix(text)
        host, _, port = text.rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if is_bracketed else host
        is_port = port.isascii() and port.isdecimal() and int(port) <= _MAX_PORT
        if (
            not is_port
            or any(sign in host for sign in "[]/ ")
            or (":" in host and not is_bracketed)
        ):
            raise ValueError(
                f"{text!r:.60} is no address: write HOST:PORT, such as 127.0.0.1:4000 or "
                "[::1]:4000, or unix:/PATH"
            )
        return cls(host or "127.0.0.1", int(port))

    @classmethod
    def _parse_unix(cls, text: str) -> "Listen":
        path, mark, mode = text.removeprefix(_UNIX).partition("?mode=")
        is_mode = not mark or (mode and not set(mode) - set("01234567") and int(mode, 8) <= 0o777)  # noqa: PLR2004  # permissions
        if not path.startswith("/") or path.endswith("/") or "\0" in path or not is_mode:
            raise ValueError(
                f"{text!r:.60} is no address: write unix:/PATH, such as unix:/run/app.sock or "
                "unix:/run/app.sock?mode=660"
            )
        return cls(path=path, mode=int(mode, 8) if mark else 0o600)


@final
@attrs.define(eq=False)
class Bound:
    """The sockets that listen at an address.

    Args:
        listen: the address, with the port that is used.
        listeners: the sockets, several if a name has several addresses.
        inode: the device and inode of the path of a Unix socket; None for a port.
    """

    listen: Listen
    listeners: Sequence[trio.SocketListener]
    inode: tuple[int, int] | None = None
    _is_closed: bool = attrs.field(default=False, init=False)

    def close(self) -> None:
        """Listen no more. A Unix socket is removed, unless another server has put its own there."""
        if self._is_closed:
            return
        self._is_closed = True
        if self.inode is not None and _inode(self.listen.path) == self.inode:
            Path(self.listen.path).unlink(missing_ok=True)
        for listener in self.listeners:
            listener.socket.close()


async def bind(listen: Listen) -> Bound:
    """Listen at an address.

    Args:
        listen: where to listen.

    Raises:
        CannotServe: nothing can listen there.
    """
    try:
        if listen.path:
            return Bound(listen, [_bind_path(listen)], _inode(listen.path))
        listeners = await _bind_host(listen)
    except OSError as error:
        raise CannotServe(f"cannot listen at {listen}: {_reason(listen, error)}") from error
    return Bound(attrs.evolve(listen, port=_port(listeners[0])), listeners)


async def check_address(listen: Listen) -> None:
    """Listen at an address for a moment.

    Args:
        listen: where to listen.

    Raises:
        CannotServe: nothing can listen there.
    """
    (await bind(listen)).close()


async def _bind_host(listen: Listen) -> list[trio.SocketListener]:
    """Listen at each address of a host that this machine has, at the same port."""
    found = await trio.socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
    hosts = list(dict.fromkeys(str(address[4][0]) for address in found))
    for _ in range(_ATTEMPTS - 1):
        try:
            return await _bind_addresses(hosts, listen.port)
        except OSError as error:
            is_by_chance = not listen.port and error.errno == errno.EADDRINUSE
            if not is_by_chance:  # the port that is free at one address is taken at another one
                raise
    return await _bind_addresses(hosts, listen.port)


async def _bind_addresses(hosts: list[str], port: int) -> list[trio.SocketListener]:
    listeners: list[trio.SocketListener] = []
    missing: OSError | None = None
    try:
        for host in hosts:
            try:
                listeners += await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error  # "localhost" has an address of IPv6, the machine may have none
            port = _port(listeners[0]) if listeners else port
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    if missing is not None and not listeners:
        raise missing
    return listeners


def _port(listener: trio.SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bind_path(listen: Listen) -> trio.SocketListener:
    """Listen at a Unix socket, in the place of one at which no program listens any more."""
    _remove_stale(listen.path)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        plain.bind(listen.path)
        Path(listen.path).chmod(listen.mode)  # before `listen`, so that it refuses connections
        plain.listen(_BACKLOG)
        return trio.SocketListener(trio.socket.from_stdlib_socket(plain))
    except BaseException:
        plain.close()
        raise


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(
            errno.EEXIST, "a file is there that is no socket; choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # that of a program that is busy may have no place in its line
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another program listens there; choose another path")


def _reason(listen: Listen, error: OSError) -> str:
    reason = error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        return f"{reason}; name an address of this machine, such as 127.0.0.1"
    if not listen.path:
        remedy = _REMEDIES.get(error.errno or 0)
        return f"{reason}; {remedy}" if remedy else reason
    folder = Path(listen.path).parent
    if error.errno == errno.ENOENT:
        return f"there is no folder {folder}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{reason}; choose a folder in which you may write instead of {folder}"
    if error.errno is None:  # Python refuses a path that is too long for a socket
        return f"{reason}; choose a shorter path"
    return reason
