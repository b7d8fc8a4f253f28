"""The cells of a table of results: those of the input, then those of the answers.

The columns of the input keep their names. A column of the answers whose name is taken gets the
prefix "answer_", so that no column is lost and no name comes twice.

The input's columns travel with their row through the run, and are not in the run store. A run that
is continued reads INPUT again in any case, so the store stays as small as without a table, and a
column that no prompt uses can be changed without paying for its row again. Memory is bounded by
`BulkSettings.window_rows` and `window_bytes`, as for the row itself.
"""

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from itertools import chain, islice
from typing import cast, final

import attrs

from ...actors import Choice, Response, result_columns, result_members
from ..progress import RowEnded
from ..row import BadRow, Row, UnnamedColumn

TEXT = "text"
MEASURED = ("cost_usd", "input_tokens", "output_tokens", "error")
_PREFIX = "answer_"
_ID = "custom_id"
_REMEDY = "write .csv or .parquet"
_LOOKED_AT = 100  # rows whose columns are those of the table

TableCell = str | int | float | bool | None
"""A value of a table that every format can hold."""


def plain(value: object) -> TableCell:
    """Return a value as a cell.

    A nested value is JSON, a date ISO 8601, and NaN empty. What JSON has no form for, such as a
    duration, is its text: a value of the input must not keep an answer from its row.

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
        case bytes():
            return _decoded(value)
        case Mapping() | list() | tuple() | set() | frozenset():
            return json.dumps(_nested(cast("object", value)), ensure_ascii=False)
        case _:
            found = _of_numpy(value)
            return str(value) if found is value else plain(found)


def _nested(value: object) -> object:
    """Return a value with members of JSON's types only."""
    match value:
        case Mapping():
            members = cast("Mapping[object, object]", value).items()
            return {str(plain(name)): _nested(item) for name, item in members}
        case list() | tuple() | set() | frozenset():
            return [_nested(item) for item in cast("Iterable[object]", value)]
        case float() if math.isinf(value):
            return str(value)
        case _:
            found = _of_numpy(value)
            return plain(value) if found is value else _nested(found)


def _of_numpy(value: object) -> object:
    """Return a scalar or an array of NumPy as a value of Python."""
    convert: Callable[[], object] | None = None
    if type(value).__module__ == "numpy":
        convert = getattr(value, "tolist", None)
    return value if convert is None else convert()


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


@attrs.frozen
class TableLimits:
    """What a table can hold; None for no limit.

    Args:
        name: the name of the format, for error texts.
        rows: the most rows, without the header.
        columns: the most columns.
        cell_chars: the most characters in a cell.
    """

    name: str
    rows: int | None = None
    columns: int | None = None
    cell_chars: int | None = None

    def too_long(self, columns: Mapping[str, object]) -> str:
        """Return which cell has too many characters; "" if none has."""
        most = self.cell_chars
        if most is None:
            return ""
        for name, value in columns.items():
            if isinstance(value, str) and len(value) > most:
                holds = f"a cell of {self.name} holds {most:,}"
                return f'"{name}" has {len(value):,} characters, and {holds}; {_REMEDY}'
        return ""

    def check_rows(self, rows: int) -> None:
        """Check a number of rows.

        Raises:
            TableTooLarge: there are too many.
        """
        if self.rows is not None and rows > self.rows:
            raise TableTooLarge(f"{self.name} holds {self.rows:,} rows; {_REMEDY}")

    def check_columns(self, columns: int) -> None:
        """Check a number of columns.

        Raises:
            TableTooLarge: there are too many.
        """
        if self.columns is not None and columns > self.columns:
            what = f"{self.name} holds {self.columns:,} columns, and these are {columns:,}"
            raise TableTooLarge(f"{what}; {_REMEDY}")


class TableTooLarge(ValueError):
    """A table does not fit into its format; the text says why, and what does fit."""


@final
class TableShape:
    """The columns of one table; they are known once the first rows were read.

    Args:
        limits: what the format can hold.
        columns: the columns of the input, if there are no rows.
        returns: the class of the answers, if there are no rows.
    """

    def __init__(
        self,
        limits: TableLimits,
        columns: Iterable[str] = (_ID,),
        returns: type[object] | None = None,
    ) -> None:
        self._limits = limits
        self._given = tuple(columns)
        self._answer_of(returns)

    @property
    def columns(self) -> list[str]:
        """The names of all columns; "" for one of the input that has none."""
        names = list(self._given)
        for name in (*self._fields, *MEASURED):
            names.append(_free(name, names))
        return ["" if isinstance(name, UnnamedColumn) else name for name in names]

    def fitted(self, rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
        """Take the columns of the first rows, and yield all rows; those that do not fit are bad.

        Args:
            rows: the rows of the input.

        Raises:
            TableTooLarge: there are more rows or columns than the format can hold.
        """
        first = list(islice(rows, _LOOKED_AT))
        self._settle(first)
        for count, row in enumerate(chain(first, rows), 1):
            self._limits.check_rows(count)
            yield self._fit(row)

    def _settle(self, rows: Sequence[Row | BadRow]) -> None:
        given: dict[str, None] = {}
        for row in rows:
            if row.columns is not None:
                given |= dict.fromkeys(row.columns)
            elif isinstance(row, Row):  # a record that cannot be read has no id either
                given[_ID] = None
        if given:
            self._given = tuple(given)
        classes = [row.request.returns for row in rows if isinstance(row, Row)]
        if classes:
            self._answer_of(classes[0])
        self._limits.check_columns(len(self.columns))

    def _answer_of(self, returns: type[object] | None) -> None:
        self._returns = returns
        self._fields = (TEXT,) if returns is None else result_columns(returns)

    def _fit(self, row: Row | BadRow) -> Row | BadRow:
        if isinstance(row, BadRow):
            return row
        columns = row.columns
        if columns is None:
            row = attrs.evolve(row, columns={_ID: row.custom_id})
        elif reason := self._misfit(columns):
            return bad_of(row, reason)
        if row.request.returns is not self._returns:
            return bad_of(row, "its answer has other fields than those of the first row")
        return row

    def _misfit(self, columns: Mapping[str, object]) -> str:
        if len(columns) > len(self._given) or columns.keys() - set(self._given):
            name = next(name for name in columns if name not in self._given)
            return (
                f'it has a "{name}", which none of the first {_LOOKED_AT} rows has, so that OUTPUT '
                "has no such column; add it to the first row, or write .jsonl"
            )
        return self._limits.too_long(columns)

    # ----------------------------------------------------------------

    def values(
        self, columns: Mapping[str, object] | None, ended: RowEnded, response: Response | None
    ) -> list[object]:
        """Return the values of a row, one for each column.

        Args:
            columns: the values of the input.
            ended: the end of the row.
            response: the response to the row; None if it has failed.
        """
        given = columns or {_ID: ended.custom_id}
        values = [given.get(name) for name in self._given]
        if response is None:
            usage, cost = ended.usage, ended.cost_usd
            answer: list[object] = [None] * len(self._fields)
            error: str | None = f"{ended.error}: {ended.message}"
        else:
            usage, cost = response.usage, response.cost_usd
            answer, error = self._answer(response), None
        spent = None if cost is None else float(cost)
        return [*values, *answer, spent, usage.input_tokens, usage.output_tokens, error]

    def _answer(self, response: Response) -> list[object]:
        if self._returns is not None:
            members = result_members(self._returns, response.text)
            return [members.get(name) for name in self._fields]
        return [answer_of(response)]


def answer_of(response: Response) -> object:
    """Return what a response has to say: a text, or a list for vectors and for several choices.

    A choice without a text is the text of its refusal, or its calls of tools.

    Args:
        response: the response to a row.
    """
    if response.embeddings:
        vectors = [list(vector) for vector in response.embeddings]
        return vectors[0] if len(vectors) == 1 else vectors
    said = [_said(choice) for choice in response.choices]
    return said if len(said) > 1 else next(iter(said), response.text)


def _said(choice: Choice) -> object:
    calls = [{"name": call.name, "arguments": call.arguments} for call in choice.tool_calls]
    return choice.text or choice.refusal or calls or ""


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name = f"{_PREFIX}{name}"
    return name


def bad_of(row: Row, reason: str) -> BadRow:
    """Return a row as one that is not sent.

    Args:
        row: the row as it was read.
        reason: why it is not sent.
    """
    return BadRow(number=row.number, reason=reason, custom_id=row.custom_id, columns=row.columns)


def check_fits(rows: Iterable[Row | BadRow], limits: TableLimits) -> None:
    """Check that the columns of an input fit into a table, before anything is spent.

    Args:
        rows: the rows of the input, with their columns.
        limits: what the table can hold.

    Raises:
        TableTooLarge: they do not fit; the text says why, and what does fit.
    """
    for row in TableShape(attrs.evolve(limits, cell_chars=None)).fitted(iter(rows)):
        if row.columns is not None and (reason := limits.too_long(row.columns)):
            raise TableTooLarge(f"row {row.number}: {reason}")
