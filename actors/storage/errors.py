"""The errors of storage: each names the file, the reason and the remedy, on one line."""

from typing import ClassVar

_ANOTHER = "give another path"


class StorageError(Exception):
    """A file, or another store, cannot be used. Callsheet has not changed it.

    Args:
        name: what the store is and where it is, such as "the ledger /var/ledger.sqlite3".
        reason: what is wrong.
        remedy: what the user can do; by default what helps for this kind of error.
    """

    default_remedy: ClassVar[str] = "give another path"

    def __init__(self, name: str, reason: str, remedy: str | None = None) -> None:
        self.name = name
        self.reason = reason
        self.remedy = remedy or self.default_remedy
        super().__init__(f"{name} cannot be used: {reason}; {self.remedy}")

    def remedy_by(self, another: str) -> str:
        """Return the remedy in the words of a program that names the file in its own way.

        Args:
            another: how another path is given, such as "give another OUTPUT".
        """
        return self.remedy.replace(_ANOTHER, another)


class DamagedFile(StorageError):
    """The file is empty or damaged, or it is not a database.

    What is detected is the damage of the file's header, size, schema and structure, of its log, and
    of rows that have a checksum.
    """

    default_remedy = "move the file away, or give another path"


class ForeignFile(StorageError):
    """The file is a database of another program, or another kind of Callsheet file."""

    default_remedy = "give another path"


class OtherVersion(StorageError):
    """The file has the format of another version of Callsheet."""

    default_remedy = (
        "use the release of Callsheet that wrote it, or move the file away, or give another path"
    )


class FileInUse(StorageError):
    """Another process holds the file."""

    default_remedy = "wait until the other process ends, or give another path"


class StorageFull(StorageError):
    """The disk or a quota is full, or the file may not grow."""

    default_remedy = "make room on the disk"


class DiskError(StorageError):
    """The operating system reports an error of the disk, or refuses an operation on the file."""

    default_remedy = "check the disk and the permissions of the file, or give another path"


class StorageUnavailable(StorageError):
    """The file cannot be opened, read or written, for a reason that the message gives."""

    default_remedy = "make the file and its folder writable, or give another path"
