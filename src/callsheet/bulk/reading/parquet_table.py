"""Read Parquet, a few records at a time. It needs pyarrow, an optional extra."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from ...wording import how_to_install
from .errors import BadLine, InputError
from .identity import USUAL_IDS

_RECORDS_AT_A_TIME = 64  # few, because prompts may be long
_BATCHES_TO_TIDY = 256
_BUFFER_BYTES = 1024 * 1024  # per column; the default buffers a whole row group

_POOL = "ARROW_DEFAULT_MEMORY_POOL"

ParquetFile = Any  # pyarrow has no type annotations
RecordBatch = Any


def open_parquet(source: Path | BinaryIO, name: str) -> AbstractContextManager[ParquetFile]:
    """Open a Parquet file.

    Args:
        source: the path of the file, or the file.
        name: its name, for error texts.

    Raises:
        InputError: the file is not Parquet, or the extra is not installed.
    """
    try:
        library = parquet_library()
    except ImportError:
        how = how_to_install("pyarrow", "parquet")
        raise InputError(f"{name} is Parquet, which needs PyArrow; {how}") from None
    try:
        file = library.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (OSError, ValueError) as error:  # pyarrow's errors are one of these
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name} cannot be read as Parquet: {reason}") from None
    return cast("AbstractContextManager[ParquetFile]", file)


def parquet_library() -> Any:  # noqa: ANN401  # pyarrow has no type annotations
    """Import pyarrow's module for Parquet, so that it keeps little memory.

    Raises:
        ImportError: pyarrow is not installed.
    """
    is_set = "pyarrow" in sys.modules or _POOL in os.environ
    if not is_set:
        # Arrow's own pools keep some 20 MB. The variable is read only while pyarrow is imported.
        os.environ[_POOL] = "system"
    try:
        return importlib.import_module("pyarrow.parquet")
    finally:
        if not is_set:
            del os.environ[_POOL]


def parquet_columns(file: ParquetFile) -> list[str]:
    """Return the names of the columns."""
    return list(file.schema_arrow.names)


def parquet_size(file: ParquetFile) -> int:
    """Return the number of records."""
    return int(file.metadata.num_rows)


class Check(Protocol):
    """See `SteadyFile.check`."""

    def __call__(self, *, is_end: bool) -> None:
        """Raise `InputChanged` if the file has changed."""
        ...


def parquet_records(
    file: ParquetFile, needed: frozenset[str] | None, check: Check
) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
    """Yield each record as (number from 1, {column: value}).

    Args:
        file: the open file.
        needed: the columns to read, besides the usual ids; None for all.
        check: called after each piece was read, before its records are yielded.
    """
    names = parquet_columns(file)
    wanted = None
    if needed is not None and not any(
        "." in name for name in names
    ):  # pyarrow reads a dot as a nested column
        wanted = [name for name in names if name in needed or name in USUAL_IDS]
    number = 0
    pool = importlib.import_module("pyarrow").default_memory_pool()
    try:
        for at, batch in enumerate(
            file.iter_batches(batch_size=_RECORDS_AT_A_TIME, columns=wanted, use_threads=False)
        ):
            check(is_end=False)
            if at % _BATCHES_TO_TIDY == 0:
                pool.release_unused()  # memory freed between the pieces of columns
            for record in _records(batch):
                number += 1
                yield number, record
        check(is_end=True)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        check(is_end=False)  # a change of the file explains the error
        reason = str(error).partition("\n")[0]
        yield number + 1, BadLine(f"the input cannot be read beyond this record: {reason}")


def _records(batch: RecordBatch) -> Iterator[dict[str, object] | BadLine]:
    try:
        yield from _listed(batch)
    except UnicodeDecodeError:  # find the bad record by reading each alone
        for at in range(batch.num_rows):
            try:
                yield from _listed(batch.slice(at, 1))
            except UnicodeDecodeError as error:
                yield BadLine(f"a text in the record is not UTF-8: {error.reason}")


def _listed(batch: RecordBatch) -> list[dict[str, object]]:
    """Return records of Python's own types; those of pandas depend on what is installed."""
    arrow = importlib.import_module("pyarrow")
    for at, field in enumerate(batch.schema):
        for kind in ("timestamp", "duration"):
            if getattr(arrow.types, f"is_{kind}")(field.type) and field.type.unit == "ns":
                zone = {"tz": field.type.tz} if kind == "timestamp" else {}
                whole = batch.column(at).cast(getattr(arrow, kind)("us", **zone), safe=False)
                batch = batch.set_column(at, field.name, whole)
    return cast("list[dict[str, object]]", batch.to_pylist(maps_as_pydicts="lossy"))
