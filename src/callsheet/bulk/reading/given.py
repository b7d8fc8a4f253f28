"""Make rows of what a program has: requests, with or without ids, and dicts for a template."""

from collections.abc import Iterable, Iterator, Mapping

from ...actors import Request
from ..row import BadRow, Row
from .bodies import url_of
from .errors import BadRecord
from .lines import shown
from .rows import RowReader
from .settings import ReadSettings

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
