"""Checksums of rows, which SQLite does not have: a changed bit may make another valid value.

A checked table has a column `crc`, which each write sets to `checksum(...)` of the other columns,
and each read compares by `verified(crc, ...)`. Both are SQL functions of every connection.

A query has `verified` among its results. In its WHERE, SQLite may replace a column by the value
that it is compared with, and evaluate `verified` for rows that the query does not return.
"""

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def checksum(*values: bytes | str | float | None) -> int:
    """Return the checksum of a row.

    Args:
        values: the values of its columns. A whole number has one checksum, whether it is an integer
            or a float: the column decides that when it is stored.
    """
    crc = 0
    others: list[object] = []
    for value in values:
        if isinstance(value, bytes):
            crc = zlib.crc32(value, crc)
            others.append((len(value),))
        elif isinstance(value, float) and value.is_integer():
            others.append(int(value))
        else:
            others.append(value)
    return zlib.crc32(repr(others).encode(errors="replace"), crc)


def verified(crc: int | None, *values: bytes | str | float | None) -> bool:
    """Return True if a row has its checksum.

    Args:
        crc: the checksum that is stored.
        values: the values of the other columns.

    Raises:
        ValueError: the row has another one, so it is damaged.
    """
    if checksum(*values) != crc:
        raise ValueError("a row does not have its checksum")
    return True


def add_checksums(connection: "sqlite3.Connection") -> None:
    """Create the SQL functions in a connection."""
    connection.create_function("checksum", -1, checksum, deterministic=True)
    connection.create_function("verified", -1, verified, deterministic=True)
