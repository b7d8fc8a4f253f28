"""What was seen before and where, of any number of things: on disk, not in memory."""

import sqlite3
from typing import cast, final

__all__ = ["Seen"]

_CACHE_KIB = 1024


@final
class Seen:
    """Digests of 64 bits, and the number of the row that each was first seen in.

    They are in a temporary file that nobody else sees, and that goes away with the process. It goes
    by the digest alone: among a million things, two have the same one with a chance of 1 in 40
    million. From any thread, one at a time.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        columns = "digest INTEGER PRIMARY KEY, number INTEGER, again INTEGER DEFAULT 0"
        self._db.execute(f"CREATE TABLE seen ({columns})")
        self._db.execute("BEGIN")  # never ended: nothing of it is to last

    def first(self, digest: bytes, number: int) -> int | None:
        """The number of the row that it was first seen in; None if that is this one.

        Args:
            digest: 8 bytes.
            number: of this row.
        """
        insert = "INSERT OR IGNORE INTO seen (digest, number) VALUES (?, ?)"
        if self._db.execute(insert, (_whole(digest), number)).rowcount:
            return None
        return self.get(digest)

    def get(self, digest: bytes) -> int | None:
        """The number of the row that it was first seen in, if it was."""
        return self._ask("SELECT number FROM seen WHERE digest = ?", digest)

    def again(self, digest: bytes) -> int:
        """How often it was seen again after the first time, this time included."""
        update = "UPDATE seen SET again = again + 1 WHERE digest = ? RETURNING again"
        return self._ask(update, digest) or 0

    def close(self) -> None:
        """Forget it all."""
        self._db.close()

    def _ask(self, question: str, digest: bytes) -> int | None:
        row = self._db.execute(question, (_whole(digest),)).fetchone()
        return None if row is None else cast("int", row[0])


def _whole(digest: bytes) -> int:
    return int.from_bytes(digest, "little", signed=True)
