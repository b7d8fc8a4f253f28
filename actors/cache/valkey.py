"""A response cache on a Valkey or Redis server, with the claims of calls, for many processes.

Keys, all with an expiry:

    callsheet:cache:r:KEY   a response: when it arrived (a double), and the encoded response
    callsheet:cache:c:KEY   the process that makes a call: its name, and "*" if others wait for it;
                            "" if all may make it
    callsheet:cache:uses    a sorted set: when each response was used last
    callsheet:cache:ends    a sorted set: when each response expires
    callsheet:cache:sizes   a hash: the bytes that each response takes, and under "" their sum

The server must not forget keys by itself, because limits and budgets may be on it. So the cache
bounds itself: it drops the responses that were not used for the longest time, and it takes no more
than half of the memory that the server may use.
"""

import secrets
import struct
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, TypeVar, cast, final

from ..valkey import ServerAway, ServerScript, ServerUrl, open_valkey
from .claims import FREE_S, LEASE_S, ClaimAsk, ClaimState
from .policy import CachePolicy
from .store import CacheEntry, CacheUsage

if TYPE_CHECKING:
    from ..valkey import Hints, ValkeyClient

_PREFIX = "callsheet:cache:"
_INDEX = [f"{_PREFIX}uses", f"{_PREFIX}ends", f"{_PREFIX}sizes"]
_CHANNEL = f"{_PREFIX}news"
_AT = struct.Struct("<d")
_MAX_VALUE_BYTES = 16 * 2**20  # a larger one would hold up the limits of other processes
_ENTRY_BYTES = 600  # that a response takes beside its bytes, approximately
_LONGEST_S = 400 * 86_400.0  # how long a response is kept whose policy has no end
_AT_ONCE = 100  # keys of one command, which holds up all others
_BYTES_AT_ONCE = 4 * 2**20
_CLEARED_AT_ONCE = 1000
_STATES: dict[bytes, ClaimState] = {
    b"mine": "mine",
    b"stored": "stored",
    b"elsewhere": "elsewhere",
    b"free": "free",
}

_DROP = """
local uses, ends, sizes = KEYS[1], KEYS[2], KEYS[3]
local function drop(key)
  local size = redis.call('HGET', sizes, key)
  if size then
    redis.call('HDEL', sizes, key)
    redis.call('HINCRBY', sizes, '', -tonumber(size))
  end
  redis.call('ZREM', uses, key)
  redis.call('ZREM', ends, key)
  redis.call('UNLINK', ARGV[1] .. 'r:' .. key)
end
"""
# KEYS: responses. ARGV: bytes after which the answer ends early.
_GET = ServerScript(
    """
local values, size = {}, 0
for i, key in ipairs(KEYS) do
  values[i] = redis.call('GET', key)
  size = size + (values[i] and #values[i] or 0)
  if size >= tonumber(ARGV[1]) then break end
end
return values
"""
)
# ARGV: prefix, bytes that all may take, bytes beside each, the longest expiry in seconds, number of
# keys that were used, these keys, and for each response its key, seconds until its end, its value.
_PUT = ServerScript(
    _DROP
    + """
local prefix, most, beside = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local function seconds(value) return string.format('%.6f', value) end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', seconds(now), 'LIMIT', 0, 1000)) do
  drop(key)
end
local at = 6 + tonumber(ARGV[5])
for i = 6, at - 1 do redis.call('ZADD', uses, 'XX', seconds(now), ARGV[i]) end
for i = at, #ARGV, 3 do
  local key, left, value = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local size = #value + beside
  local before = redis.call('HGET', sizes, key) or 0
  redis.call('SET', prefix .. 'r:' .. key, value, 'PX', string.format('%.0f', 1000 * left))
  redis.call('HSET', sizes, key, size)
  redis.call('HINCRBY', sizes, '', size - tonumber(before))
  redis.call('ZADD', uses, seconds(now), key)
  redis.call('ZADD', ends, seconds(now + left), key)
end
local evicted = 0
while tonumber(redis.call('HGET', sizes, '') or 0) > most do
  local oldest = redis.call('ZRANGE', uses, 0, 0)[1]
  if not oldest then break end
  drop(oldest)
  evicted = evicted + 1
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[4]) end
return evicted
"""
)
# ARGV: prefix, how many to drop.
_CLEAR = ServerScript(
    _DROP
    + """
local keys = redis.call('ZRANGE', uses, 0, tonumber(ARGV[2]) - 1)
for _, key in ipairs(keys) do drop(key) end
return #keys
"""
)
# KEYS: for each call its claim, and where a response may be. ARGV: owner, lease in ms, keys of one.
_CLAIM = ServerScript(
    """
local owner, lease, width = ARGV[1], ARGV[2], tonumber(ARGV[3])
local states = {}
for at = 1, #KEYS, width do
  local state = 'mine'
  for i = at + 1, at + width - 1 do
    if redis.call('EXISTS', KEYS[i]) == 1 then state = 'stored' end
  end
  if state == 'mine' then
    local held = redis.call('GET', KEYS[at])
    if held == '' then
      state = 'free'
    elseif held and held ~= owner and held ~= owner .. '*' then
      state = 'elsewhere'
      if held:sub(-1) ~= '*' then redis.call('SET', KEYS[at], held .. '*', 'KEEPTTL') end
    else
      redis.call('SET', KEYS[at], held or owner, 'PX', lease)
    end
  end
  states[#states + 1] = state
end
return states
"""
)
# KEYS: claims. ARGV: owner, lease in ms.
_RENEW = ServerScript(
    """
for _, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if not held then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  elseif held == ARGV[1] or held == ARGV[1] .. '*' then
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
"""
)
# KEYS: claims. ARGV: owner, for how many ms all are free (0: not), channel, bytes of the prefix.
_RELEASE = ServerScript(
    """
for _, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held == ARGV[1] or held == ARGV[1] .. '*' then
    if ARGV[2] == '0' then
      redis.call('DEL', key)
    else
      redis.call('SET', key, '', 'PX', ARGV[2])
    end
    if held ~= ARGV[1] then redis.call('PUBLISH', ARGV[3], key:sub(ARGV[4] + 1)) end
  end
end
"""
)


@final
class ValkeyCache:
    """A `SharedCache` on a server.

    Args:
        url: where the server is.
        policy: how long responses are valid, and the bytes that all may take on the server.
    """

    def __init__(self, url: ServerUrl, policy: CachePolicy) -> None:
        self._url = url
        self._ttl_s = inf if policy.ttl_s is None else policy.ttl_s
        self._max_bytes = policy.max_bytes
        self._evicted = 0
        self._owner = secrets.token_hex(8)
        self._client: ValkeyClient | None = None
        self._hints: Hints | None = None
        self._room: int | None = None  # on this server; not known yet

    def __repr__(self) -> str:
        return f"<ValkeyCache {self._url}>"

    @property
    def name(self) -> str:
        """The URL of the server, without user name and password."""
        return str(self._url)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[None]:
        """See `SharedCache`."""
        async with open_valkey(self._url) as client, client.hints(_CHANNEL) as hints:
            self._client, self._hints = client, hints
            try:
                yield
            finally:
                self._client = self._hints = None

    async def open(self) -> None:
        """Do nothing: a session holds the connection."""

    async def get_many(self, keys: Sequence[str], now: float) -> Sequence[CacheEntry]:
        """See `CacheStore`."""
        found: list[CacheEntry] = []
        left = list(keys)
        while left:
            asked = [f"{_PREFIX}r:{key}" for key in left[:_AT_ONCE]]
            values = cast("list[bytes | None]", await self._open.run(_GET, asked, [_BYTES_AT_ONCE]))
            for key, value in zip(left, values, strict=False):  # as many as fit
                if value is not None and len(value) > _AT.size:
                    (written_at,) = _AT.unpack_from(value)
                    if written_at > now - self._ttl_s:
                        found.append(CacheEntry(key, value[_AT.size :], written_at))
            left = left[len(values) :]
        return found

    async def put_many(
        self, entries: Sequence[CacheEntry], used: Sequence[str], now: float
    ) -> None:
        """See `CacheStore`; responses of more than 16 MiB are not stored."""
        most = min(_MAX_VALUE_BYTES, self._max_bytes // 4)
        fitting = [entry for entry in entries if len(entry.value) <= most]
        left = list(used)
        while left or fitting:
            used_now, left = left[:_AT_ONCE], left[_AT_ONCE:]
            size, count = 0, 0
            while count < min(len(fitting), _AT_ONCE) and (not count or size < _BYTES_AT_ONCE):
                size += len(fitting[count].value)
                count += 1
            entries_now, fitting = fitting[:count], fitting[count:]
            await self._put(entries_now, used_now, now)

    async def _put(self, entries: Sequence[CacheEntry], used: Sequence[str], now: float) -> None:
        stored: list[str | bytes | float] = []
        for entry in entries:
            left_s = min(_LONGEST_S, entry.written_at + self._ttl_s - now)
            if left_s >= 0.001:  # noqa: PLR2004  # the server counts milliseconds
                stored += (entry.key, left_s, _AT.pack(entry.written_at) + entry.value)
        room = min(self._max_bytes, await self._room_of_server())
        evicted = await self._open.run(
            _PUT, _INDEX, [_PREFIX, room, _ENTRY_BYTES, int(_LONGEST_S), len(used), *used, *stored]
        )
        self._evicted += cast("int", evicted)

    async def _room_of_server(self) -> int:
        if self._room is None:
            reply = await self._open.command("INFO", "memory")
            lines = cast("bytes", reply).decode(errors="replace").splitlines()
            values = [line.partition(":")[2] for line in lines if line.startswith("maxmemory:")]
            most = int(values[0]) if values and values[0].isdecimal() else 0
            self._room = most // 2 if most else 2**62
        return self._room

    async def usage(self) -> CacheUsage:
        """See `CacheStore`."""
        entries = await self._open.command("ZCARD", _INDEX[0])
        size = await self._open.command("HGET", _INDEX[2], "")
        return CacheUsage(cast("int", entries), int(cast("bytes", size or b"0")), self._evicted)

    async def clear(self) -> None:
        """See `CacheStore`; claims remain."""
        while await self._open.run(_CLEAR, _INDEX, [_PREFIX, _CLEARED_AT_ONCE]):
            pass

    async def set_aside(self) -> str | None:
        """See `CacheStore`; a server is never moved."""
        return None

    async def close(self) -> None:
        """Do nothing: a session holds the connection."""

    # ---------------------------------------------------------------- claims

    async def claim(self, asked: Sequence[ClaimAsk]) -> Sequence[ClaimState]:
        """See `CallClaims`."""
        states: list[ClaimState] = []
        for some in _parts(asked, _AT_ONCE):
            width = max(len(one.keys) for one in some)
            keys: list[str] = []
            for one in some:
                padded = (*one.keys, *one.keys[-1:] * (width - len(one.keys)))
                keys += (f"{_PREFIX}c:{one.claim}", *(f"{_PREFIX}r:{key}" for key in padded))
            reply = await self._open.run(_CLAIM, keys, [self._owner, _ms(LEASE_S), width + 1])
            states.extend(_STATES[state] for state in cast("list[bytes]", reply))
        return states

    async def renew(self, claims: Sequence[str]) -> None:
        """See `CallClaims`."""
        for some in _parts(claims, _AT_ONCE):
            await self._open.run(_RENEW, _claim_keys(some), [self._owner, _ms(LEASE_S)])

    async def release(self, claims: Sequence[str], *, free: bool) -> None:
        """See `CallClaims`."""
        arguments: list[str | bytes | float]
        arguments = [self._owner, _ms(FREE_S) if free else 0, _CHANNEL, len(f"{_PREFIX}c:")]
        for some in _parts(claims, _AT_ONCE):
            await self._open.run(_RELEASE, _claim_keys(some), arguments)

    async def wait_for_ends(self) -> Collection[str]:
        """See `CallClaims`."""
        if self._hints is None:
            raise ServerAway(f"the shared cache {self.name}", "it is not open")
        claim = await self._hints.wait()
        return () if claim is None else (claim.decode(errors="replace"),)

    @property
    def _open(self) -> "ValkeyClient":
        if self._client is None:
            raise ServerAway(f"the shared cache {self.name}", "it is not open")
        return self._client


def _claim_keys(claims: Sequence[str]) -> list[str]:
    return [f"{_PREFIX}c:{claim}" for claim in claims]


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


T = TypeVar("T")


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
