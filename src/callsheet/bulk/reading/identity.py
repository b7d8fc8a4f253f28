"""Give each row of an input a unique custom id and a unique key."""

import hashlib
import re
from collections.abc import Mapping

from ...actors import Request, kind_of
from ..row import Row
from .errors import BadRecord
from .key import row_key
from .seen import Seen

_MADE = re.compile(r"row-([1-9][0-9]{0,17})", re.ASCII)
USUAL_IDS = ("custom_id", "id")
_LONGEST = 512


def given_id(columns: Mapping[str, object], name: str | None) -> str | None:
    """Return the custom id of a record; None if it has none.

    Args:
        columns: the values of the record by column.
        name: the column of the id; None for the usual names.

    Raises:
        BadRecord: the id is neither text nor an integer, or the record has no such column.
    """
    if name is None:
        for usual in USUAL_IDS:
            if usual in columns:
                name = usual
                break
        else:
            return None
    elif name not in columns:
        raise BadRecord(f'the row has no "{name}", the column of the id')
    value = columns[name]
    if value is None or value == "":
        return None
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise BadRecord(f'"{name}" must be a string or an integer, not {kind_of(value)}')
    if len(value) > _LONGEST:
        raise BadRecord(f'"{name}" has {len(value):,} characters; an id may have {_LONGEST}')
    return value


class Identities:
    """Makes the rows of one input, each with a unique custom id and key.

    A row without an id is named after its number, but its key depends on its content and on the
    number of earlier identical rows. So its response is found again when other rows are inserted or
    removed.
    """

    def __init__(self) -> None:
        self._seen = Seen()
        self._made = bytearray()  # a bit for each row that is named after its number
        self._has_lookalikes = False  # an id in the input has the form of a made one

    def row(self, number: int, custom_id: str | None, url: str, request: Request) -> Row:
        """Make the row of a request.

        Args:
            number: the number of the line or record.
            custom_id: the custom id of the record; None for none.
            url: the path of the request.
            request: the request of the row.

        Raises:
            BadRecord: another row has the same id.
        """
        try:
            if custom_id is None:
                custom_id = self._make_id(number)
                key = self._key_by_content(number, url, request)
            else:
                self._claim(number, custom_id)
                key = row_key(custom_id, url, request)
        except ValueError as error:
            raise BadRecord(str(error)) from None
        return Row(number=number, custom_id=custom_id, request=request, key=key, url=url)

    def close(self) -> None:
        """Release the temporary file."""
        self._seen.close()

    def _claim(self, number: int, custom_id: str) -> None:
        if custom_id.startswith("row-") and (made := _MADE.fullmatch(custom_id)):
            self._has_lookalikes = True
            if self._was_made(int(made[1])):
                raise _taken(custom_id, int(made[1]))
        first = self._seen.first(_digest(custom_id), number)
        if first is not None:
            raise _taken(custom_id, first)

    def _make_id(self, number: int) -> str:
        custom_id = f"row-{number}"
        if self._has_lookalikes:
            first = self._seen.get(_digest(custom_id))
            if first is not None:
                raise _taken(custom_id, first)
        byte, bit = divmod(number, 8)
        if byte >= len(self._made):
            self._made.extend(bytes(byte + 1))
        self._made[byte] |= 1 << bit
        return custom_id

    def _was_made(self, number: int) -> bool:
        byte, bit = divmod(number, 8)
        return byte < len(self._made) and bool(self._made[byte] >> bit & 1)

    def _key_by_content(self, number: int, url: str, request: Request) -> bytes:
        key = row_key(0, url, request)
        digest = key[:8]
        if self._seen.first(digest, number) is None:
            return key
        return row_key(self._seen.again(digest), url, request)


def _digest(custom_id: str) -> bytes:
    return hashlib.blake2b(custom_id.encode(errors="replace"), digest_size=8).digest()


def _taken(custom_id: str, first: int) -> BadRecord:
    return BadRecord(f"row {first} has the id {kind_of(custom_id)} already; ids must be unique")
