"""Write a table as Parquet, some rows at a time. It needs pyarrow, an optional extra."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ...wording import how_to_install
from ..errors import BulkRefused
from ..reading.parquet_table import parquet_library
from .cells import TableCell
from .shape import TableLimits

PARQUET_LIMITS = TableLimits(".parquet")
_ROWS_AT_A_TIME = 1_000
_INT64 = 2**63

Rows = Callable[[], Iterable[Sequence[TableCell]]]
"""Returns the rows of a table, from the first one."""


def check_parquet(name: str) -> None:
    """Check that Parquet can be written.

    Args:
        name: the name of the file.

    Raises:
        BulkRefused: PyArrow is not installed.
    """
    try:
        parquet_library()
    except ImportError:
        how = how_to_install("pyarrow", "parquet")
        raise BulkRefused(f"{name} is Parquet, which needs PyArrow", how) from None


def write_parquet(path: Path, columns: Sequence[str], rows: Rows) -> None:
    """Write a Parquet file.

    The rows are read twice, because the type of a column is known after the last one: integer,
    number, truth value, or text, to which other values are converted if they are mixed.

    Args:
        path: the file to write.
        columns: the names of the columns.
        rows: returns the rows.

    Raises:
        OSError: the file cannot be written.
    """
    arrow: Any = importlib.import_module("pyarrow")
    parquet = parquet_library()
    kinds = _kinds(len(columns), rows())
    types = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
    schema = arrow.schema(
        [arrow.field(name, types[kind]) for name, kind in zip(columns, kinds, strict=True)]
    )
    with parquet.ParquetWriter(path, schema) as writer:
        left = iter(rows())
        while some := list(islice(left, _ROWS_AT_A_TIME)):
            arrays = [
                arrow.array([_as(row[at], kind) for row in some], types[kind])
                for at, kind in enumerate(kinds)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


_Kind = type[str] | type[int] | type[float] | type[bool]


def _kinds(width: int, rows: Iterable[Sequence[TableCell]]) -> list[_Kind]:
    """Return the type of each column; that of one without values is text."""
    found: list[set[_Kind]] = [set() for _ in range(width)]
    for row in rows:
        for seen, cell in zip(found, row, strict=True):
            if cell is not None:
                seen.add(_kind(cell))
    return [_joined(seen) for seen in found]


def _kind(cell: str | float | bool) -> _Kind:  # noqa: FBT001  # a value of a table
    kind: _Kind = type(cell)
    return str if kind is int and not -_INT64 <= cell < _INT64 else kind  # type: ignore[operator]  # an int


def _joined(seen: set[_Kind]) -> _Kind:
    if seen == {int, float}:
        return float
    return seen.pop() if len(seen) == 1 else str


def _as(cell: TableCell, kind: _Kind) -> TableCell:
    if cell is None:
        return None
    if kind is str and isinstance(cell, bool):
        return str(cell).lower()
    return kind(cell)
