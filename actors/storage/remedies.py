"""What a user can do about an error of the operating system, by its number."""

import errno
import os
from collections.abc import Iterator

_EITHER = {
    "ENAMETOOLONG": "give a shorter name",
    "EILSEQ": "give a name that the file system of that disk takes",
    "ENOTDIR": "check the path: a part of it is a file and not a folder",
    "EISDIR": "give the path of a file",
    "ELOOP": "its links lead in a circle; give the path of the file itself",
    "EMFILE": "raise the limit of open files, for example with ulimit -n 1024",
    "ENFILE": "close other programs: the system has too many open files",
    "ENOMEM": "close other programs: the system has too little memory",
    "EIO": "the disk or the connection to it failed; check it, or use another disk",
    "ESTALE": "the server of the file lost it; mount it again, or use another disk",
    "ETIMEDOUT": "the server of the file does not respond; use a disk of this machine",
    "ENOTCONN": "the server of the file is not connected; mount it again",
    "EHOSTDOWN": "the server of the file does not respond; use a disk of this machine",
}
_READ = {
    "ENOENT": "check the path",
    "EACCES": "give yourself the permission to read it, for example with chmod u+r",
    "EPERM": "give yourself the permission to read it, for example with chmod u+r",
    "ENXIO": "it is a socket or a device without a writer; give a file or a pipe",
}
_WRITE = {
    "ENOENT": "create its folder, or check the path",
    "EACCES": "give yourself the permission to write there, or give a path in another folder",
    "EPERM": "the system forbids to change it; give a path in another folder",
    "EROFS": "the disk is read-only; give a path on another one, or mount it for writing",
    "ENOSPC": "free space on the disk",
    "EDQUOT": "free space in your quota on the disk, or have it raised",
    "EFBIG": "raise the limit on the size of files, for example with ulimit -f unlimited, or use "
    "another disk",
    "EBUSY": "end the program that uses it, or give another path",
    "ETXTBSY": "end the program that uses it, or give another path",
    "ENXIO": "it is a socket, or a pipe without a reader; give the path of a file",
}


def _numbered(table: dict[str, str]) -> Iterator[tuple[int, str]]:
    for name, remedy in table.items():
        if hasattr(errno, name):  # Windows lacks some
            yield getattr(errno, name), remedy


_READ_REMEDIES = dict(_numbered(_EITHER | _READ))
_WRITE_REMEDIES = dict(_numbered(_EITHER | _WRITE))


def read_remedy(error: BaseException) -> str | None:
    """Return what a user can do about an error of reading a file; None if that is not known.

    Args:
        error: what opening or reading the file raised.
    """
    return _READ_REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None


def write_remedy(error: BaseException) -> str | None:
    """Return what a user can do about an error of writing a file; None if that is not known.

    Args:
        error: what opening, writing, or flushing the file raised.
    """
    return _WRITE_REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None


def why_not_read(error: OSError) -> str:
    """Return the reason of an error of reading a file, with the remedy if it is known.

    Args:
        error: what opening or reading the file raised.
    """
    return _with(error, read_remedy(error))


def why_not_written(error: OSError) -> str:
    """Return the reason of an error of writing a file, with the remedy if it is known.

    Args:
        error: what opening, writing, or flushing the file raised.
    """
    return _with(error, write_remedy(error))


def _with(error: OSError, remedy: str | None) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return reason if remedy is None else f"{reason}; {remedy}"


def open_files_error() -> OSError | None:
    """Return the error of opening any file, if no more can be opened; SQLite does not tell it."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error
    return None
