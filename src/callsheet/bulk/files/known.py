"""Look up the responses of earlier runs, without changing anything."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import final

from ..errors import BulkRefused

__all__ = [
    "KnownKeys",
    "open_known",
]


@final
class KnownKeys:
    """The keys that have a response.

    Args:
        connection: the connection to the store; None if there is no store.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection

    def has(self, key: bytes) -> bool:
        """Return whether a key has a response."""
        if self._connection is None:
            return False
        row = self._connection.execute("SELECT 1 FROM answers WHERE key = ?", (key,)).fetchone()
        return row is not None

    @property
    def cost_usd(self) -> Decimal:
        """The cost of the responses in USD, as far as it is known."""
        if self._connection is None:
            return Decimal(0)
        (usd,) = self._connection.execute("SELECT cost_usd FROM account").fetchone()
        return Decimal(usd)


@contextmanager
def open_known(path: Path) -> Generator[KnownKeys]:
    """Open a store for reading.

    Args:
        path: the path of the store, which need not exist.

    Raises:
        BulkRefused: a run has it open, or it cannot be read.
    """
    if not path.exists():
        yield KnownKeys(None)
        return
    connection = sqlite3.connect(path, timeout=0.5, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("SELECT count(*) FROM (SELECT 1 FROM answers LIMIT 1)").fetchone()
    except sqlite3.Error as error:
        connection.close()
        raise BulkRefused(
            f"{path} cannot be read: {error}", "wait until the run that has it has ended"
        ) from None
    try:
        yield KnownKeys(connection)
    finally:
        connection.close()
