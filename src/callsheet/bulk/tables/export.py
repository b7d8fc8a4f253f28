"""Write the results of a run as another table, at any time: also while the run goes on.

The table is made of the whole records that OUTPUT has at that moment, or the file from which OUTPUT
is written. Nothing is locked, and no file of the run is changed.
"""

import itertools
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from ...actors import Json, loads, read_remedy, write_remedy
from ..errors import BulkRefused
from ..files.lines import read_answer
from ..files.lines_file import records
from ..settings import Paths
from .shape import MEASURED, TableCell, TableTooLarge, answer_of, plain
from .table_file import (
    DELIMITERS,
    csv_fields,
    is_table,
    limits_of,
    read_rows_file,
    suffix_of,
    write_table,
)
from .whole_files import TableRows, check_parquet

_STORE = ".callsheet"
_ROWS = ".callsheet-rows"
_OF_LINES = ["custom_id", "text", "cost_usd", "input_tokens", "output_tokens", "error"]


def export(source: Path, target: Path, *, overwrite: bool = False) -> int:
    """Write the results of a run as a table.

    Args:
        source: OUTPUT of the run, or its store.
        target: the file to write; its name ends in .csv, .tsv, .parquet or .xlsx.
        overwrite: True to replace a file of that name.

    Returns:
        The number of rows.

    Raises:
        BulkRefused: a file cannot be read or written; the text has the reason and the remedy.
        TableTooLarge: the rows do not fit into the format.
    """
    if not is_table(target):
        raise BulkRefused(f"{target} is no table", "name it .csv, .tsv, .parquet or .xlsx")
    limits = limits_of(target)
    if suffix_of(target) in (".parquet", ".pq"):
        check_parquet(target.name)
    if not source.name:
        raise BulkRefused(f"{source} is a folder", "give the path of a file")
    found = _grown(source)
    if target.exists() and not overwrite:
        raise BulkRefused(f"{target} exists", "choose another name, or add --overwrite")
    if target.exists() and any(it.exists() and target.samefile(it) for it in (source, found)):
        raise BulkRefused(f"{target} is the OUTPUT of the run", "choose another name")
    try:
        columns, rows = _read(found, typed=suffix_of(target) not in DELIMITERS)
        limits.check_columns(len(columns))
        count = sum(1 for _ in rows())
        limits.check_rows(count)
        write_table(target, columns, lambda: itertools.islice(rows(), count))
    except TableTooLarge:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = write_remedy(error) or "choose another name"
        raise BulkRefused(f"{target} cannot be written: {reason}", remedy) from None
    except ValueError as error:
        raise _unreadable(found, str(error)) from None
    return count


def _unreadable(path: Path, reason: str, remedy: str | None = None) -> BulkRefused:
    return BulkRefused(f"{path} cannot be read: {reason}", remedy or "give the OUTPUT of a run")


def _grown(source: Path) -> Path:
    """Return the file with the rows of a run."""
    output = source
    if source.name.endswith(_STORE):
        output = source.with_name(source.name.removesuffix(_STORE))
    rows = source if source.name.endswith(_ROWS) else Paths(output).rows
    found = rows if rows.exists() else output
    try:
        mode = found.stat().st_mode
    except FileNotFoundError:
        remedy = "give the OUTPUT of a run; running its command again writes it from the store"
        raise BulkRefused(f"there is no file {found}", remedy) from None
    except OSError as error:
        raise _unreadable(found, error.strerror or str(error), read_remedy(error)) from None
    if not stat.S_ISREG(mode):
        raise _unreadable(found, "it is a folder" if stat.S_ISDIR(mode) else "it is no file")
    if found == output and suffix_of(output) in (".parquet", ".pq", ".xlsx"):
        raise BulkRefused(
            f"{output} is without its {rows.name}", "run its command again, or read it as it is"
        )
    return found


def _read(path: Path, *, typed: bool) -> tuple[list[str], TableRows]:
    """Return the columns and the rows of a file.

    Args:
        path: the file that grows with the run.
        typed: True if columns of numbers in CSV are wanted as numbers.
    """
    if path.name.endswith(_ROWS):
        return read_rows_file(path)
    if suffix_of(path) in DELIMITERS:
        return _read_csv(path, DELIMITERS[suffix_of(path)], typed=typed)
    return _OF_LINES, lambda: _lines(path)


# -------------------------------------------------------------------- CSV


def _read_csv(path: Path, delimiter: str, *, typed: bool) -> tuple[list[str], TableRows]:
    size = path.stat().st_size  # records that the run adds later are left out in each pass

    def fields() -> Iterator[list[str]]:
        with path.open("rb") as file:
            yield from csv_fields(records(_first(file, size)), delimiter)

    columns = next(fields(), list[str]())
    # A column of the input that has one of these names is why some of them have a prefix.
    last = [re.sub(r"^(answer_)+", "", name) for name in columns[-len(MEASURED) :]]
    if last != list(MEASURED):
        raise ValueError("it has no answers")

    def texts() -> Iterator[Sequence[str]]:
        return itertools.islice(fields(), 1, None)

    readers = _readers(len(columns), texts()) if typed else [_text] * len(columns)

    def rows() -> Iterator[Sequence[TableCell]]:
        for row in texts():
            pairs = zip(readers, row, strict=True)
            yield [read(text) if text else None for read, text in pairs]

    return columns, rows


def _first(lines: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the lines in the first bytes of a file."""
    for line in lines:
        size -= len(line)
        if size < 0:
            return
        yield line


_Reader = Callable[[str], TableCell]
_TRUTHS = {"true": True, "false": False}


def _text(text: str) -> TableCell:
    return text


def _truth(text: str) -> TableCell:
    return _TRUTHS[text]


_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_READERS: tuple[_Reader, ...] = (int, float, _truth, _text)


def _readers(width: int, rows: Iterator[Sequence[str]]) -> list[_Reader]:
    """Return what reads each column: as numbers, if each of its texts is one.

    An id such as 007, or with more digits than a number holds, stays a text.
    """
    found = [0] * width  # indices of `_READERS`
    for row in rows:
        for at, text in enumerate(row):
            while text and not _is_read(_READERS[found[at]], text):
                found[at] += 1
    return [_READERS[at] for at in found]


def _is_read(read: _Reader, text: str) -> bool:
    if read is _text:
        return True
    with suppress(ValueError, KeyError, OverflowError):
        value = read(text)
        return str(value).lower() == text or (read is float and _is_decimal(text))
    return False


def _is_decimal(text: str) -> bool:
    """Return whether a float holds all digits of a text: 0.0000119 and 12.50, but not 007."""
    return bool(_DECIMAL.fullmatch(text)) and Decimal(repr(float(text))) == Decimal(text)


# -------------------------------------------------------------------- JSON Lines


def _lines(path: Path) -> Iterator[Sequence[TableCell]]:
    """Yield a row for each response, and then for each row that failed."""
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _answer(line)
    errors = Paths(path).errors
    if not errors.exists():
        return
    with errors.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _failure(line)


def _answer(line: bytes) -> list[TableCell]:
    response = read_answer(line)
    usage = response.usage
    cost = None if response.cost_usd is None else float(response.cost_usd)
    tokens = [usage.input_tokens, usage.output_tokens]
    return [_id(loads(line)), plain(answer_of(response)), cost, *tokens, None]


def _failure(line: bytes) -> list[TableCell]:
    found = loads(line)
    ours = _member(found, "callsheet")
    kind, paid = _member(ours, "kind"), _member(ours, "cost_usd")
    cost = float(paid) if isinstance(paid, str | int | float) else None
    messages = (_member(_member(found, name), "message") for name in ("callsheet", "error"))
    message = next((it for it in messages if it), "")
    return [_id(found), None, cost, None, None, f"{kind}: {message}"]


def _id(line: Json) -> TableCell:
    found = _member(line, "custom_id")
    return found if isinstance(found, str) else None


def _member(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None
