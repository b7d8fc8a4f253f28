"""Read what a store of earlier runs contains, and compare the rows of an input with it.

A row whose key has a response needs no call. Of the others, a row has changed if the store has a
response under its id that no row of the input matches, or one to the same request under another id.
The store is not changed.
"""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Self, final

import attrs

from ...actors import DamagedFile, Database, JournalOwner, StorageError
from ..errors import ANOTHER_OUTPUT, BulkRefused, RunEnding
from ..reading.identity import WHOLE_BYTES, changed_parts
from ..row import Row, ended_by
from ..spending import RunSpend
from .lines import id_of, read_answer
from .store import STORE_REMEDY, count_missing, open_store, read_progress, read_spend

_ALL = "SELECT id, key, line, verified(crc, key, line) FROM responses ORDER BY id DESC"
_LATEST = "SELECT line FROM responses ORDER BY id DESC LIMIT 200"

_CACHE_KIB = 2048
_ROWS = "CREATE TABLE open_rows (id BLOB PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID"
_STALE = "CREATE TABLE stale (parts BLOB NOT NULL)"
_TAKE = "DELETE FROM open_rows WHERE id = ? RETURNING key"
_MOVED = """SELECT coalesce(sum(min(now, before)), 0) FROM
    (SELECT substr(key, ?1) AS parts, count(*) AS now FROM open_rows GROUP BY parts)
    JOIN (SELECT parts, count(*) AS before FROM stale GROUP BY parts) USING (parts)"""


@final
class KnownKeys:
    """The keys that have a response in a store.

    Args:
        database: the store; None if it does not exist.
    """

    def __init__(self, database: Database | None) -> None:
        self._database = database

    def find(self, key: bytes) -> int | None:
        """Return the number of the response of a key; None if it has none.

        Args:
            key: the key of a row.
        """
        if self._database is None:
            return None
        row = self._database.row("SELECT id FROM responses WHERE key = ?", (key,))
        return None if row is None else int(row[0])

    @property
    def responses(self) -> int:
        """How many responses there are."""
        if self._database is None:
            return 0
        return self._database.number("SELECT count(*) FROM responses")

    @property
    def progress(self) -> tuple[str, int]:
        """The name of the store, and the number of its last response."""
        return ("", 0) if self._database is None else read_progress(self._database)

    def count_missing(self, starts: Iterable[bytes]) -> int:
        """Count the keys that have no response.

        Args:
            starts: the first bytes of keys.
        """
        if self._database is None:
            return sum(1 for _ in starts)
        return count_missing(self._database, starts)

    @property
    def last(self) -> int:
        """The largest number of a response; 0 without a response."""
        if self._database is None:
            return 0
        return self._database.number("SELECT max(id) FROM responses")

    def latest(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield the number, the custom id and the key of each response, the latest first.

        Raises:
            DamagedFile: a response cannot be read. The iterator raises it.
        """
        if self._database is None:
            return
        with self._database.decoding():
            for number, key, line, _ in self._database.rows(_ALL):
                yield number, id_of(line), key

    @property
    def provider(self) -> str:
        """The provider of the responses; "" if there is none."""
        row = None if self._database is None else self._database.row("SELECT provider FROM spend")
        return "" if row is None else str(row[0])

    def ended_by(self, key: bytes) -> str | None:
        """Return how the response of a key ended; None if that cannot be read."""
        if self._database is None:
            return None
        row = self._database.row("SELECT line FROM responses WHERE key = ?", (key,))
        try:
            return None if row is None else ended_by(read_answer(row[0]))
        except ValueError:
            return None

    @property
    def owner(self) -> JournalOwner | None:
        """The run, as its journal of batches knows it; None if there is no store."""
        if self._database is None:
            return None
        row = self._database.row("SELECT name, in_batches FROM spend")
        return None if row is None else JournalOwner(str(row[0]), has_lines=bool(row[1]))

    @property
    def spend(self) -> RunSpend:
        """What was spent, if the process that has written it has ended."""
        if self._database is None:
            return RunSpend()
        return read_spend(self._database).after_death()

    def output_tokens(self, model: str) -> float | None:
        """Return the mean tokens of the latest responses of a model; None without a response.

        Args:
            model: the model of the requests.
        """
        if self._database is None:
            return None
        found: list[int] = []
        with self._database.decoding():
            for (line,) in self._database.rows(_LATEST):
                told = json.loads(line)["callsheet"]
                tokens = told["usage"]["output_tokens"]
                # A response that was shared or cached has no tokens of its own.
                if tokens and _is_version(told["model"], model):
                    found.append(tokens)
        return fmean(found) if found else None


def _is_version(name: str, model: str) -> bool:
    """Return whether a model is the one that was requested, or a dated version of it."""
    return re.fullmatch(rf"{re.escape(model)}(-\d[\d-]*)?", name) is not None


@contextmanager
def open_known(path: Path) -> Generator[KnownKeys]:
    """Open a store for reading.

    Args:
        path: the store; it need not exist.

    Raises:
        BulkRefused: another run uses the store, or it cannot be read. The block raises it, too.
    """
    if not path.exists():
        yield KnownKeys(None)
        return
    try:
        with closing(open_store(path, create=False)) as database:
            yield KnownKeys(database)
    except DamagedFile as error:
        raise BulkRefused(f"{error.name} cannot be used: {error.reason}", STORE_REMEDY) from None
    except StorageError as error:
        output = path.with_name(path.name.removesuffix(".callsheet"))
        reason = f"{error.name} cannot be used: {error.reason}"
        raise BulkRefused(
            f"{output} cannot be written: {reason}", error.remedy_by(ANOTHER_OUTPUT)
        ) from None


@attrs.frozen
class InputComparison:
    """How the rows of an input compare with the responses in a store.

    Args:
        responses: the number of responses in the store.
        matched: rows that have a response.
        changed: rows that have changed since they got a response, and would be paid for again.
        new: the other rows without a response.
        parts: the number of changed rows by what has changed; a row may have several.
    """

    responses: int = 0
    matched: int = 0
    changed: int = 0
    new: int = 0
    parts: Mapping[str, int] = attrs.field(factory=dict[str, int])

    @property
    def unmatched(self) -> int:
        """The number of responses that no row of the input has, nor had before it changed."""
        return self.responses - self.matched - self.changed

    @property
    def repeats_most(self) -> bool:
        """Whether most rows that have had a response would be paid for again."""
        return self.changed > self.matched

    @property
    def what_changed(self) -> str:
        """What has changed, in brackets, with the number of rows unless it is all of them."""
        shown = [
            part if count == self.changed else f"{part} of {count:,}"
            for part, count in self.parts.items()
        ]
        return f" ({', '.join(shown)})" if shown else ""

    def paid_again(self, which: str) -> str:
        """Return what a run would do if it sent the rows that have changed, as a clause.

        Args:
            which: which rows were compared, such as " among the first 100"; "" for all.
        """
        before = self.changed + self.matched
        count = f"{self.changed:,} of the" if self.matched else "all"
        rows = f"{count} {before:,} rows{which} that have had a response"
        return f"this run would pay again for {rows}"


def refusal_of(found: InputComparison, count: int) -> RunEnding:
    """Return why a program's run ends before it sends anything: most rows have changed.

    Args:
        found: how the first rows compare with the responses of earlier runs.
        count: the number of these rows.
    """
    return RunEnding(
        "refused",
        f"{found.paid_again(f' among the first {count:,}')}, because they have changed"
        f"{found.what_changed}",
        f"undo the change, {ANOTHER_OUTPUT}, or set pay_for_changes to pay again",
    )


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
        self._matched = self._open = self._rows = 0
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
        self._rows += 1
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
        new = self._rows - self._matched - changed
        return InputComparison(responses, self._matched, changed, new, dict(parts.most_common()))

    def _stale(self) -> Iterator[tuple[str, bytes]]:
        """Yield id and key of the responses that match no row, the latest first."""
        for number, id_, key in self._known.latest():
            if not self._matches[number // 8] >> number % 8 & 1:
                yield id_, key


def _bytes(custom_id: str) -> bytes:
    return custom_id.encode("utf-8", "surrogatepass")
