"""Find duplicates among any number of rows, on disk rather than in memory."""

import sqlite3
from typing import cast, final

_CACHE_KIB = 1024


@final
class Seen:
    """Digests of 64 bits, each with the number of the row that it was first seen in.

    They are in a temporary file, which the system removes with the process. Only digests are
    compared:
    among a million rows, two different ones collide with a probability of 1 in 40 million. Any
    thread may use it, one at a time.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        columns = "digest INTEGER PRIMARY KEY, number INTEGER, again INTEGER DEFAULT 0"
        self._db.execute(f"CREATE TABLE seen ({columns})")
        self._db.execute("BEGIN")  # never committed: the file is temporary

    def first(self, digest: bytes, number: int) -> int | None:
        """Record a digest; return the row that it was first seen in, or None if it is new.

        Args:
            digest: 8 bytes.
            number: the number of this row.
        """
        insert = "INSERT OR IGNORE INTO seen (digest, number) VALUES (?, ?)"
        if self._db.execute(insert, (_whole(digest), number)).rowcount:
            return None
        return self.get(digest)

    def get(self, digest: bytes) -> int | None:
        """Return the number of the row that a digest was first seen in; None if it is new."""
        return self._ask("SELECT number FROM seen WHERE digest = ?", digest)

    def again(self, digest: bytes) -> int:
        """Count and return how often a digest was seen after the first time, this time included."""
        update = "UPDATE seen SET again = again + 1 WHERE digest = ? RETURNING again"
        return self._ask(update, digest) or 0

    def close(self) -> None:
        """Close the temporary file."""
        self._db.close()

    def _ask(self, question: str, digest: bytes) -> int | None:
        row = self._db.execute(question, (_whole(digest),)).fetchone()
        return None if row is None else cast("int", row[0])


def _whole(digest: bytes) -> int:
    return int.from_bytes(digest, "little", signed=True)
