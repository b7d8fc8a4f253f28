"""The values of a table as text: a record of CSV, or a line of the file that tables are made of.

Texts are written as they are, also those that begin with "=", which a spreadsheet reads as a
formula when it opens CSV: a program that reads the file gets what the model wrote. A workbook has
such texts as texts.
"""

import base64
import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from typing import cast, final

import orjson

from ...actors import Json

_LONGEST = 2**31 - 1  # characters of a field

TableCell = str | int | float | bool | None
"""A value of a table that every format can hold."""


def plain(value: object) -> TableCell:
    """Return a value as a cell: a nested one is JSON, a date ISO 8601, NaN is empty.

    Args:
        value: a value of the input, or of an answer.
    """
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return None if math.isnan(value) else value
        case date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)
        case bytes():
            return _decoded(value)
        case _:
            return json.dumps(value, ensure_ascii=False, default=plain)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


@final
class CsvRecords:
    """Writes records of CSV in UTF-8 (RFC 4180, with a line feed at the end).

    Args:
        delimiter: the character between fields.
    """

    def __init__(self, delimiter: str) -> None:
        self._buffer = io.StringIO()
        # A field with a carriage return is only quoted if it is in the line terminator.
        self._writer = csv.writer(self._buffer, delimiter=delimiter, lineterminator="\r\n")

    def record(self, values: Sequence[object]) -> bytes:
        """Return a record with its line end."""
        cells = (str(it).lower() if isinstance(it, bool) else it for it in map(plain, values))
        self._writer.writerow(list(cells))
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text[:-2].encode(errors="replace") + b"\n"


def csv_fields(lines: Iterable[bytes], delimiter: str) -> Iterator[list[str]]:
    """Yield the fields of each record.

    Args:
        lines: whole records of CSV.
        delimiter: the character between fields.

    Raises:
        ValueError: a record is not valid CSV.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))  # it applies to the process
    texts = (line.decode(errors="replace") for line in lines)
    try:
        yield from csv.reader(texts, delimiter=delimiter)
    except csv.Error as error:
        raise ValueError(f"a record is not valid CSV: {error}") from None


def json_line(values: Sequence[object]) -> bytes:
    """Return a line with a list of the values; a lone surrogate becomes "?"."""
    cells: list[Json] = list(map(plain, values))
    try:
        return orjson.dumps(cells, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits
        return json.dumps(cells, ensure_ascii=False).encode(errors="replace") + b"\n"


def cells_of(line: bytes) -> list[TableCell]:
    """Return the cells in a line of `json_line`.

    Raises:
        ValueError: the line is not a list.
    """
    found: object = orjson.loads(line)
    if not isinstance(found, list):
        raise ValueError("the line is not a list")  # noqa: TRY004  # it is a value in a file
    return cast("list[TableCell]", found)
