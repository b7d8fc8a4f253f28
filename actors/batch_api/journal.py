"""What was sent and what came back, in SQLite: what the next process knows of this one.

    serial     how often it was opened; a part of every name, so that none comes twice
    batches    each that was intended and is not over
    lines      of those batches, or answered and not yet claimed

Every method is one transaction and is on disk when it returns (L7).

The journal as actors use it: its writes wait for the disk in a thread, one after another.
"""

import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol, TypeVar, final

import attrs
import trio

from .plan import BatchGroup

__all__ = [
    "Journal",
    "JournalFile",
    "JournalInUse",
    "KnownBatch",
    "OpenJournal",
    "Run",
    "Unclaimed",
    "at_once",
    "in_thread",
    "lines_in",
    "open_journal",
]


_SCHEMA = """
create table if not exists serial (opened integer not null);
create table if not exists batches (
    id text primary key, account text not null, path text not null, model text not null,
    tokens integer not null, size integer not null,
    mark text not null default '', batch_id text not null default '',
    is_certain integer not null default 1, is_over integer not null default 0
) without rowid;
create table if not exists lines (
    id text primary key, batch text not null, position integer not null, key text not null,
    result blob, stored_at real
) without rowid;
create index if not exists lines_of on lines (batch, position);
"""


class JournalInUse(RuntimeError):
    """Another process has the journal open."""


@attrs.frozen(kw_only=True)
class KnownBatch:
    """A batch that is not over.

    Args:
        id: our name for it.
        pool: what its lines have in common.
        tokens: of its prompts.
        size: lines that it had.
        mark: what it was made from; "" if that step was not done.
        batch_id: the provider's name of it; "" if that is not known.
        is_certain: whether that is certain.
        lines: custom id and content key of each line without an end.
    """

    id: str
    pool: BatchGroup
    tokens: int
    size: int
    mark: str
    batch_id: str
    is_certain: bool
    lines: tuple[tuple[str, str], ...]


@attrs.frozen
class Unclaimed:
    """An answer that nobody has got.

    Args:
        custom_id: of its line.
        key: of its content.
        pool: what the line had in common with others.
    """

    custom_id: str
    key: str
    pool: BatchGroup


@final
class JournalFile:
    """The journal's file; or, without one, memory.

    Args:
        path: the file; None for memory.
        account: whose batches are meant; those of others in the file are left alone.
        keep_s: how long an answer that nobody has got is kept, in seconds.
        wall_clock: seconds since 1970; for that alone.

    Raises:
        JournalInUse: another process has it open.
        sqlite3.Error: it is no journal, or cannot be written.
    """

    def __init__(
        self, path: Path | None, account: str, keep_s: float, wall_clock: Callable[[], float]
    ) -> None:
        self._account = account
        self._wall_clock = wall_clock
        # One thread at a time uses it, but not always the same.
        self._db = sqlite3.connect(
            ":memory:" if path is None else path,
            isolation_level=None,
            check_same_thread=False,
            timeout=0.0 if path is None else 1.0,
        )
        try:
            self._db.execute("pragma locking_mode = exclusive")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(_SCHEMA)
            with self._transaction():
                if not self._db.execute("update serial set opened = opened + 1").rowcount:
                    self._db.execute("insert into serial values (1)")
                oldest = wall_clock() - keep_s
                self._db.execute("delete from lines where stored_at < ?", (oldest,))
            (self.opened,) = self._db.execute("select opened from serial").fetchone()
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise JournalInUse(
                    f"another process has the journal {path} open; give each one its own"
                ) from None
            raise
        except BaseException:
            self._db.close()
            raise

    def __repr__(self) -> str:
        return f"<Store opened {self.opened} times>"

    def load(self) -> tuple[tuple[KnownBatch, ...], tuple[Unclaimed, ...]]:
        """What is not over, and what nobody has got, in the order it was asked for."""
        rows = self._db.execute(
            "select id, path, model, tokens, size, mark, batch_id, is_certain from batches"
            " where account = ? and is_over = 0 order by id",
            (self._account,),
        ).fetchall()
        known = tuple(
            KnownBatch(
                id=batch,
                pool=BatchGroup(path, model),
                tokens=tokens,
                size=size,
                mark=mark,
                batch_id=batch_id,
                is_certain=bool(is_certain),
                lines=self._open_lines(batch),
            )
            for batch, path, model, tokens, size, mark, batch_id, is_certain in rows
        )
        unclaimed = self._db.execute(
            "select lines.id, key, path, model from lines join batches on batches.id = batch"
            " where account = ? and result is not null order by batch, position",
            (self._account,),
        )
        return known, tuple(
            Unclaimed(custom_id, key, BatchGroup(path, model))
            for custom_id, key, path, model in unclaimed
        )

    def intend(
        self, batch: str, pool: BatchGroup, tokens: int, lines: Sequence[tuple[str, str]]
    ) -> None:
        """A batch will be made.

        Args:
            batch: our name for it.
            pool: what its lines have in common.
            tokens: of its prompts.
            lines: custom id and content key of each.
        """
        with self._transaction():
            self._db.execute(
                "insert into batches (id, account, path, model, tokens, size)"
                " values (?, ?, ?, ?, ?, ?)",
                (batch, self._account, pool.path, pool.model, tokens, len(lines)),
            )
            self._db.executemany(
                "insert into lines (id, batch, position, key) values (?, ?, ?, ?)",
                [(custom_id, batch, at, key) for at, (custom_id, key) in enumerate(lines)],
            )

    def mark(self, batch: str, mark: str) -> None:
        """Its first step is done."""
        with self._transaction():
            self._db.execute("update batches set mark = ? where id = ?", (mark, batch))

    def created(self, batch: str, batch_id: str, *, is_certain: bool) -> None:
        """The provider's name of it is known; "" that it is not, after all."""
        with self._transaction():
            self._db.execute(
                "update batches set batch_id = ?, is_certain = ? where id = ?",
                (batch_id, int(is_certain), batch),
            )

    def keep(self, answers: Sequence[tuple[str, bytes]], unanswered: Iterable[str]) -> None:
        """Lines have their end.

        Args:
            answers: custom id of each that is answered, and its line of the results.
            unanswered: custom ids of the others.
        """
        now = self._wall_clock()
        with self._transaction():
            self._db.executemany(
                "update lines set result = ?, stored_at = ? where id = ?",
                [(raw, now, custom_id) for custom_id, raw in answers],
            )
            self._db.executemany("delete from lines where id = ?", [(one,) for one in unanswered])

    def answer(self, custom_id: str) -> bytes | None:
        """The line of the results that a line was answered with."""
        row = self._db.execute("select result from lines where id = ?", (custom_id,)).fetchone()
        return None if row is None else row[0]

    def claim(self, custom_ids: Iterable[str]) -> None:
        """Whoever asked has the answers: no one else will get them."""
        with self._transaction():
            self._db.executemany("delete from lines where id = ?", [(one,) for one in custom_ids])

    def finish(self, batch: str) -> None:
        """It is over: what has no answer now has its end as well."""
        with self._transaction():
            self._db.execute("delete from lines where batch = ? and result is null", (batch,))
            self._db.execute("update batches set is_over = 1 where id = ?", (batch,))
            self._db.execute(
                "delete from batches where is_over = 1 and not exists"
                " (select 1 from lines where batch = batches.id)"
            )

    def close(self) -> None:
        """Nothing more will be read or written."""
        self._db.close()

    def _open_lines(self, batch: str) -> tuple[tuple[str, str], ...]:
        found = self._db.execute(
            "select id, key from lines where batch = ? and result is null order by position",
            (batch,),
        )
        return tuple(found.fetchall())

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


def lines_in(path: Path) -> int:
    """How many lines a journal has that are in batches, or answered and not claimed; 0 for no file.

    Raises:
        sqlite3.Error: another process has it, or it is no journal.
    """
    if not path.exists():
        return 0
    uri = f"{path.absolute().as_uri()}?mode=rw"  # only so does it leave nothing beside the file
    with closing(sqlite3.connect(uri, uri=True, timeout=0.0)) as db:
        db.execute("pragma locking_mode = exclusive")
        (count,) = db.execute("select count(*) from lines").fetchone()
    return int(count)


@attrs.frozen
class _Transaction:
    _db: sqlite3.Connection

    def __enter__(self) -> None:
        self._db.execute("begin immediate")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("commit" if kind is None else "rollback")


T = TypeVar("T")


class Run(Protocol):
    """Runs what waits for the disk."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Run it to its end, even if the caller is cancelled meanwhile."""
        ...


async def in_thread(function: Callable[[], T], /) -> T:
    """In a thread of Trio's, so that the event loop goes on."""
    return await trio.to_thread.run_sync(function)


async def at_once(function: Callable[[], T], /) -> T:
    """Here and now: for what only waits for memory."""
    await trio.lowlevel.checkpoint()
    return function()


@final
class Journal:
    """A `JournalFile` that one task after another uses.

    Args:
        store: opens it.
        run: runs what waits for the disk.
        is_durable: whether it outlives the process.
    """

    def __init__(
        self, store: Callable[[], JournalFile], run: Run = in_thread, *, is_durable: bool = True
    ) -> None:
        self.is_durable = is_durable
        self._open = store
        self._store: JournalFile | None = None
        self._run = run
        self._turn = trio.Lock()

    async def open(self) -> JournalFile:
        """Open it.

        Raises:
            JournalInUse, sqlite3.Error: see `JournalFile`.
        """
        self._store = await self._run(self._open)
        return self._store

    async def do(self, function: Callable[[JournalFile], T]) -> T:
        """Read or write; what was written is on disk when this returns."""
        store = self._store
        if store is None:
            raise RuntimeError("the journal is not open")
        async with self._turn:
            return await self._run(lambda: function(store))

    async def close(self) -> None:
        """Close it, if it is open."""
        store, self._store = self._store, None
        if store is not None:
            async with self._turn:
                await self._run(store.close)


OpenJournal = Callable[[Path | None, str, float], Journal]
"""Makes a journal out of its file, the account and how long it keeps answers, in seconds."""


def open_journal(path: Path | None, account: str, keep_s: float) -> Journal:
    """The journal of a file; or, without one, of memory alone."""
    run: Callable[[Callable[[], object]], Awaitable[object]]
    run = at_once if path is None else in_thread
    return Journal(
        lambda: JournalFile(path, account, keep_s, time.time), run, is_durable=path is not None
    )
