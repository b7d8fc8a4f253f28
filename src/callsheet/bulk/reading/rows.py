"""Make rows of records; JSON Lines and tables share this."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import attrs

from ...actors import Request
from ..row import BadRow, Row
from .bodies import BodyReader, url_of
from .columns import ColumnReader
from .errors import BadRecord
from .identity import Identities, given_id
from .lines import BadLine, shown
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
        self._carries_columns = settings.carries_columns

    def row(self, number: int, columns: Mapping[str, object], url: str, request: Request) -> Row:
        """Make the row of a request, with the id of its record.

        Raises:
            BadRecord: the id is invalid, or another row has it.
        """
        custom_id = given_id(columns, self.columns.id_name)
        row = self.identities.row(number, custom_id, url, request)
        return attrs.evolve(row, columns=columns) if self._carries_columns else row

    def bad(
        self, number: int, reason: str, text: str, columns: Mapping[str, object] | None = None
    ) -> BadRow:
        """Make the `BadRow` of a record that is not a valid request."""
        custom_id = None
        if columns is not None:
            with suppress(BadRecord):
                custom_id = given_id(columns, self.columns.id_name)
        carried = columns if self._carries_columns else None
        return BadRow(number=number, reason=reason, custom_id=custom_id, text=text, columns=carried)


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
