"""Where readings come from: the inspection socket of a program, a gateway, or a shared server."""

import errno
import re
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import final

import attrs
import httpx
import trio

from ..actors import (
    SCHEMES,
    Endpoint,
    InspectedProgram,
    Reading,
    UnreadableLine,
    read_program,
    read_reading,
    why_not_read,
)
from ..config import ADMIN_KEY_VARIABLE
from .reading_source import NoReading, ReadingSource

__all__ = ["AdminKey", "NoReading", "ReadingSource", "open_source", "shows_workers"]

_MAX_LINE = 64 * 1024**2  # bytes; a reading of 1,000 actors and 200 calls has 0.3 million
_CONNECT_S = 5.0
_READ_S = 10.0  # a gateway asks all its stages, each of which has a second
_PAGES = ("/v1", "/ui")  # of a gateway, whose URLs are at hand
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@final
@attrs.frozen
class AdminKey:
    """The admin key of a gateway.

    Args:
        variable: the variable of the environment that has it, for errors.
        value: the key; "" without one.
    """

    variable: str = ADMIN_KEY_VARIABLE
    value: str = attrs.field(default="", repr=False)


@asynccontextmanager
async def open_source(where: str, admin: AdminKey | None = None) -> AsyncGenerator[ReadingSource]:
    """Connect to a program.

    Args:
        where: the path of its inspection socket, the URL of a gateway, or that of the server which
            programs share.
        admin: the admin key of the gateway; None for none.

    Raises:
        NoReading: nothing can be read there; the message says why.
    """
    scheme = _SCHEME.match(where)
    if shows_workers(where):
        from .server import open_server  # noqa: PLC0415  # most readings are of one program

        async with open_server(where) as source:
            yield source
    elif scheme is None:
        async with _open_socket(where) as source:
            yield source
    elif scheme[1].lower() in ("http", "https"):
        async with _open_gateway(where, admin or AdminKey()) as source:
            yield source
    else:
        raise NoReading(
            f"readings from {scheme[1]}:// are not supported; give the path of an inspection "
            "socket (TroupeSettings(inspect=PATH) opens one), the http:// URL of a gateway, or the "
            f"URL of a shared server ({', '.join(f'{one}://' for one in SCHEMES)})"
        )


def shows_workers(where: str) -> bool:
    """Return whether this is the URL of a shared server, where the readings are of all programs.

    Args:
        where: what the user has given.
    """
    scheme = _SCHEME.match(where)
    return scheme is not None and scheme[1].lower() in SCHEMES


@asynccontextmanager
async def _open_socket(where: str) -> AsyncGenerator[ReadingSource]:
    try:
        with trio.fail_after(_CONNECT_S):
            stream = await trio.open_unix_socket(where)
    except trio.TooSlowError:
        raise NoReading(f"the program at {where} accepts no connection; try again later") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise NoReading(_why_not_connected(where, error)) from None
    async with stream:
        source = SocketSource(stream, where)
        with trio.move_on_after(_CONNECT_S) as scope:
            await source.begin()
        if scope.cancelled_caught:
            raise NoReading(f"the program at {where} does not reply; try again later")
        yield source


@final
class SocketSource:
    """The inspection socket of a program, as a `ReadingSource`.

    Args:
        stream: the connection to the program.
        where: the path of the socket, for messages.
    """

    def __init__(self, stream: trio.SocketStream, where: str) -> None:
        self.program = InspectedProgram(callsheet=0, pid=0, program="")  # until `begin`
        self._stream = stream
        self._where = where
        self._rest = bytearray()
        self._is_first = True

    async def begin(self) -> None:
        """Read which program it is.

        Raises:
            NoReading: it is no program of Callsheet, or refuses the connection.
        """
        line = await self._line()
        try:
            self.program = read_program(line)
        except UnreadableLine as error:
            raise NoReading(f"{self._where}: {error}") from None

    async def read(self) -> Reading:
        """See `ReadingSource`."""
        if not self._is_first:  # the first reading comes without a request
            try:
                await self._stream.send_all(b"\n")
            except trio.BrokenResourceError:
                raise NoReading(self._gone) from None
        self._is_first = False
        line = await self._line()
        try:
            return read_reading(line)
        except UnreadableLine as error:
            raise NoReading(f"{self._where}: {error}") from None

    @property
    def _gone(self) -> str:
        return f"the program at {self._where} has ended, or has closed the connection"

    async def _line(self) -> bytes:
        """Return the next line.

        Raises:
            NoReading: the connection ends first, or the line is too long.
        """
        begin = 0
        while (end := self._rest.find(b"\n", begin)) < 0:
            begin = len(self._rest)
            if begin > _MAX_LINE:
                raise NoReading(f"{self._where}: what answers there writes no lines")
            try:
                received = await self._stream.receive_some()
            except trio.BrokenResourceError:
                received = b""
            if not received:
                raise NoReading(self._gone)
            self._rest += received
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line


@asynccontextmanager
async def _open_gateway(where: str, admin: AdminKey) -> AsyncGenerator[ReadingSource]:
    url = where.rstrip("/")
    for page in _PAGES:
        url = url.removesuffix(page)
    try:
        gateway = Endpoint(url)
    except ValueError as error:
        raise NoReading(f"this is no URL of a gateway: {error}") from None
    headers = {"Authorization": f"Bearer {admin.value}"} if admin.value else {}
    # A transport of one's own uses no proxy of the environment, and its certificate authorities.
    transport = httpx.AsyncHTTPTransport() if gateway.is_loopback else None
    async with httpx.AsyncClient(headers=headers, timeout=_READ_S, transport=transport) as client:
        yield GatewaySource(client, gateway, admin)


@final
class GatewaySource:
    """A gateway, as a `ReadingSource`: each reading is one request.

    Args:
        client: sends the requests, with the admin key.
        gateway: the URL of the gateway.
        admin: the admin key, for errors.
    """

    def __init__(self, client: httpx.AsyncClient, gateway: Endpoint, admin: AdminKey) -> None:
        self.program = InspectedProgram(callsheet=0, pid=0, program="")  # until the first reading
        self._client = client
        self._url = f"{gateway.base_url}/api/top"
        self._where = gateway.shown_url
        self._admin = admin

    async def read(self) -> Reading:
        """See `ReadingSource`."""
        try:
            async with self._client.stream("GET", self._url) as response:
                if response.status_code != HTTPStatus.OK:
                    raise NoReading(self._refusal(response.status_code))
                lines = await self._body(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = _reason(error)
            raise NoReading(f"cannot read the gateway at {self._where}: {reason}") from None
        first, _, second = lines.partition(b"\n")
        try:
            self.program = read_program(first)
            return read_reading(second)
        except UnreadableLine as error:
            raise NoReading(f"{self._where}: {error}") from None

    async def _body(self, response: httpx.Response) -> bytes:
        found = bytearray()
        async for piece in response.aiter_bytes():
            found += piece
            if len(found) > _MAX_LINE:
                raise NoReading(f"{self._where}: what answers there writes no readings")
        return bytes(found)

    def _refusal(self, status: int) -> str:
        admin = self._admin
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            if admin.value:
                return f"the gateway at {self._where} has another admin key than ${admin.variable}"
            return (
                f"the gateway at {self._where} shows this to its admin only; put its admin key "
                f"into the environment: {admin.variable}=..."
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return f"the gateway at {self._where} was given wrong admin keys; try again later"
        return f"what answers at {self._where} with status {status} is no gateway of Callsheet"


def _reason(error: Exception) -> str:
    """Return the text of an error, or of what it came from, as of a TLS handshake that failed."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__ if cause is None else str(cause)


def _why_not_connected(where: str, error: Exception) -> str:
    """Return why no connection can be made, and what to do."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        is_address = _HOST_AND_PORT.fullmatch(where) is not None
        why = "the program does not run, or has no TroupeSettings(inspect=...)"
        remedy = f"; the URL of a gateway is http://{where}" if is_address else f": {why}"
        return f"there is no socket at {where}{remedy}"
    if number == errno.ECONNREFUSED:
        if stat.S_ISSOCK(Path(where).lstat().st_mode):
            return f"the program at {where} has ended; its socket is left over"
        return f"{where} is no socket; give the path of TroupeSettings(inspect=...)"
    if number in (errno.EACCES, errno.EPERM):
        return f"only the user who runs the program may look at it: {where}: permission denied"
    if number == errno.EAGAIN:
        return f"the program at {where} accepts no connection; try again later"
    reason = why_not_read(error) if isinstance(error, OSError) else str(error)
    return f"cannot connect to {where}: {reason}"
