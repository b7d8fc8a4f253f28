"""Reports on a Valkey or Redis server: a key for each program, and an index of them by time."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast, final

from ..valkey import ServerScript, ServerUrl, ValkeyClient, open_valkey
from .reports import LASTING_S

_INDEX: Final = "callsheet:{programs}"
_MS: Final = 1000
_MOST: Final = 2000  # programs that are shown

# Keys: the index, the report. Arguments: the program, the report, the milliseconds that it lasts.
_REPORT = ServerScript("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lasts = tonumber(ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - lasts))
redis.call('PEXPIRE', KEYS[1], lasts * 6)
return 1
""")


@final
class ServerReports:
    """A `ReportBoard` on a server.

    Args:
        url: where the server is.
    """

    def __init__(self, url: ServerUrl) -> None:
        self._url = url
        self._client: ValkeyClient | None = None

    def __repr__(self) -> str:
        return f"<ServerReports at {self._url}>"

    @property
    def name(self) -> str:
        """See `ReportBoard`."""
        return f"the shared server {self._url}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `ReportBoard`."""
        async with open_valkey(self._url) as client:
            self._client = client
            try:
                yield
            finally:
                self._client = None

    async def report(self, program: str, body: bytes) -> None:
        """See `ReportBoard`."""
        lasting_ms = int(LASTING_S * _MS)
        await self._open.run(_REPORT, [_INDEX, _key(program)], [program, body, lasting_ms])

    async def withdraw(self, program: str) -> None:
        """See `ReportBoard`."""
        await self._open.command("DEL", _key(program))
        await self._open.command("ZREM", _INDEX, program)

    async def reports(self) -> Mapping[str, bytes]:
        """See `ReportBoard`."""
        found = cast("list[bytes]", await self._open.command("ZRANGE", _INDEX, 0, _MOST - 1))
        if not found:
            return {}
        programs = [one.decode() for one in found]
        bodies = cast("list[bytes | None]", await self._open.command("MGET", *map(_key, programs)))
        pairs = zip(programs, bodies, strict=True)
        return {program: body for program, body in pairs if body is not None}

    @property
    def _open(self) -> ValkeyClient:
        if self._client is None:
            raise RuntimeError(f"{self!r} is not open; use it inside `async with board.open()`")
        return self._client


def _key(program: str) -> str:
    return f"{_INDEX}:{program}"
