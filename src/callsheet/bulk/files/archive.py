"""The run store while a run uses it: checked when it is opened, with disk space in reserve."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, final

from ...actors import (
    DamagedFile,
    StorageError,
    StorageFull,
    UnwrittenCosts,
    remove_empty_journal,
    take_unwritten,
)
from ..errors import ANOTHER_OUTPUT, ArchiveFailed, BulkRefused
from ..row import Row
from ..settings import BulkSettings, Paths
from ..spending import RunSpend
from .known import InputComparison, KnownKeys, RowComparer
from .lines import is_error_line, with_id
from .output import JSON_LINES, RowFormat, in_use, not_writable
from .reserve import Reserve
from .store import RUN_STORE, STORE_REMEDY, RunStore

_RESERVE_BYTES = 4 * 1024**2
_NOT_WRITTEN = (".gz", ".zst", ".xz", ".bz2", ".zip", ".xls", ".ods")  # ends of names of OUTPUT
_LONGEST_LINE = 1024**2  # bytes of a line that show whose it is


@final
class Archive:
    """The run store, which no other process can use meanwhile.

    All of it blocks; call it from a thread, one call at a time.

    Args:
        output: the path of the output file.
        settings: the settings of the run.
        provider: a stable name of the provider.
        form: the format of OUTPUT.
        is_reopened: True if this run has opened the store before; then what is in flight is not
            lost.

    Raises:
        BulkRefused: a file cannot or should not be used; no file was changed.

    Attributes:
        is_new: whether there was no store before.
        has_unwritten: whether the store has costs that are not in their ledger.
        account: what was sent and spent by earlier runs.
        lane: the lane of the run's calls.
        owner: the run as its journal of batches knows it.
    """

    def __init__(
        self,
        output: Path,
        settings: BulkSettings,
        provider: str,
        form: RowFormat = JSON_LINES,
        *,
        is_reopened: bool = False,
    ) -> None:
        self._form = form
        self.paths = paths = Paths(output)
        self._settings = settings
        self._provider = provider
        self._reserve = Reserve(paths.reserve, _RESERVE_BYTES)
        self.has_unwritten = False
        try:
            _check_place(output)
            self.is_new = not paths.store.exists()
            self._had_journal = paths.batches.exists()
            grows = (output, form.growing(paths))
            made = (it for it in grows if not it.exists())
            self._made = set(map(Path.resolve, made))  # not links to them
        except OSError as error:
            raise not_writable(output, error) from None
        for path in dict.fromkeys(grows):
            if self.is_new and path.exists() and path.stat().st_size:
                raise BulkRefused(
                    f"{path} exists, but {paths.store.name} does not: Callsheet did not write that "
                    "file",
                    "give another OUTPUT, or move the file away",
                )
        try:
            self._store = RunStore(paths.store, settings.fsync, is_reopened=is_reopened)
            self._check(is_reopened=is_reopened)
        except BlockingIOError:
            raise in_use(output) from None
        except DamagedFile as error:
            raise BulkRefused(
                f"{error.name} cannot be used: {error.reason}", STORE_REMEDY
            ) from None
        except StorageError as error:
            reason = f"{error.name} cannot be used: {error.reason}"
            # A ledger that gets costs of an earlier run has a path of its own.
            is_ours = error.name == RUN_STORE.name(paths.store)
            remedy = error.remedy_by(ANOTHER_OUTPUT) if is_ours else error.remedy
            raise BulkRefused(f"{output} cannot be written: {reason}", remedy) from None
        except OSError as error:
            raise not_writable(output, error) from None

    def _check(self, *, is_reopened: bool) -> None:
        try:
            self._check_provider()
            if not is_reopened:
                if not self.is_new:
                    self._check_has_all()
                self._check_ours()
                self._take_unwritten()
                self._reserve.take()
                self._mark()
            self.account = self._store.spend
            self.owner = self._store.owner
            self.lane = f"{self.paths.output.name}#{self._store.name}"
        except BaseException:
            self._store.close()  # the reserve stays: it shows what the store may lack
            if self.is_new:
                self.paths.store.unlink(missing_ok=True)
            raise

    def meet(self, rows: Sequence[Row]) -> list[int | None]:
        """Return for each row the number of the earlier row of this run that has its id, or None.

        Raises:
            ArchiveFailed: the store cannot be read.
        """
        try:
            return self._store.meet([(row.custom_id, row.number) for row in rows])
        except StorageError as error:
            raise _failed(error) from None

    def find(self, rows: Sequence[Row]) -> list[bytes | None]:
        """Return for each row the line of its response from an earlier run, or None.

        Raises:
            ArchiveFailed: the store cannot be read, or has a line that is not valid.
        """
        if self.is_new:
            return [None for _ in rows]
        try:
            found = self._store.find(row.key for row in rows)
        except StorageError as error:
            raise _failed(error) from None
        return [self._reused(line, row) for line, row in zip(found, rows, strict=True)]

    def compare(self, rows: Sequence[Row]) -> InputComparison:
        """Compare rows with the responses of earlier runs.

        Raises:
            ArchiveFailed: the store cannot be read, or has a line that is not valid.
        """
        try:
            with RowComparer(KnownKeys(self._store.database)) as comparer:
                for row in rows:
                    comparer.is_known(row)
                return comparer.result()
        except StorageError as error:
            raise _failed(error) from None

    def keep(self, responses: Sequence[tuple[bytes, bytes]], account: RunSpend) -> str:
        """Store responses, and what was sent and spent, in one transaction.

        Args:
            responses: key and line of each.
            account: what was sent and spent.

        Returns:
            Why no more rows should start; "" if they may.

        Raises:
            ArchiveFailed: the store could not be written; nothing was changed.
        """
        trouble = ""
        try:
            self._store.keep(responses, account)
        except StorageError as error:
            if not (isinstance(error, StorageFull) and self._reserve.give_back()):
                raise _failed(error) from None
            trouble = error.reason
            try:
                self._store.keep(responses, account)
            except StorageError as again:
                raise _failed(again) from None
        self._mark()
        return trouble

    def keep_unwritten(self, costs: UnwrittenCosts) -> bool:
        """Store costs that a ledger has no room for; return whether there was room in the store."""
        self._reserve.give_back()
        try:
            self._store.keep_unwritten(costs.ledger, costs.content)
        except StorageError:
            return False
        self.has_unwritten = True
        return True

    def note_batches(self, *, in_batches: bool) -> None:
        """Note whether rows may be in batches, before one is; see `RunStore`.

        Raises:
            StorageError: the store cannot be written.
        """
        self._store.note_batches(in_batches=in_batches)

    def close(self, *, remove: bool = False) -> None:
        """Close the store.

        Args:
            remove: True to remove it, too, unless it has costs that are not in their ledger.
        """
        self._reserve.give_back()
        self._store.close()
        if remove and not self.has_unwritten:
            self.paths.store.unlink(missing_ok=True)
            if self._form.growing(self.paths) == self.paths.rows:
                self.paths.rows.unlink(missing_ok=True)

    def undo(self) -> None:
        """Close and remove the files that this run has made, because it does not start."""
        self.close(remove=self.is_new)
        for path in self._made if self.is_new else ():
            path.unlink(missing_ok=True)
        if not self._had_journal:
            with contextlib.suppress(StorageError):  # then it is not one that this run has made
                remove_empty_journal(self.paths.batches)

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

    def _check_ours(self) -> None:
        """Check that the files beside OUTPUT that a run overwrites are of an earlier run."""
        _check_file(self.paths.errors, _has_errors)
        _check_file(self.paths.reserve, self._reserve.is_like)
        if self._form.growing(self.paths) == self.paths.rows:
            _check_file(self.paths.rows, _has_lists)

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
        if not self._form.growing(self.paths).exists():
            return
        missing = self._form.count_missing(self.paths, self._store)
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
    remedy = STORE_REMEDY if is_damaged else error.remedy_by(ANOTHER_OUTPUT)
    reason = f"{error.name} cannot be used: {error.reason}"
    return ArchiveFailed(reason, remedy, is_damaged=is_damaged)


def why_not_named(output: Path) -> tuple[str, str] | None:
    """Return why a file of this name is not written, and the remedy; None if it is.

    Args:
        output: the path of OUTPUT.
    """
    if output.suffix.lower() not in _NOT_WRITTEN:
        return None
    reason = f"a file named {output.suffix} is not written"
    return reason, "name it .jsonl, .csv, .tsv, .parquet or .xlsx"


def _check_place(output: Path) -> None:
    """Check that OUTPUT can be written.

    Raises:
        BulkRefused: it is not a file, has no folder, or has the name of another kind of file.
        OSError: the path cannot be followed, or the file may not be written.
    """
    if refused := why_not_named(output):
        raise BulkRefused(f"OUTPUT: {refused[0]}", refused[1])
    with contextlib.suppress(FileNotFoundError):
        output.stat()  # raises where links lead in a circle, which `resolve` has no `OSError` for
    if output.is_dir():
        raise BulkRefused(f"{output} is a folder", "give the path of a file")
    if output.exists() and not output.is_file():
        raise BulkRefused(f"{output} is not a regular file", "give the path of a regular file")
    if not output.resolve().parent.is_dir():
        raise BulkRefused(
            f"there is no folder {output.parent}", "create it, or give another OUTPUT"
        )
    if output.exists():
        os.close(os.open(output, os.O_WRONLY))


def _has_errors(file: BinaryIO) -> bool:
    return is_error_line(file.readline(_LONGEST_LINE))


def _has_lists(file: BinaryIO) -> bool:
    return file.read(1) == b"["


def _check_file(path: Path, is_ours: Callable[[BinaryIO], bool]) -> None:
    """Check that a file may be overwritten.

    Args:
        path: the file, which need not exist.
        is_ours: returns whether an open file is one that Callsheet writes.

    Raises:
        BulkRefused: Callsheet did not write it.
    """
    if not path.exists() or path.is_dir():  # removing a folder raises the error
        return
    if not path.is_file():
        raise BulkRefused(f"{path} is not a regular file", "move it away, or give another OUTPUT")
    with path.open("rb") as file:
        if not path.stat().st_size or is_ours(file):
            return
    raise BulkRefused(
        f"{path} exists, but Callsheet did not write that file",
        "move the file away, or give another OUTPUT",
    )
