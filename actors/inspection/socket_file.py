"""A listening socket in the file system, to which only its user can connect.

The socket listens before it gets its name, so that one that does not listen was left by a process
that has ended. Such a file is replaced; any other file is left alone (L14).
"""

import errno
import os
import secrets
import socket
import stat
import struct
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, final
from weakref import WeakSet

from ..storage import write_remedy

_MODE = 0o600
_MAX_BYTES = 107 if sys.platform == "linux" else 103  # of a path; the system's limit less a zero
_MAX_TRIES, _TRY_S = 200, 0.001  # to get a lock that is held for a moment
_BACKLOG = 128  # readers that connect in one instant, most of which are then told that they may not


class _Detachable(Protocol):
    def detach(self) -> int:
        """Give up the descriptor of the socket, and return it."""
        ...


_own: "WeakSet[_Detachable]" = WeakSet()  # sockets that a fork must not keep


def close_in_forks(one: _Detachable) -> None:
    """Close a socket in each process that is forked from this one.

    A child that kept it would hold it open after the end of this process, and serve nothing there.

    Args:
        one: a socket of the standard library or of Trio.
    """
    _own.add(one)


def _close_all() -> None:
    for one in list(_own):
        if (descriptor := one.detach()) >= 0:
            os.close(descriptor)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_all)


class InspectionUnavailable(Exception):
    """The inspection socket cannot be opened; the message says why, and what to do."""


@final
class SocketFile:
    """A listening Unix socket with mode 0600. To open it may block the thread for 0.2 s.

    Args:
        path: the path of the socket.

    Attributes:
        socket: the socket, which listens.

    Raises:
        InspectionUnavailable: the path is too long, in use, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise InspectionUnavailable("inspect: this system has no Unix sockets")
        self._path = path.absolute()
        temporary = self._path.with_name(f".{secrets.token_hex(4)}")
        _check_length(self._path, temporary)
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            _bind_privately(self.socket, temporary)
            try:
                self.socket.listen(_BACKLOG)
                _take_name(temporary, self._path)
            finally:
                temporary.unlink()
            self._identity, self._pid = _identity(self._path), os.getpid()
            close_in_forks(self.socket)
        except OSError as error:
            self.socket.close()
            raise InspectionUnavailable(_why_not_opened(self._path, error)) from error
        except InspectionUnavailable:
            self.socket.close()
            raise

    def __repr__(self) -> str:
        return f"<SocketFile {self._path}>"

    def close(self) -> None:
        """Remove the file, if it still is this socket, and close the socket."""
        with suppress(OSError):
            if os.getpid() == self._pid and _identity(self._path) == self._identity:
                self._path.unlink()
        self.socket.close()


def check_inspection(path: Path) -> None:
    """Check that an inspection socket can be opened, by opening it for a moment.

    Args:
        path: the path of the socket.

    Raises:
        InspectionUnavailable: it cannot; the message says why.
    """
    SocketFile(path).close()


def _check_length(path: Path, temporary: Path) -> None:
    longest = max(len(os.fsencode(path)), len(os.fsencode(temporary)))
    if longest > _MAX_BYTES:
        raise InspectionUnavailable(
            f"inspect: the path of a socket may have {_MAX_BYTES} bytes, and this one needs "
            f"{longest}: {path}; give a path in a folder with a shorter name"
        )


def _bind_privately(listener: socket.socket, path: Path) -> None:
    """Give a socket a name with mode 0600 from its first moment.

    Linux gives the file the mode of the unbound socket. Other systems refuse to set that, and there
    the mask of the process is changed for one system call.
    """
    try:
        os.fchmod(listener.fileno(), _MODE)
    except OSError:
        before = os.umask(0o777 & ~_MODE)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    else:
        listener.bind(str(path))


def _take_name(temporary: Path, path: Path) -> None:
    """Give a listening socket its final name, which replaces that of a socket nothing listens at.

    Raises:
        InspectionUnavailable: another process listens there, or the file is no socket.
        OSError: the folder cannot be written.
    """
    with _locked(path.parent):
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            _check_stale(path)
            path.unlink()
            path.hardlink_to(temporary)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Keep other processes from replacing a socket in a folder at the same time.

    The lock is held for a moment. If a program of another kind holds it, this goes on without it.
    """
    import fcntl  # noqa: PLC0415  # Windows has none

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(_MAX_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_TRY_S)
        yield
    finally:
        os.close(descriptor)


def _check_stale(path: Path) -> None:
    """Check that a file is a socket at which nothing listens.

    Raises:
        InspectionUnavailable: it is another file, or a process listens there.
    """
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise InspectionUnavailable(
            f"inspect: {path} is no socket, and it is left as it is; give another path"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except BlockingIOError:  # its backlog is full
            raise InspectionUnavailable(_in_use(path, None)) from None
        raise InspectionUnavailable(_in_use(path, _listening_pid(probe)))


def _in_use(path: Path, pid: int | None) -> str:
    if pid == os.getpid():
        return (
            f"inspect: this process listens at {path} already; give each troupe a path of its own"
        )
    who = "another process" if pid is None else f"process {pid}"
    return f"inspect: {who} listens at {path}; give each process a path of its own"


def _listening_pid(connected: socket.socket) -> int | None:
    """Return the id of the process that listens at the other end; None if the system hides it."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, _, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, option, 12))
    return int(pid)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _why_not_opened(path: Path, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = write_remedy(error) if error.errno != errno.EINVAL else None
    return f"inspect: cannot open {path}: {reason}{'; ' if remedy else ''}{remedy or ''}"
