"""The valid keys of a gateway in memory, so that finding one waits for no disk. Pure (R14)."""

import hmac
import time
from collections.abc import Callable

import attrs

from .key import ApiKey, hash_of


@attrs.frozen
class KeyChanges:
    """What was read from a key store.

    Args:
        keys: the hash of each key that has changed, and the key.
        is_all: whether these are all keys there are.
    """

    keys: tuple[tuple[bytes, ApiKey], ...] = ()
    is_all: bool = False

    def __bool__(self) -> bool:
        return self.is_all or bool(self.keys)


class ValidKeys:
    """The keys that were read from a key store.

    Args:
        clock: Unix time in seconds.

    Attributes:
        is_current: whether they may still be relied on; a store that is away for long ends that.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.is_current = True
        self._clock = clock
        self._by_hash: dict[bytes, ApiKey] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._by_hash)} keys>"

    def find(self, secret: str) -> ApiKey | None:
        """Return the valid key that has a secret; None if there is none.

        The time that it takes does not depend on how much of a secret is right: what is looked up
        is the hash, and two hashes are compared as a whole.

        Args:
            secret: what a client has sent.
        """
        wanted = hash_of(secret)
        key = self._by_hash.get(wanted)
        found = hash_of("") if key is None else wanted
        if not hmac.compare_digest(wanted, found) or key is None:
            return None
        return key if key.is_valid(self._clock()) else None

    def find_admin(self, secret: str) -> Callable[[], bool] | None:
        """Return what tells whether a key is still one of an admin; None if it is none now.

        Args:
            secret: what a client has sent.
        """
        key = self.find(secret)
        if key is None or not key.is_admin:
            return None
        digest = hash_of(secret)

        def is_valid() -> bool:
            known = self._by_hash.get(digest)
            return known is not None and known.is_admin and known.is_valid(self._clock())

        return is_valid

    def valid(self) -> tuple[ApiKey, ...]:
        """Return the keys that are valid now, the oldest first."""
        now = self._clock()
        return tuple(key for key in self._by_hash.values() if key.is_valid(now))

    def apply(self, changes: KeyChanges) -> None:
        """Take in what was read from the store.

        Args:
            changes: what has changed there.
        """
        now = self._clock()
        known = {} if changes.is_all else self._by_hash
        for digest, key in changes.keys:
            if key.is_valid(now):
                known[digest] = key
            else:
                known.pop(digest, None)
        self._by_hash = known
