"""Compare the rows of an input with the responses of earlier runs, before any row is sent.

A row whose key has a response needs no call. Of the others, a row has changed if the store has a
response under its id that no row of the input matches, or one to the same request under another id.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self, final

import attrs

from ..row import Row
from ..row_parts import WHOLE_BYTES, changed_parts
from .known import KnownKeys

_CACHE_KIB = 2048
_ROWS = "CREATE TABLE open_rows (id BLOB PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID"
_STALE = "CREATE TABLE stale (parts BLOB NOT NULL)"
_TAKE = "DELETE FROM open_rows WHERE id = ? RETURNING key"
_MOVED = """SELECT coalesce(sum(min(now, before)), 0) FROM
    (SELECT substr(key, ?1) AS parts, count(*) AS now FROM open_rows GROUP BY parts)
    JOIN (SELECT parts, count(*) AS before FROM stale GROUP BY parts) USING (parts)"""


@attrs.frozen
class InputComparison:
    """How the rows of an input compare with the responses in a store.

    Args:
        responses: the number of responses in the store.
        matched: rows that have a response.
        changed: rows that have changed since they got a response, and would be paid for again.
        parts: the number of changed rows by what has changed; a row may have several.
    """

    responses: int = 0
    matched: int = 0
    changed: int = 0
    parts: Mapping[str, int] = attrs.field(factory=dict[str, int])

    @property
    def repeats_most(self) -> bool:
        """Whether most rows that have had a response would be paid for again."""
        return self.changed > self.matched


@final
class RowComparer:
    """Compares rows, one by one; the memory it takes is a bit for each response.

    Use it as a context manager, which removes its temporary file.

    Args:
        known: the responses of earlier runs, in a store.
    """

    def __init__(self, known: KnownKeys) -> None:
        self._known = known
        self._matches = bytearray(known.last // 8 + 1)  # a bit for each response
        self._matched = self._open = 0
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(_ROWS)
        self._db.execute(_STALE)
        self._db.execute("BEGIN")  # never committed: the file is temporary

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def is_known(self, row: Row) -> bool:
        """Add a row, and return whether it has a response.

        Args:
            row: the next row of the input.
        """
        number = self._known.find(row.key)
        if number is not None:
            self._matched += 1
            self._matches[number // 8] |= 1 << number % 8
            return True
        if self._known.last:
            self._open += 1
            insert = "INSERT OR IGNORE INTO open_rows VALUES (?, ?)"
            self._db.execute(insert, (_bytes(row.custom_id), row.key))
        return False

    def result(self) -> InputComparison:
        """Return how the rows compare, after the last one."""
        responses = self._known.responses
        parts = Counter[str]()
        changed = 0
        if self._open and responses > self._matched:
            for id_, key in self._stale():
                taken = self._db.execute(_TAKE, (_bytes(id_),)).fetchone()
                if taken is None:
                    self._db.execute("INSERT INTO stale VALUES (?)", (key[WHOLE_BYTES:],))
                    continue
                changed += 1
                parts.update(changed_parts(key, taken[0]) or ("request",))
            moved: int = self._db.execute(_MOVED, (WHOLE_BYTES + 1,)).fetchone()[0]
            if moved:
                changed += moved
                parts["id"] += moved
        return InputComparison(responses, self._matched, changed, dict(parts.most_common()))

    def _stale(self) -> Iterator[tuple[str, bytes]]:
        """Yield id and key of the responses that match no row, the latest first."""
        for number, id_, key in self._known.latest():
            if not self._matches[number // 8] >> number % 8 & 1:
                yield id_, key


def _bytes(custom_id: str) -> bytes:
    return custom_id.encode("utf-8", "surrogatepass")
