"""Parquet, a few records at a time. Its library is an extra."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

from .errors import InputError
from .identity import USUAL_IDS
from .lines import BadLine

__all__ = ["open_parquet", "parquet_columns", "parquet_records", "parquet_size"]

_RECORDS_AT_A_TIME = 64  # a prompt may be long
_BATCHES_TO_TIDY = 256
_BUFFER_BYTES = 1024 * 1024  # of each column, rather than all of it in a row group

_POOL = "ARROW_DEFAULT_MEMORY_POOL"

ParquetFile = Any  # pyarrow says nothing of its types
RecordBatch = Any


def open_parquet(path: Path) -> AbstractContextManager[ParquetFile]:
    """Open a file of Parquet.

    Raises:
        InputError: it is none, or the extra is not installed.
    """
    try:
        library = _library()
    except ImportError:
        remedy = 'pip install "callsheet[parquet]"'
        raise InputError(f"{path} is Parquet, which needs an extra: {remedy}") from None
    try:
        file = library.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (OSError, ValueError) as error:  # pyarrow's errors are one of these
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read as Parquet: {reason}") from None
    return cast("AbstractContextManager[ParquetFile]", file)


def _library() -> Any:  # noqa: ANN401  # it says nothing of its types
    is_set = "pyarrow" in sys.modules or _POOL in os.environ
    if not is_set:
        # Its own pools keep some 20 MB for the next column. This is looked at in its import alone.
        os.environ[_POOL] = "system"
    try:
        return importlib.import_module("pyarrow.parquet")
    finally:
        if not is_set:
            del os.environ[_POOL]


def parquet_columns(file: ParquetFile) -> list[str]:
    """The names of its columns."""
    return list(file.schema_arrow.names)


def parquet_size(file: ParquetFile) -> int:
    """How many records it has."""
    return int(file.metadata.num_rows)


class Check(Protocol):
    """See `SteadyFile.check`."""

    def __call__(self, *, is_end: bool) -> None:
        """Raises if the file is not what it was."""
        ...


def parquet_records(
    file: ParquetFile, needed: frozenset[str] | None, check: Check
) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
    """The number of each record, from 1, and those of its columns that are needed.

    Args:
        file: an open one.
        needed: columns that are read, with the usual ids; None for all.
        check: is called with each piece that was read, before any of it is given out.
    """
    names = parquet_columns(file)
    wanted = None
    if needed is not None and not any("." in name for name in names):  # a dot goes into a column
        wanted = [name for name in names if name in needed or name in USUAL_IDS]
    number = 0
    pool = importlib.import_module("pyarrow").default_memory_pool()
    try:
        for at, batch in enumerate(
            file.iter_batches(batch_size=_RECORDS_AT_A_TIME, columns=wanted, use_threads=False)
        ):
            check(is_end=False)
            if at % _BATCHES_TO_TIDY == 0:
                pool.release_unused()  # what lies between the pieces of one column and the next
            for record in _records(batch):
                number += 1
                yield number, record
        check(is_end=True)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        check(is_end=False)  # then that is why
        reason = str(error).partition("\n")[0]
        yield number + 1, BadLine(f"the input cannot be read on from here: {reason}")


def _records(batch: RecordBatch) -> Iterator[dict[str, object] | BadLine]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # found among the others by looking at each of them
        for at in range(batch.num_rows):
            try:
                yield from batch.slice(at, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield BadLine(f"a text of it is not UTF-8: {error.reason}")
