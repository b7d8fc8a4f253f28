"""What is kept of a run: the store, OUTPUT and the file of errors, always in this order (L7)."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs

from ...actors import StorageError, StorageFull
from ..errors import MAKE_ROOM, BulkRefused
from ..progress import RowEnded
from ..row import BadRow, Row
from ..settings import BulkSettings, Paths
from .disk_reserve import Reserve
from .lines import BAD_ROW, bad_line, with_id
from .lines_file import ChangedByOthers, LinesFile
from .outcome import RowOutcome
from .output import OrderedOutput, OutputFile, UnorderedOutput
from .reorder import ReorderWindow
from .store import RunSpend, RunStore

__all__ = [
    "Admitted",
    "Archive",
    "NoRoom",
    "Placed",
    "WrittenRows",
]


_RESERVE_BYTES = 4 * 1024**2


class NoRoom(Exception):
    """It cannot be written; the text says why.

    Args:
        reason: the text.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str = MAKE_ROOM) -> None:
        super().__init__(reason)
        self.remedy = remedy


@attrs.frozen
class Placed:
    """A row that is to be asked for.

    Args:
        place: in the input, from 0.
        row: it.
    """

    place: int
    row: Row


@attrs.frozen
class Admitted:
    """What is to be done for rows that were read.

    Args:
        to_ask: those without an answer.
        ended: the others.
        left: rows whose turn it was by that, in their order.
        trouble: why nothing more should be begun; "" if there is no trouble.
    """

    to_ask: Sequence[Placed]
    ended: Sequence[RowOutcome]
    left: Sequence[RowOutcome]
    trouble: str


@attrs.frozen
class WrittenRows:
    """What was written.

    Args:
        left: rows whose turn it was by that, in their order.
        trouble: why nothing more should be begun; "" if there is no trouble.
    """

    left: Sequence[RowOutcome]
    trouble: str


@final
class Archive:
    """The files of a run. They are nobody else's as long as it is open.

    All of it blocks; call it from a thread, one at a time.

    Args:
        output: where the answers go.
        settings: how.
        provider: who gives them, as a name that stays the same.
    """

    def __init__(self, output: Path, settings: BulkSettings, provider: str) -> None:
        self.paths = Paths(output)
        self._settings = settings
        self._provider = provider
        self._reserve = Reserve(self.paths.reserve, _RESERVE_BYTES)
        self._places = 0
        self._trouble = ""
        self.window = ReorderWindow(
            settings.window_rows, settings.window_bytes, ordered=settings.ordered
        )

    def open(self) -> None:
        """Take the files, and see what is in them.

        Raises:
            BulkRefused: that cannot be, or should not; nothing has changed.
        """
        paths = self.paths
        _check_place(paths.output)
        is_new = not paths.store.exists()
        if is_new and paths.output.exists() and paths.output.stat().st_size:
            raise BulkRefused(
                f"{paths.output} is there, and {paths.store.name} is not: nobody knows whose "
                "answers these are",
                "give another OUTPUT, or move it away",
            )
        with contextlib.ExitStack() as undo:
            try:
                self._store = RunStore(paths.store, self._settings.fsync)
                if is_new:
                    undo.callback(paths.store.unlink, missing_ok=True)
                undo.callback(self._store.close)
                self._check_provider()
                kind = OrderedOutput if self._settings.ordered else UnorderedOutput
                self._output: OutputFile = kind(paths.output)
                undo.callback(self._output.close)
                paths.errors.unlink(missing_ok=True)
                self._errors: LinesFile | None = None
            except BlockingIOError:
                raise BulkRefused(
                    f"another run is writing {paths.output.name}, maybe by another name",
                    "wait until it has ended, or give another OUTPUT",
                ) from None
            except (OSError, StorageError) as error:
                raise BulkRefused(
                    f"{paths.output} cannot be written: {_reason(error)}",
                    "give an OUTPUT in a folder that may be written, on a disk that has room",
                ) from None
            undo.pop_all()
        self._reserve.take()
        self.account = self._store.spend
        self.lane = f"{paths.output.name}#{self._store.name}"

    def admit(self, rows: Sequence[Row | BadRow], at: float) -> Admitted:
        """Take rows in, in the order of the input.

        Args:
            rows: the next ones.
            at: the present, in seconds on Trio's clock.
        """
        first, self._places = self._places, self._places + len(rows)
        self.window.read(len(rows))
        # A bad line may have an id, too: an answer could not be told from it.
        good = [row for row in rows if isinstance(row, Row)]
        doubles = iter(self._store.meet([(row.custom_id, row.number) for row in good]))
        lines = iter(self._store.find(row.key for row in good))
        to_ask: list[Placed] = []
        ended: list[RowOutcome] = []
        for place, row in enumerate(rows, first):
            if isinstance(row, BadRow):
                ended.append(_bad(place, row, at))
                continue
            before, line = next(doubles), next(lines)
            if before is not None:
                ended.append(_bad(place, _twice(row, before), at))
            elif line is not None:
                told = RowEnded(at=at, number=row.number, custom_id=row.custom_id, is_reused=True)
                ended.append(RowOutcome(place, with_id(line, row), told))
            else:
                to_ask.append(Placed(place, row))
        return Admitted(to_ask, ended, *self._pass(ended))

    def keep(self, ended: Sequence[RowOutcome], account: RunSpend) -> WrittenRows:
        """Keep what has ended, all of it before any of it is written to OUTPUT.

        Raises:
            NoRoom: it could not be kept; nothing has changed.
        """
        answers = [(one.key, one.line) for one in ended if one.key is not None]
        trouble = ""
        try:
            self._store.keep(answers, account)
        except StorageError as error:
            if not (isinstance(error, StorageFull) and self._reserve.give_back()):
                raise NoRoom(error.reason) from None
            trouble = error.reason
            try:
                self._store.keep(answers, account)
            except StorageError as again:
                raise NoRoom(again.reason) from None
        self.account = account
        left, behind = self._pass(ended)
        return WrittenRows(left, trouble or behind)

    def finish(self) -> None:
        """Every row has its answer or its error: nothing follows in any of the files.

        Raises:
            NoRoom: OUTPUT could not be written to its end.
        """
        try:
            self._output.finish()
        except (OSError, sqlite3.Error) as error:
            is_ours = not isinstance(error, ChangedByOthers)
            remedy = MAKE_ROOM if is_ours else "leave it alone while it is written"
            reason = f"{self.paths.output} cannot be written: {_reason(error)}"
            raise NoRoom(reason, remedy) from None

    def break_off(self) -> None:
        """Not every row has ended: write what waits for one that has not, so that all can be seen.

        The next run finds a gap there, and goes on from it.
        """
        left = self.window.give_up()
        if not self._trouble:
            with contextlib.suppress(OSError, sqlite3.Error):
                self._output.write([one.line for one in left if one.is_answer])

    def close(self, *, remove: bool = False) -> None:
        """Let go of the files.

        Args:
            remove: what is beside OUTPUT is needed no more.
        """
        self._reserve.give_back()
        self._output.close()
        if self._errors is not None:
            self._errors.close()
        self._store.close()
        if remove:
            self.paths.store.unlink(missing_ok=True)

    # ----------------------------------------------------------------

    def _pass(self, ended: Sequence[RowOutcome]) -> tuple[Sequence[RowOutcome], str]:
        """Through the window, and those whose turn it is into OUTPUT; and what went wrong there."""
        if not ended:
            return (), self._trouble
        for one in ended:
            self.window.put(one)
        left = self.window.take()
        if not self._trouble:
            try:
                self._write(left, [one.line for one in ended if not one.is_answer])
            except (OSError, sqlite3.Error) as error:
                # From here on there would be a gap. The next run writes what is in the store.
                self._trouble = f"{self.paths.output} cannot be written: {_reason(error)}"
        return left, self._trouble

    def _write(self, left: Sequence[RowOutcome], errors: Sequence[bytes]) -> None:
        if errors:
            if self._errors is None:
                self._errors = LinesFile(self.paths.errors)
            self._errors.append(b"".join(errors))
        self._output.write([one.line for one in left if one.is_answer])

    def _check_provider(self) -> None:
        theirs = self._store.provider
        if theirs and theirs != self._provider and not self._settings.other_provider:
            raise BulkRefused(
                f"the answers in {self.paths.output} are from {theirs}, and {self._provider} "
                "would be asked for the rest",
                "give another OUTPUT, or say that it may be another provider (--other-provider)",
            )
        if theirs != self._provider:
            self._store.provider = self._provider


def _reason(error: OSError | sqlite3.Error | StorageError) -> str:
    if isinstance(error, StorageError):
        return error.reason
    return getattr(error, "strerror", None) or str(error)


def _check_place(output: Path) -> None:
    if output.is_dir():
        raise BulkRefused(f"{output} is a folder", "give a file")
    if output.exists() and not output.is_file():
        raise BulkRefused(
            f"{output} is no file that can be gone on with", "give a path to an ordinary file"
        )
    if not output.resolve().parent.is_dir():
        raise BulkRefused(f"there is no folder {output.parent}", "make it, or give another OUTPUT")
    if output.exists() and not os.access(output, os.W_OK):
        raise BulkRefused(
            f"{output} cannot be written: {os.strerror(errno.EACCES)}",
            "make it writable, or give another OUTPUT",
        )


def _twice(row: Row, before: int) -> BadRow:
    reason = (
        f"its id {row.custom_id!r:.80} is that of row {before} already, and answers are told apart "
        "by it; give each row an id of its own"
    )
    return BadRow(number=row.number, reason=reason, custom_id=row.custom_id)


def _bad(place: int, bad: BadRow, at: float) -> RowOutcome:
    told = RowEnded(
        at=at,
        number=bad.number,
        custom_id=bad.custom_id or "",
        error=BAD_ROW,
        message=bad.reason,
    )
    return RowOutcome(place, bad_line(bad), told)
