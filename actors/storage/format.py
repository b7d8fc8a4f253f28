"""What identifies a kind of database file."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from .errors import DamagedFile, ForeignFile, OtherVersion

__all__ = ["DatabaseFormat"]

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_USER_VERSION_AT = 60  # https://www.sqlite.org/fileformat2.html#the_database_header
_APPLICATION_ID_AT = 68


@attrs.frozen(kw_only=True)
class DatabaseFormat:
    """A kind of database file: what it is called, how it is recognized, which tables it has.

    Args:
        noun: what messages call the file, such as "ledger".
        application_id: a 32-bit number, different for each kind of file (SQLite's application_id).
        version: of the tables (SQLite's user_version); a file with another one is refused.
        schema: the SQL statements that create the tables.
        functions: SQL functions by name: the number of arguments and the function.
        aggregates: SQL aggregates by name: the number of arguments and the class.
    """

    noun: str
    application_id: int
    version: int
    schema: tuple[str, ...]
    functions: Mapping[str, tuple[int, Callable[..., str]]] = attrs.field(factory=dict)
    aggregates: Mapping[str, tuple[int, type]] = attrs.field(factory=dict)

    def name(self, path: Path | None) -> str:
        """What messages call a file of this format, such as "the ledger /var/ledger.sqlite3"."""
        return f"the {self.noun} {'in memory' if path is None else path}"

    def check_header(self, path: Path) -> None:
        """Check that an existing file is of this format. SQLite does not open the file for this.

        Opening is not harmless: SQLite may replay the log of a file that another program left.

        Raises:
            DamagedFile, ForeignFile, OtherVersion: the file is not of this format.
            OSError: the file cannot be read.
        """
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        name = self.name(path)
        if not header:
            raise DamagedFile(name, "the file is empty")
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            raise DamagedFile(
                name, "the file is not a database: it is damaged, or another program wrote it"
            )
        (application_id,) = struct.unpack_from(">I", header, _APPLICATION_ID_AT)
        (version,) = struct.unpack_from(">I", header, _USER_VERSION_AT)
        if application_id != self.application_id:
            raise ForeignFile(name, f"the file is a database, but not a {self.noun} of Callsheet")
        if version != self.version:
            raise OtherVersion(
                name, f"the file has format version {version}, and this release reads version "
                f"{self.version}"
            )  # fmt: skip
