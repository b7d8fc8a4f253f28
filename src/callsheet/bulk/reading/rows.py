"""Make rows of the records of a table, of JSON objects, and of what a program has.

A JSON object is a line of a batch file, a plain body, or a row of columns.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from math import isnan

import attrs
import orjson

from ...actors import Json, Request, dumps, kind_of, loads
from ..row import BadRow, Row
from .advice import advice_for, is_data
from .batch_lines import batch_request, is_batch_line, with_key
from .bodies import BodyReader, RequestBuilder, ignore_remark, shape_of, url_of
from .columns import ColumnReader
from .errors import BadLine, BadRecord, RepeatedId
from .identity import USUAL_IDS, Identities, given_id
from .settings import ReadSettings
from .text import not_utf8, shown

_NAMES_SHOWN = 8
_BEYOND_64_BITS = 2.0**63  # what no negative integer of 64 bits is below, and few others reach


class RowReader:
    """Makes the rows of one input.

    Args:
        settings: the settings of the input.
        on_remark: as in `RequestBuilder`.

    Attributes:
        misfits: the number of bad rows whose fault is probably that of the whole input.
    """

    def __init__(
        self, settings: ReadSettings, on_remark: Callable[[str], None] = ignore_remark
    ) -> None:
        self.builder = RequestBuilder(settings, on_remark)
        self.bodies = BodyReader(self.builder)
        self.columns = ColumnReader(self.builder, settings, on_remark)
        self.identities = Identities()
        self._carries_columns = settings.carries_columns
        self.misfits = 0

    def close(self) -> None:
        """Release the temporary file of the ids."""
        self.identities.close()

    def row(self, number: int, columns: Mapping[str, object], url: str, request: Request) -> Row:
        """Make the row of a request, with the id of its record.

        Raises:
            BadRecord: the id is invalid, or another row has it.
        """
        custom_id = given_id(columns, self.columns.id_name)
        row = self.identities.row(number, custom_id, url, request)
        return attrs.evolve(row, columns=columns) if self._carries_columns else row

    def bad(
        self,
        number: int,
        reason: str,
        text: str,
        columns: Mapping[str, object] | None = None,
        *,
        is_misfit: bool = False,
    ) -> BadRow:
        """Make the `BadRow` of a record that is not a valid request.

        Args:
            number: the number of the record.
            reason: what is wrong with it.
            text: the beginning of the record.
            columns: its values, if it could be read.
            is_misfit: as in `BadRecord`.
        """
        if is_misfit:
            self.misfits += 1
        custom_id = None
        if columns is not None:
            with suppress(BadRecord):
                custom_id = given_id(columns, self.columns.id_name)
        carried = columns if self._carries_columns else None
        return BadRow(number=number, reason=reason, custom_id=custom_id, text=text, columns=carried)


_ANOTHER_ID = ": name another column (--map id=COLUMN), or let rows be numbered (--map id=)"


def table_rows(
    records: Iterator[tuple[int, dict[str, object] | BadLine]], reader: RowReader
) -> Iterator[Row | BadRow]:
    """Yield the rows of a table."""
    url = url_of("chat")
    for number, record in records:
        if isinstance(record, BadLine):
            yield reader.bad(number, record.reason, record.text, is_misfit=record.is_misfit)
            continue
        try:
            yield reader.row(number, record, url, reader.columns.request(record))
        except BadRecord as error:
            text, reason = shown(str(record)), error.reason
            if isinstance(error, RepeatedId):
                reason += _ANOTHER_ID
            yield reader.bad(number, reason, text, record, is_misfit=error.is_misfit)


def json_rows(
    values: Iterable[tuple[int, bytes | BadLine]], settings: ReadSettings, reader: RowReader
) -> Iterator[Row | BadRow]:
    """Yield the rows of JSON objects.

    Args:
        values: the number and the text of each object.
        settings: the settings of the input.
        reader: makes the rows.
    """
    is_of_columns = settings.is_of_columns
    for number, text in values:
        if isinstance(text, BadLine):
            yield reader.bad(number, text.reason, text.text, is_misfit=text.is_misfit)
            continue
        record: dict[str, Json] | None = None
        try:
            record = _object(text, is_of_columns=is_of_columns)
            if is_of_columns:
                url, request = url_of("chat"), reader.columns.request_of_line(record)
            else:
                url, request = _asked(record, reader)
            yield reader.row(number, with_key(record), url, request)
        except BadRecord as error:
            named = None if record is None else with_key(record)
            yield reader.bad(number, error.reason, shown(text), named, is_misfit=error.is_misfit)


def _object(line: bytes, *, is_of_columns: bool) -> dict[str, Json]:
    try:
        value: Json = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        value = _forgiven(line, error)
    else:
        if _has_large(value):  # orjson makes floats of integers that it cannot hold
            value = _exact(line, is_of_columns=is_of_columns)
    if isinstance(value, dict):
        return value
    raise BadRecord(f"it must be a JSON object, not {kind_of(value)}", is_misfit=True)


def _forgiven(line: bytes, error: orjson.JSONDecodeError) -> Json:
    """Read JSON that orjson rejects: a lone surrogate becomes "?", and NaN null."""
    if wrong := not_utf8(line):
        raise BadRecord(wrong, is_misfit=True)
    try:
        value = loads(line)
    except ValueError:
        reason = f"the line is not JSON: {error.msg} at character {error.pos + 1}"
        raise BadRecord(reason, is_misfit=True) from None
    value = _without_nan(value)
    try:
        dumps({"": value})
    except ValueError:
        reason = "the line is not JSON: it has an infinite number; write null"
        raise BadRecord(reason, is_misfit=True) from None
    return value


def _has_large(value: Json) -> bool:
    """Return whether a float may have been an integer of more than 64 bits."""
    left = [value]
    while left:  # and no recursion, because a value may be nested deeply
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, float) and abs(one) >= _BEYOND_64_BITS:
            return True
    return False


def _exact(line: bytes, *, is_of_columns: bool) -> Json:
    """Read JSON whose integers may have more than 64 bits: in columns, these become texts."""

    def read(digits: str) -> int | str:
        number = int(digits)
        if -(2**63) <= number < 2**64:
            return number
        if is_of_columns:
            return digits
        text = f"the integer {digits:.40} has more than 64 bits; write it as a text, in quotes"
        raise BadRecord(text, is_misfit=True)

    try:
        value: Json = json.loads(line, parse_int=read)
    except (ValueError, RecursionError):  # Python reads no integer of more than 4,300 digits
        text = "an integer has too many digits, or lies too deep; write it as a text, in quotes"
        raise BadRecord(text) from None
    return value


def _without_nan(value: Json) -> Json:
    """Return a value with null for NaN, which Python writes for what is missing."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value


def _asked(record: dict[str, Json], reader: RowReader) -> tuple[str, Request]:
    """Return the path and the request of a line that is a body, or has one."""
    if is_batch_line(record):
        return batch_request(record, reader.bodies, reader.builder)
    shape = shape_of(record)
    if shape is None or is_data(record):
        what = "a request" if shape is None else "clearly a request"
        raise BadRecord(
            f"the line is not {what}: {_has(record)}; {advice_for(record)}", is_misfit=True
        )
    if shape == "completion" and "model" not in record:  # a prompt among columns
        return url_of("chat"), reader.columns.request_of_line(record)
    around = (reader.columns.id_name,) if reader.columns.id_name else USUAL_IDS
    body = {name: value for name, value in record.items() if name not in around}
    return url_of(shape), reader.bodies.request(shape, body)


def _has(record: Mapping[str, Json]) -> str:
    names = list(record)[:_NAMES_SHOWN]
    more = ", ..." if len(record) > len(names) else ""
    return f"it has {', '.join(names)}{more}" if names else "it is empty"


RowLike = Row | BadRow | Request | tuple[str, Request] | Mapping[str, object]
"""A row; a request; an id with its request; or the columns of a row, for a template."""


def rows_of(
    given: Iterable[RowLike], settings: ReadSettings | None = None
) -> Iterator[Row | BadRow]:
    """Yield the rows of a program, each with a key.

    A request without an id has the id "row-7" as the seventh one, and a key that depends on its
    content, so its response is found again when other rows are inserted or removed.

    Args:
        given: the rows, in any mixture.
        settings: the template and the defaults for rows that are columns.

    Raises:
        TypeError: a row is of no such type.
    """
    reader: RowReader | None = None
    try:
        for number, one in enumerate(given, 1):
            if isinstance(one, Row | BadRow):
                yield one
                continue
            if reader is None:
                reader = RowReader(settings or ReadSettings())
            yield _row(number, one, reader)
    finally:
        if reader is not None:
            reader.close()


def _is_request(value: object) -> bool:
    return isinstance(value, Request)


def _is_id(value: object) -> bool:
    return isinstance(value, str)


def _row(
    number: int, given: Request | tuple[str, Request] | Mapping[str, object], reader: RowReader
) -> Row | BadRow:
    if isinstance(given, Mapping):
        try:
            return reader.row(number, given, url_of("chat"), reader.columns.request(given))
        except BadRecord as error:
            return reader.bad(number, error.reason, shown(str(dict(given))), given)
    custom_id, request = given if isinstance(given, tuple) else (None, given)
    if not (_is_request(request) and (custom_id is None or _is_id(custom_id))):
        kind = type(given).__name__
        raise TypeError(
            f"row {number} must be a Request, an id with a Request, or a dict, not {kind}"
        )
    shape = "responses" if request.api == "responses" else request.task
    try:
        return reader.identities.row(number, custom_id, url_of(shape), request)
    except BadRecord as error:
        return BadRow(number=number, reason=error.reason, custom_id=custom_id)
