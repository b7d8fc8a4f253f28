"""The files of a run: the store, OUTPUT and the errors file, always written in this order (L7)."""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs

from ...actors import (
    DamagedFile,
    StorageError,
    StorageFull,
    UnwrittenCosts,
    take_unwritten,
)
from ..errors import MAKE_ROOM, BulkRefused
from ..progress import RowEnded
from ..row import BadRow, Row
from ..settings import BulkSettings, Paths
from .disk_reserve import Reserve
from .lines import BAD_ROW, bad_line, is_error_line, key_start, with_id
from .lines_file import ChangedByOthers, LinesFile
from .outcome import RowOutcome
from .output import OrderedOutput, OutputFile, UnorderedOutput
from .reorder import ReorderWindow
from .spend import RunSpend
from .store import STORE_REMEDY, RunStore

_RESERVE_BYTES = 4 * 1024**2
_LONGEST_HEAD = 100  # bytes of a line that show whose it is


class ArchiveFailed(Exception):
    """A file of a run cannot be read or written; the text has the reason.

    Args:
        reason: what failed, as the run reports it.
        remedy: what the user can do.
        is_damaged: whether the store is damaged, so that the run cannot continue with it.
    """

    def __init__(self, reason: str, remedy: str = MAKE_ROOM, *, is_damaged: bool = False) -> None:
        super().__init__(reason)
        self.remedy = remedy
        self.is_damaged = is_damaged


@attrs.frozen
class Placed:
    """A row to send, with its place.

    Args:
        place: the index of the row in the input, from 0.
        row: the row, as the reader made it.
    """

    place: int
    row: Row


@attrs.frozen
class Admitted:
    """The result of admitting rows that were read.

    Args:
        to_ask: rows without a response.
        ended: rows that have a response already, and bad rows.
        left: rows that may be written to OUTPUT now, in its order.
        trouble: why no more rows should start; "" if they may.
    """

    to_ask: Sequence[Placed]
    ended: Sequence[RowOutcome]
    left: Sequence[RowOutcome]
    trouble: str


@attrs.frozen
class WrittenRows:
    """The result of storing rows.

    Args:
        left: rows that may be written to OUTPUT now, in its order.
        trouble: why no more rows should start; "" if they may.
    """

    left: Sequence[RowOutcome]
    trouble: str


@final
class Archive:
    """The files of a run; while it is open, no other process can use them.

    All methods block; call them from a thread, one at a time.

    Args:
        output: the path of the output file.
        settings: the settings of the run.
        provider: a stable name of the provider.

    Attributes:
        has_unwritten: whether the store has costs that are not in their ledger.
    """

    def __init__(self, output: Path, settings: BulkSettings, provider: str) -> None:
        self.paths = Paths(output)
        self._settings = settings
        self._provider = provider
        self._reserve = Reserve(self.paths.reserve, _RESERVE_BYTES)
        self._places = 0
        self._trouble = ""
        self.has_unwritten = False
        self.window = ReorderWindow(
            settings.window_rows, settings.window_bytes, ordered=settings.ordered
        )

    def open(self) -> None:
        """Open and lock the files, and check them.

        Raises:
            BulkRefused: a file cannot or should not be used; no file was changed.
        """
        paths = self.paths
        _check_place(paths.output)
        is_new = not paths.store.exists()
        if is_new and paths.output.exists() and paths.output.stat().st_size:
            raise BulkRefused(
                f"{paths.output} exists, but {paths.store.name} does not: Callsheet did not write "
                "that file",
                "give another OUTPUT, or move the file away",
            )
        with contextlib.ExitStack() as undo:
            try:
                self._store = RunStore(paths.store, self._settings.fsync)
                if is_new:
                    undo.callback(paths.store.unlink, missing_ok=True)
                undo.callback(self._store.close)
                self._check_provider()
                if not is_new:
                    self._check_has_all()
                _check_errors(paths.errors)
                self._take_unwritten()
                kind = OrderedOutput if self._settings.ordered else UnorderedOutput
                self._output: OutputFile = kind(paths.output)
                undo.callback(self._output.close)
                paths.errors.unlink(missing_ok=True)
                self._errors: LinesFile | None = None
                self.account = self._store.spend
                self.owner = self._store.owner
                self.lane = f"{paths.output.name}#{self._store.name}"
            except BlockingIOError:
                raise BulkRefused(
                    f"another run is writing {paths.output.name}, possibly under another name",
                    "wait until it has ended, or give another OUTPUT",
                ) from None
            except DamagedFile as error:
                raise BulkRefused(
                    f"{error.name} cannot be used: {error.reason}", STORE_REMEDY
                ) from None
            except StorageError as error:
                reason = f"{error.name} cannot be used: {error.reason}"
                raise BulkRefused(
                    f"{paths.output} cannot be written: {reason}", error.remedy
                ) from None
            except OSError as error:
                raise BulkRefused(
                    f"{paths.output} cannot be written: {_reason(error)}",
                    "give an OUTPUT in a writable folder, on a disk with free space",
                ) from None
            undo.pop_all()
        self._reserve.take()
        self._mark()

    def admit(self, rows: Sequence[Row | BadRow], at: float) -> Admitted:
        """Admit rows, in the order of the input.

        Args:
            rows: the next rows.
            at: the current time, in seconds on Trio's clock.

        Raises:
            ArchiveFailed: the store cannot be read; nothing was admitted.
        """
        # Ids of bad rows do not count: only responses are identified by their id.
        good = [row for row in rows if isinstance(row, Row)]
        try:
            doubles = iter(self._store.meet([(row.custom_id, row.number) for row in good]))
            found = self._store.find(row.key for row in good)
        except StorageError as error:
            raise _failed(error) from None
        lines = iter([self._reused(line, row) for line, row in zip(found, good, strict=True)])
        first, self._places = self._places, self._places + len(rows)
        self.window.read(len(rows))
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
                ended.append(RowOutcome(place, line, told))
            else:
                to_ask.append(Placed(place, row))
        return Admitted(to_ask, ended, *self._pass(ended))

    def keep(self, ended: Sequence[RowOutcome], account: RunSpend) -> WrittenRows:
        """Store rows that have ended; all are in the store before any is written to OUTPUT.

        Raises:
            ArchiveFailed: the store could not be written; nothing was changed.
        """
        answers = [(one.key, one.line) for one in ended if one.key is not None]
        trouble = ""
        try:
            self._store.keep(answers, account)
        except StorageError as error:
            if not (isinstance(error, StorageFull) and self._reserve.give_back()):
                raise _failed(error) from None
            trouble = error.reason
            try:
                self._store.keep(answers, account)
            except StorageError as again:
                raise _failed(again) from None
        self.account = account
        self._mark()
        left, behind = self._pass(ended)
        return WrittenRows(left, trouble or behind)

    def keep_unwritten(self, costs: UnwrittenCosts) -> bool:
        """Store costs that a ledger has no room for; return whether there was room in the store."""
        self._reserve.give_back()
        try:
            self._store.keep_unwritten(costs.ledger, costs.content)
        except StorageError:
            return False
        self.has_unwritten = True
        return True

    def finish(self) -> None:
        """Finish the files after every row has ended.

        Raises:
            ArchiveFailed: OUTPUT could not be completed.
        """
        try:
            self._output.finish()
        except (OSError, sqlite3.Error) as error:
            is_ours = not isinstance(error, ChangedByOthers)
            remedy = MAKE_ROOM if is_ours else "do not change the file during a run"
            reason = f"{self.paths.output} cannot be written: {_reason(error)}"
            raise ArchiveFailed(reason, remedy) from None

    def break_off(self) -> None:
        """Write the rows that wait for an earlier one, when not every row has ended.

        The next run finds the gap and fills it.
        """
        left = self.window.give_up()
        if not self._trouble:
            with contextlib.suppress(OSError, sqlite3.Error):
                self._output.write([one.line for one in left if one.is_answer])

    def note_batches(self, *, in_batches: bool) -> None:
        """Note whether rows may be in batches, before one is; see `RunStore`."""
        self._store.note_batches(in_batches=in_batches)

    def close(self, *, remove: bool = False) -> None:
        """Close the files.

        Args:
            remove: True to remove the store, too.
        """
        self._reserve.give_back()
        self._output.close()
        if self._errors is not None:
            self._errors.close()
        self._store.close()
        if remove and not self.has_unwritten:
            self.paths.store.unlink(missing_ok=True)

    # ----------------------------------------------------------------

    def _reused(self, line: bytes | None, row: Row) -> bytes | None:
        """Return the line of a row from the store, with the row's id."""
        if line is None:
            return None
        try:
            return with_id(line, row)
        except ValueError:
            reason = (
                f"the run store {self.paths.store} cannot be used: the file is damaged (the "
                f"response of row {row.number} is not valid JSON)"
            )
            raise ArchiveFailed(reason, STORE_REMEDY, is_damaged=True) from None

    def _pass(self, ended: Sequence[RowOutcome]) -> tuple[Sequence[RowOutcome], str]:
        """Pass rows through the window and write those that leave it; return them and any error."""
        if not ended:
            return (), self._trouble
        for one in ended:
            self.window.put(one)
        left = self.window.take()
        if not self._trouble:
            try:
                self._write(left, [one.line for one in ended if not one.is_answer])
            except (OSError, sqlite3.Error) as error:
                # Writing on would leave a gap. The next run writes the rows from the store.
                self._trouble = f"{self.paths.output} cannot be written: {_reason(error)}"
        return left, self._trouble

    def _write(self, left: Sequence[RowOutcome], errors: Sequence[bytes]) -> None:
        if errors:
            if self._errors is None:
                self._errors = LinesFile(self.paths.errors)
            self._errors.append(b"".join(errors))
        self._output.write([one.line for one in left if one.is_answer])

    def _take_unwritten(self) -> None:
        """Write into ledgers what an earlier run could not write there.

        Raises:
            StorageError: a ledger cannot be used.
        """
        for ledger, content in self._store.unwritten:
            if not ledger.exists():
                self.has_unwritten = True
                continue
            try:
                take_unwritten(ledger, content, time.time())
            except ValueError as error:
                reason = f"the file is damaged (costs of {ledger}: {error})"
                raise DamagedFile(f"the run store {self.paths.store}", reason) from None
            self._store.keep_unwritten(ledger, b"")

    def _check_has_all(self) -> None:
        """Check that the store has each response that is in OUTPUT; OUTPUT is written after it.

        A store that has lost its log, an earlier copy, and that of another run have not.
        """
        output, fsync = self.paths.output, self._settings.fsync
        if fsync != "full":  # a power cut may lose some
            return
        name, last = self._store.progress
        theirs, _, lasted = self._reserve.read_mark().rpartition(" ")
        if theirs and (theirs != name or last < int(lasted)):
            raise BulkRefused(
                f"the run store {self.paths.store} cannot be used: it lacks responses that a run "
                "had stored before it was killed; its log is lost, or it is an earlier copy, or of "
                "another run",
                f"restore it; or, to pay for these rows again, remove {self.paths.reserve.name}",
            )
        if not output.exists():
            return
        with output.open("rb") as lines:
            missing = self._store.count_missing(filter(None, map(key_start, lines)))
        if missing:
            raise BulkRefused(
                f"the run store {self.paths.store} cannot be used: {missing:,} responses of "
                f"{output.name} are not in it; it is damaged, an earlier copy, or of another run",
                "restore it; or, to pay for these rows again, move it and OUTPUT away, or continue "
                "without these responses (--fsync normal)",
            )

    def _mark(self) -> None:
        """Note in the reserve what the store has."""
        if self._settings.fsync == "full":
            name, last = self._store.progress
            self._reserve.mark(f"{name} {last}")

    def _check_provider(self) -> None:
        theirs = self._store.provider
        if theirs and theirs != self._provider and not self._settings.other_provider:
            raise BulkRefused(
                f"the responses in {self.paths.output} are from {theirs}, and {self._provider} "
                "would be used for the rest",
                "give another OUTPUT, or allow another provider (--other-provider)",
            )
        if theirs != self._provider:
            self._store.provider = self._provider


def _failed(error: StorageError) -> ArchiveFailed:
    if isinstance(error, StorageFull):
        return ArchiveFailed(error.reason)
    is_damaged = isinstance(error, DamagedFile)
    remedy = STORE_REMEDY if is_damaged else error.remedy
    reason = f"{error.name} cannot be used: {error.reason}"
    return ArchiveFailed(reason, remedy, is_damaged=is_damaged)


def _reason(error: OSError | sqlite3.Error) -> str:
    return getattr(error, "strerror", None) or str(error)


def _check_place(output: Path) -> None:
    if output.is_dir():
        raise BulkRefused(f"{output} is a folder", "give the path of a file")
    if output.exists() and not output.is_file():
        raise BulkRefused(f"{output} is not a regular file", "give the path of a regular file")
    if not output.resolve().parent.is_dir():
        raise BulkRefused(
            f"there is no folder {output.parent}", "create it, or give another OUTPUT"
        )
    if output.exists() and not os.access(output, os.W_OK):
        raise BulkRefused(
            f"{output} cannot be written: {os.strerror(errno.EACCES)}",
            "make it writable, or give another OUTPUT",
        )


def _check_errors(errors: Path) -> None:
    """Check that an errors file may be overwritten.

    Raises:
        BulkRefused: Callsheet did not write it.
    """
    if errors.exists() and errors.stat().st_size:
        with errors.open("rb") as lines:
            if not is_error_line(lines.readline(_LONGEST_HEAD)):
                raise BulkRefused(
                    f"{errors} exists, but Callsheet did not write that file",
                    "move the file away, or give another OUTPUT",
                )


def _twice(row: Row, before: int) -> BadRow:
    reason = f"the id {row.custom_id!r:.80} is that of row {before} already; ids must be unique"
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
