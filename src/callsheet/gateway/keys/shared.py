"""Keys on the server that processes share: all replicas of a gateway have the same.

A key is a record of its terms and of the hash of its secret. The records change rarely and are few,
so a gateway reads them as a whole when it hears of a change, or once a second if it has.
"""

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio

from ...actors import DamagedFile, Records, ServerAway, StorageUnavailable
from .issuing import GRACE_S, IssuedKey, KeyWish, revoked
from .key import ApiKey, InvalidKey, KeyTerms, hash_of, is_secret
from .known import KeyChanges, ValidKeys

if TYPE_CHECKING:
    from ...actors import SharedStores

LASTING_S: Final = 300.0
"""Seconds for which the keys that were read last are valid while the server is away. A key that is
revoked meanwhile is refused at the latest then, by a replica that cannot reach the server."""

_KIND: Final = "keys"
_TRIES: Final = 5
_AGAIN_S: Final = 0.2


@final
class SharedKeyStore:
    """The keys of the replicas of a gateway; a `KeyStore`.

    Args:
        shared: the stores that processes share.
        create: whether a first key may be created where there is none.
        waits: whether it opens without keys while the server is away, and reads them later.
        clock: Unix time in seconds.
    """

    lasting_s = LASTING_S
    setting = '[keys] store = "shared" and the same [shared] url'

    def __init__(
        self,
        shared: "SharedStores",
        *,
        create: bool = False,
        waits: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.known = ValidKeys(clock=clock)
        self._records = shared.records(_KIND)
        self._create = create
        self._waits = waits
        self._clock = clock
        self._state = ""

    def __repr__(self) -> str:
        return f"<SharedKeyStore {self.known!r} of {self.name}>"

    @property
    def name(self) -> str:
        """See `KeyStore`."""
        return f"the keys on {self._records.name}"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """See `KeyStore`."""
        async with self._records.open():
            try:
                found = await self._records.read()
            except (ServerAway, StorageUnavailable):
                if not self._waits:
                    raise
                self.known.is_current = False
            else:
                self._apply(found)
            yield

    async def refresh(self) -> None:
        """See `KeyStore`."""
        self._apply(await self._records.read(self._state))

    def _apply(self, found: Records | None) -> None:
        if found is None:
            return
        if not found.state and not self._create:  # it has lost them, or never had any
            raise StorageUnavailable(
                self.name,
                "there are none",
                "create a first key: callsheet keys create NAME --shared URL",
            )
        self._take(found)

    async def wait_for_news(self) -> None:
        """See `KeyStore`."""
        await self._records.wait_for_news()

    async def all(self) -> tuple[ApiKey, ...]:
        """See `KeyStore`."""
        found = await self._records.read()
        return tuple(key for _, key in self._decoded(found or Records()))

    async def create(
        self,
        terms: KeyTerms,
        *,
        expires_at: float | None = None,
        replace: bool = False,
        grace_s: float = GRACE_S,
    ) -> IssuedKey:
        """See `KeyStore`."""
        wish = KeyWish(terms=terms, expires_at=expires_at, replace=replace, grace_s=grace_s)
        issued = wish.new_key(self._clock())
        new = {issued.key.id: _encoded(hash_of(issued.secret), issued.key)}

        def change(keys: Mapping[bytes, ApiKey]) -> tuple[ApiKey, ...]:
            named = (key for key in keys.values() if key.name == wish.terms.name)
            return wish.replaced(named, _names(keys), self._clock())

        replaced = await self._change(change, new)
        return attrs.evolve(issued, replaced=replaced)

    async def revoke(self, which: str) -> tuple[ApiKey, ...]:
        """See `KeyStore`."""
        digest = hash_of(which) if is_secret(which) else None

        def change(keys: Mapping[bytes, ApiKey]) -> tuple[ApiKey, ...]:
            meant = [
                key
                for known, key in keys.items()
                if (known == digest if digest else which in (key.name, key.id))
            ]
            return revoked(which, meant, _names(keys), self._clock())

        return await self._change(change, {})

    # ----------------------------------------------------------------

    async def _change(
        self,
        change: Callable[[Mapping[bytes, ApiKey]], tuple[ApiKey, ...]],
        new: Mapping[str, bytes],
    ) -> tuple[ApiKey, ...]:
        """Write what a change makes of the keys, again if another writer was faster."""
        for _ in range(_TRIES):
            found = await self._records.read() or Records()
            if not found.state and not self._create:
                raise InvalidKey("there are no keys yet; create a first one")
            keys = dict(self._decoded(found))
            changed = change(keys)
            hashes = {key.id: digest for digest, key in keys.items()}
            records = {key.id: _encoded(hashes[key.id], key) for key in changed} | dict(new)
            if await self._write(found.state, records):
                if (now := await self._records.read()) is not None:
                    self._take(now)
                return changed
        raise StorageUnavailable(self.name, "others change them all the time", "try again")

    async def _write(self, known: str, records: Mapping[str, bytes]) -> bool:
        """Write records; ask again with the same state after a lost answer."""
        state = secrets.token_hex(8)
        for left in reversed(range(_TRIES)):
            try:
                return await self._records.write(known, records, state)
            except ServerAway:
                if not left:
                    raise
                await trio.sleep(_AGAIN_S)
        raise AssertionError  # the last try returns or raises

    def _take(self, found: Records) -> None:
        self._state = found.state
        self.known.apply(KeyChanges(self._decoded(found), is_all=True))

    def _decoded(self, found: Records) -> tuple[tuple[bytes, ApiKey], ...]:
        """Return each key with its hash, the oldest first.

        Raises:
            DamagedFile: a record is no key of this version.
        """
        try:
            keys = [_decoded(record) for record in found.records.values()]
        except (ValueError, TypeError, KeyError) as error:
            remedy = "use the callsheet that has written it, or give another server"
            raise DamagedFile(self.name, f"one of them is no key: {error}", remedy) from None
        return tuple(sorted(keys, key=lambda one: (one[1].created_at, one[1].id)))


def _names(keys: Mapping[bytes, ApiKey]) -> Iterable[str]:
    return {key.name for key in keys.values()}


def _encoded(digest: bytes, key: ApiKey) -> bytes:
    fields = {one.name: getattr(key, one.name) for one in attrs.fields(ApiKey) if one.init}
    return json.dumps({"hash": digest.hex(), **fields}).encode()


def _decoded(record: bytes) -> tuple[bytes, ApiKey]:
    fields: dict[str, Any] = json.loads(record)
    digest = bytes.fromhex(fields.pop("hash"))
    return digest, ApiKey(**fields)
