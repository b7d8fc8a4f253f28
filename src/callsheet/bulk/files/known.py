"""Reads what a store of earlier runs contains, without changing it."""

import json
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean
from typing import final

from ...actors import DamagedFile, Database, JournalOwner, StorageError
from ..errors import BulkRefused
from ..row import ended_by
from ..spending import RunSpend
from .lines import id_of, read_answer
from .store import STORE_REMEDY, open_store, read_spend


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


_ALL = "SELECT id, key, line, verified(crc, key, line) FROM responses ORDER BY id DESC"
_LATEST = "SELECT line FROM responses ORDER BY id DESC LIMIT 200"


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
        raise BulkRefused(f"{output} cannot be written: {reason}", error.remedy) from None
