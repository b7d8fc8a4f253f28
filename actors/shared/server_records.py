"""Records on a Valkey or Redis server: one hash, which has no expiry, and a channel for hints."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import cast, final

import trio

from ..valkey import Hints, ServerAway, ServerScript, ServerUrl, ValkeyClient, open_valkey
from .records import LOOK_S, Records

_STATE = b""  # the field of the hash that has the state; ids are never empty

# Arguments: the known state. Returns nothing if it is still the one, else the fields and values.
_READ = ServerScript("""
local state = redis.call('HGET', KEYS[1], '')
if state and state == ARGV[1] then return false end
return redis.call('HGETALL', KEYS[1])
""")

# Arguments: the channel, the known state, the new one, then ids and records in turns. A state is
# written once, so a writer that finds its own has written before, and its answer was lost.
_WRITE = ServerScript("""
local state = redis.call('HGET', KEYS[1], '') or ''
if state == ARGV[3] then return 1 end
if state ~= ARGV[2] then return 0 end
for at = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('HSET', KEYS[1], '', ARGV[3])
redis.call('PUBLISH', ARGV[1], ARGV[3])
return 1
""")


@final
class ServerRecords:
    """A `RecordStore` on a server, which must write what it gets to its disk.

    Args:
        url: where the server is.
        kind: what the records are, such as "keys"; a part of the name of the hash.
    """

    def __init__(self, url: ServerUrl, kind: str) -> None:
        self._url = url
        self._key = f"callsheet:{{{kind}}}"
        self._channel = f"{self._key}:changed"
        self._client: ValkeyClient | None = None
        self._hints: Hints | None = None
        self._is_checked = False

    def __repr__(self) -> str:
        return f"<ServerRecords {self._key} at {self._url}>"

    @property
    def name(self) -> str:
        """See `RecordStore`."""
        return f"the shared server {self._url}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `RecordStore`. The server may be away, now and later."""
        async with open_valkey(self._url) as client:
            with suppress(ServerAway):  # it is asked again before the first use
                await self._check(client)
            async with client.hints(self._channel) as hints:
                self._client, self._hints = client, hints
                try:
                    yield
                finally:
                    self._client = self._hints = None

    async def read(self, known: str = "") -> Records | None:
        """See `RecordStore`."""
        found = await (await self._checked()).run(_READ, [self._key], [known])
        if found is None or found is False:
            return None
        fields = _pairs(found)
        state = fields.pop(_STATE, b"").decode()
        return Records(state, {name.decode(): record for name, record in fields.items()})

    async def write(self, known: str, records: Mapping[str, bytes], state: str) -> bool:
        """See `RecordStore`."""
        written = [part for pair in records.items() for part in pair]
        arguments = [self._channel, known, state, *written]
        return bool(await (await self._checked()).run(_WRITE, [self._key], arguments))

    async def wait_for_news(self) -> None:
        """See `RecordStore`."""
        hints = self._hints
        if hints is None:
            await trio.sleep(LOOK_S)
        else:
            await hints.wait()

    async def _checked(self) -> ValkeyClient:
        """Return the client of a server that keeps what it gets."""
        if self._client is None:
            raise RuntimeError(f"{self!r} is not open; use it inside `async with store.open()`")
        if not self._is_checked:
            await self._check(self._client)
        return self._client

    async def _check(self, client: ValkeyClient) -> None:
        await client.check(keeps=True)
        self._is_checked = True


def _pairs(reply: object) -> dict[bytes, bytes]:
    """Return the fields of a hash, which a script returns as a list, or as a map."""
    if isinstance(reply, dict):
        return cast("dict[bytes, bytes]", reply)
    parts = cast("list[bytes]", reply)
    return dict(zip(parts[::2], parts[1::2], strict=True))
