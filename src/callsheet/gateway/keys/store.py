"""The key store, as a protocol: the command line writes it, and running gateways read it."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from .issuing import GRACE_S, IssuedKey
from .key import ApiKey, KeyTerms
from .known import ValidKeys

if TYPE_CHECKING:
    from ...actors import SharedStores

SHARED_KEYS: Literal["shared"] = "shared"
"""What `store` of the section [keys] says for the keys on the server of [shared]."""

KeyPlace = Path | Literal["shared"]
"""Where keys are: in a file, or on the server that processes share."""


class KeyStore(Protocol):
    """The keys of a gateway. Its errors are those of `StorageError`.

    Attributes:
        known: the valid keys as they were read last.
        lasting_s: seconds for which they are relied on while the store cannot be read.
    """

    known: ValidKeys
    lasting_s: float

    @property
    def name(self) -> str:
        """What it is and where, for messages, without secrets (L8)."""
        ...

    @property
    def setting(self) -> str:
        """How a settings file names it, in TOML."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the store for the length of a block.

        Raises:
            StorageError: it cannot be used.
        """
        ...

    async def refresh(self) -> None:
        """Read what has changed into `known`, also what other processes have changed.

        Raises:
            StorageError: the store cannot be read.
        """
        ...

    async def wait_for_news(self) -> None:
        """Return when keys may have changed."""
        ...

    async def all(self) -> tuple[ApiKey, ...]:
        """Return every key, in the order of creation, also those that ended."""
        ...

    async def create(
        self,
        terms: KeyTerms,
        *,
        expires_at: float | None = None,
        replace: bool = False,
        grace_s: float = GRACE_S,
    ) -> IssuedKey:
        """Create a key; see `KeyWish`.

        Args:
            terms: what the key may use.
            expires_at: when it ends, in Unix seconds; None for never.
            replace: whether it takes the place of the valid keys of the same name.
            grace_s: seconds for which replaced keys stay valid.

        Raises:
            InvalidKey: the name is in use; or, if it is to be replaced, is not.
            StorageError: the store cannot be written.
        """
        ...

    async def revoke(self, which: str) -> tuple[ApiKey, ...]:
        """Revoke keys, and return them; calls with them are refused from now on.

        Args:
            which: the name of keys, the id of one, or its secret.

        Raises:
            InvalidKey: no valid key is meant.
            StorageError: the store cannot be written.
        """
        ...


def key_store(
    place: KeyPlace,
    shared: "SharedStores | None",
    *,
    create: bool = False,
    waits: bool = False,
    clock: Callable[[], float] = time.time,
) -> KeyStore:
    """Return the store at a place. It is not opened yet.

    Args:
        place: the file, or "shared" for the server.
        shared: the stores that processes share, which have the keys if they are on the server.
        create: whether to create what is missing when a first key is created.
        waits: whether keys on a server that is away are read later; until then none is known.
        clock: Unix time in seconds.

    Raises:
        ValueError: the keys are on the server, and no server is named.
    """
    if isinstance(place, Path):
        from .file import KeyFileStore  # noqa: PLC0415  # one of the two is used

        return KeyFileStore(place, create=create, clock=clock)
    if shared is None:
        raise ValueError(NO_SERVER)
    from .shared import SharedKeyStore  # noqa: PLC0415

    return SharedKeyStore(shared, create=create, waits=waits, clock=clock)


NO_SERVER = (
    'store = "shared" stands for the server that processes share, and none is named; add [shared] '
    "url, or set CALLSHEET_SHARED_URL"
)
"""Why keys cannot be on the server."""
