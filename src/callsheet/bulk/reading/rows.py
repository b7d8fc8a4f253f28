"""Make rows of the records of a table, and of the lines of JSON Lines.

A line of JSON Lines is a line of OpenAI's batch files, a plain body, or a row of columns.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO

import orjson

from ...actors import Json, Request, dumps, kind_of, loads
from ..row import BadRow, Row
from .bodies import BodyReader, shape_of, shape_of_url, url_of
from .columns import ColumnReader
from .errors import BadRecord
from .identity import USUAL_IDS, Identities, given_id
from .lines import BadLine, lines, not_utf8, shown
from .request_builder import RequestBuilder
from .settings import ReadSettings


class RowReader:
    """Makes the rows of one input.

    Args:
        settings: the settings of the input.
    """

    def __init__(self, settings: ReadSettings) -> None:
        builder = RequestBuilder(settings)
        self.bodies = BodyReader(builder)
        self.columns = ColumnReader(builder, settings)
        self.identities = Identities()

    def row(self, number: int, columns: Mapping[str, object], url: str, request: Request) -> Row:
        """Make the row of a request, with the id of its record.

        Raises:
            BadRecord: the id is invalid, or another row has it.
        """
        custom_id = given_id(columns, self.columns.id_name)
        return self.identities.row(number, custom_id, url, request)

    def bad(
        self, number: int, reason: str, text: str, columns: Mapping[str, object] | None = None
    ) -> BadRow:
        """Make the `BadRow` of a record that is not a valid request."""
        custom_id = None
        if columns is not None:
            with suppress(BadRecord):
                custom_id = given_id(columns, self.columns.id_name)
        return BadRow(number=number, reason=reason, custom_id=custom_id, text=text)


def table_rows(
    records: Iterator[tuple[int, dict[str, object] | BadLine]], reader: RowReader
) -> Iterator[Row | BadRow]:
    """Yield the rows of a table."""
    url = url_of("chat")
    for number, record in records:
        if isinstance(record, BadLine):
            yield reader.bad(number, record.reason, record.text)
            continue
        try:
            yield reader.row(number, record, url, reader.columns.request(record))
        except BadRecord as error:
            yield reader.bad(number, error.reason, shown(str(record)), record)


def jsonl_rows(
    stream: BinaryIO, settings: ReadSettings, reader: RowReader
) -> Iterator[Row | BadRow]:
    """Yield the rows of JSON Lines. Empty lines are counted and skipped."""
    is_of_columns = settings.is_of_columns
    for number, line in lines(stream, settings.max_line_bytes):
        if isinstance(line, BadLine):
            yield reader.bad(number, line.reason, line.text)
            continue
        if not line or line.isspace():
            continue
        record: dict[str, Json] | None = None
        try:
            record = _object(line)
            if is_of_columns:
                url, request = url_of("chat"), reader.columns.request_of_line(record)
            else:
                url, request = _asked(record, reader)
            yield reader.row(number, record, url, request)
        except BadRecord as error:
            yield reader.bad(number, error.reason, shown(line), record)


def _object(line: bytes) -> dict[str, Json]:
    try:
        value: Json = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        value = _forgiven(line, error)
    if isinstance(value, dict):
        return value
    reason = f"the line must be a JSON object, not {kind_of(value)}"
    if isinstance(value, list):
        reason += "; if the whole input is one list, convert it to lines with jq -c '.[]'"
    raise BadRecord(reason)


def _forgiven(line: bytes, error: orjson.JSONDecodeError) -> Json:
    """Read JSON that orjson rejects: a lone surrogate, which becomes "?"."""
    if wrong := not_utf8(line):
        raise BadRecord(wrong)
    try:
        value = loads(line)
    except ValueError:
        raise BadRecord(f"the line is not JSON: {error.msg} at character {error.pos + 1}") from None
    try:
        dumps({"": value})
    except ValueError as unwritable:
        raise BadRecord(f"the line is not JSON: {unwritable}") from None
    return value


def _asked(record: dict[str, Json], reader: RowReader) -> tuple[str, Request]:
    """Return the path and the request of a line that is a body, or has one."""
    if "body" in record:
        return _asked_in_batch(record, reader)
    shape = shape_of(record)
    if shape is None:
        raise BadRecord(
            'the line is not a request: it has no "body", "messages", "prompt" or "input"; '
            "for rows with other columns, set a template or map the prompt"
        )
    if shape == "completion" and "model" not in record:  # a prompt among columns
        return url_of("chat"), reader.columns.request_of_line(record)
    around = USUAL_IDS if reader.columns.id_name is None else (reader.columns.id_name,)
    body = {name: value for name, value in record.items() if name not in around}
    return url_of(shape), reader.bodies.request(shape, body)


def _asked_in_batch(record: dict[str, Json], reader: RowReader) -> tuple[str, Request]:
    """Return the path and the request of a line of a batch file.

    Together's files leave out method and path.
    """
    body = record["body"]
    if not isinstance(body, dict):
        raise BadRecord(f'"body" must be an object, not {kind_of(body)}')
    method = record.get("method", "POST")
    if method != "POST":
        raise BadRecord(f"\"method\" must be 'POST', not {kind_of(method)}")
    shape = shape_of_url(record["url"]) if "url" in record else shape_of(body)
    if shape is None:
        raise BadRecord('the line has no "url", and its body no "messages", "prompt" or "input"')
    return url_of(shape), reader.bodies.request(shape, body)
