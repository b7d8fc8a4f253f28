"""What is where a run would write, checked without changing it: by a run, and by a dry run."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import BulkRefused
from ..settings import BulkSettings, Fsync, Paths
from .lines import is_error_line
from .output import RowFormat
from .reserve import Reserve
from .store import StoredResponses

_NOT_WRITTEN = (".gz", ".zst", ".xz", ".bz2", ".zip", ".xls", ".ods")  # ends of names of OUTPUT
_LONGEST_LINE = 1024**2  # bytes of a line that show whose it is


def why_not_named(output: Path) -> tuple[str, str] | None:
    """Return why a file of this name is not written, and the remedy; None if it is.

    Args:
        output: the path of OUTPUT.
    """
    if output.suffix.lower() not in _NOT_WRITTEN:
        return None
    reason = f"a file named {output.suffix} is not written"
    return reason, "name it .jsonl, .csv, .tsv, .parquet or .xlsx"


def check_place(output: Path) -> None:
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


def check_new(paths: Paths, form: RowFormat) -> None:
    """Check that there is no file of another program where a run without a store would write.

    Args:
        paths: the files of the run.
        form: the format of OUTPUT.

    Raises:
        BulkRefused: there is one.
        OSError: a path cannot be followed.
    """
    if paths.store.exists():
        return
    for path in dict.fromkeys((paths.output, form.growing(paths))):
        if path.exists() and path.stat().st_size:
            raise BulkRefused(
                f"{path} exists, but {paths.store.name} does not: Callsheet did not write that "
                "file",
                "give another OUTPUT, or move the file away",
            )


def check_beside(paths: Paths, form: RowFormat) -> None:
    """Check that the files beside OUTPUT that a run overwrites are of an earlier run.

    Args:
        paths: the files of the run.
        form: the format of OUTPUT.

    Raises:
        BulkRefused: Callsheet did not write one of them.
        OSError: a file cannot be read.
    """
    _check_file(paths.errors, _has_errors)
    _check_file(paths.reserve, Reserve(paths.reserve).is_like)
    if form.growing(paths) == paths.rows:
        _check_file(paths.rows, _has_lists)


def check_provider(output: Path, theirs: str, ours: str, settings: BulkSettings) -> None:
    """Check that the responses of earlier runs are of the provider of this one.

    Args:
        output: the path of OUTPUT.
        theirs: the stable name of the provider of the earlier runs; "" for none.
        ours: that of this run.
        settings: the settings of the run.

    Raises:
        BulkRefused: they are of another one, and that is not allowed.
    """
    if theirs and theirs != ours and not settings.other_provider:
        raise BulkRefused(
            f"the responses in {output} are from {theirs}, and {ours} would be used for the rest",
            "give another OUTPUT, or allow another provider (--other-provider)",
        )


def check_has_all(paths: Paths, form: RowFormat, store: StoredResponses, fsync: Fsync) -> None:
    """Check that the store has each response that is in OUTPUT; OUTPUT is written after it.

    A store that has lost its log, an earlier copy, and that of another run have not.

    Args:
        paths: the files of the run.
        form: the format of OUTPUT.
        store: the responses of earlier runs.
        fsync: what a commit of the run waits for.

    Raises:
        BulkRefused: it has not.
        OSError, StorageError: a file cannot be read.
    """
    if fsync != "full":  # a power cut may lose some
        return
    name, last = store.progress
    theirs, _, lasted = Reserve(paths.reserve).read_mark().rpartition(" ")
    if theirs and (theirs != name or last < int(lasted)):
        raise BulkRefused(
            f"the run store {paths.store} cannot be used: it lacks responses that a run had stored "
            "before it was killed; its log is lost, or it is an earlier copy, or of another run",
            f"restore it; or, to pay for these rows again, remove {paths.reserve.name}",
        )
    if not form.growing(paths).exists():
        return
    missing = form.count_missing(paths, store)
    if missing:
        raise BulkRefused(
            f"the run store {paths.store} cannot be used: {missing:,} responses of "
            f"{paths.output.name} are not in it; it is damaged, an earlier copy, or of another run",
            "restore it; or, to pay for these rows again, move it and OUTPUT away, or continue "
            "without these responses (--fsync normal)",
        )
