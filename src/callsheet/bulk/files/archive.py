"""The run store while a run uses it: checked when it is opened, with disk space in reserve."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

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
from .lines import with_id
from .output import JSON_LINES, RowFormat, in_use, not_writable
from .place import check_beside, check_has_all, check_new, check_place, check_provider
from .reserve import Reserve
from .store import RUN_STORE, STORE_REMEDY, RunStore


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
        wall_clock: returns the Unix time in seconds.

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
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._form = form
        self.paths = paths = Paths(output)
        self._settings = settings
        self._provider = provider
        self._wall_clock = wall_clock
        self._reserve = Reserve(paths.reserve)
        self.has_unwritten = False
        try:
            check_place(output)
            self.is_new = not paths.store.exists()
            self._had_journal = paths.batches.exists()
            made = (it for it in (output, form.growing(paths)) if not it.exists())
            self._made = set(map(Path.resolve, made))  # not links to them
            check_new(paths, form)
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
            self._take_provider()
            if not is_reopened:
                if not self.is_new:
                    check_has_all(self.paths, self._form, self._store, self._settings.fsync)
                check_beside(self.paths, self._form)
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

    def _take_provider(self) -> None:
        theirs = self._store.provider
        check_provider(self.paths.output, theirs, self._provider, self._settings)
        if theirs != self._provider:
            self._store.provider = self._provider

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
                take_unwritten(ledger, content, self._wall_clock())
            except ValueError as error:
                reason = f"the file is damaged (costs of {ledger}: {error})"
                raise DamagedFile(f"the run store {self.paths.store}", reason) from None
            self._store.keep_unwritten(ledger, b"")

    def _mark(self) -> None:
        """Note in the reserve what the store has."""
        if self._settings.fsync == "full":
            name, last = self._store.progress
            self._reserve.mark(f"{name} {last}")


def _failed(error: StorageError) -> ArchiveFailed:
    if isinstance(error, StorageFull):
        return ArchiveFailed(error.reason)
    is_damaged = isinstance(error, DamagedFile)
    remedy = STORE_REMEDY if is_damaged else error.remedy_by(ANOTHER_OUTPUT)
    reason = f"{error.name} cannot be used: {error.reason}"
    return ArchiveFailed(reason, remedy, is_damaged=is_damaged)
