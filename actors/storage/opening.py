"""Open a database file: creation in one step, and checks before SQLite changes anything."""

import contextlib
import errno
import os
import secrets
import time
from glob import escape
from pathlib import Path

from .database import Database, Owner, Synchronous
from .errors import DamagedFile, StorageFull, StorageUnavailable
from .format import DatabaseFormat
from .remedies import write_remedy
from .write_ahead_log import beside, is_damaged, log_of, shared_index_of

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OTHERS = 0o077  # rights of the group and of others
_MAX_LOG_BYTES = 64 * 1024**2  # of a log that is checked, in some 0.9 s; it has 4 MiB as a rule
_READINGS = 3
_BETWEEN_READINGS_S = 0.05
_LEFT_S = 3600.0


def open_database(
    path: Path | None,
    form: DatabaseFormat,
    *,
    owner: Owner,
    synchronous: Synchronous = "full",
    wait_s: float = 1.0,
    create: bool = True,
    read_only: bool = False,
    check_bytes: int = 1024**3,
) -> "Database":
    """Open a database file, and create it if it does not exist.

    A new file is complete before it has its name, and only its owner may read it (mode 0600); other
    rights of an existing file are taken away. An existing file that is damaged, foreign or of
    another version is refused and is not changed.

    The checks are: the header, the size that it states, and the tables; and up to `check_bytes` the
    structure of all pages, the indexes, and the checksums of rows.

    Args:
        path: the file; None for a database in memory.
        form: the format that the file must have.
        owner: "one process" keeps every other process out until the database is closed; "shared"
            lets several processes read and write.
        synchronous: "full": a commit is on disk when it returns; "normal": a power cut may lose the
            last commits; "off": it may also damage the file.
        wait_s: seconds to wait for another process that holds a lock on the file.
        create: whether to create a missing file, and its folder.
        read_only: whether to open an existing file for reading alone, such as a file in a folder
            that is not writable.
        check_bytes: the size in bytes up to which the whole file is checked for damage, which takes
            some 2 seconds for 1 GB.

    Raises:
        StorageError: the file cannot be used; the subclass and the message give the reason.
    """
    if path is not None:
        try:
            if not exists(path):
                _check_log(path, form)
                if not create or read_only:
                    raise StorageUnavailable(form.name(path), "the file does not exist")
                path.parent.mkdir(parents=True, exist_ok=True)
                _create(path, form, owner)
            form.check_header(path)
        except OSError as error:
            kind = StorageFull if error.errno in _FULL else StorageUnavailable
            raise kind(form.name(path), error.strerror or str(error), write_remedy(error)) from None
        if not read_only:
            check_writable(path, form)
            _keep_private(path)
            if _has_log(path):
                try:
                    _check_with_log(path, form, wait_s, check_bytes)
                finally:
                    if owner == "one process":  # it has no index that it shares
                        shared_index_of(path).unlink(missing_ok=True)
                if synchronous == "full":
                    _check_whole_log(path, form)
                check_bytes = 0
    return Database(
        path,
        form,
        owner=owner,
        synchronous=synchronous,
        wait_s=wait_s,
        read_only=read_only,
        check_bytes=check_bytes,
    )


def exists(path: Path) -> bool:
    """Return whether there is a file, or something else, at a path.

    Args:
        path: the path, which may lead through links.

    Raises:
        OSError: the path cannot be followed, for which `Path.exists` returns False.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def check_writable(path: Path, form: DatabaseFormat) -> None:
    """Check that a file and its folder may be written, or that the file can be created.

    Args:
        path: the path of the file.
        form: the format of the file, whose name the error has.

    Raises:
        StorageUnavailable: it may not.
    """
    places: tuple[tuple[Path, str], ...] = ((path, "the file"), (path.parent, "its folder"))
    if not path.exists():
        folder = next((one for one in path.absolute().parents if one.exists()), path)
        if not folder.is_dir():
            raise StorageUnavailable(form.name(path), f"{folder} is not a folder")
        places = ((folder, f"the folder {folder}"),)
    for place, noun in places:
        if not os.access(place, os.W_OK):
            remedy = write_remedy(OSError(errno.EROFS, "")) if _is_read_only(place) else None
            raise StorageUnavailable(form.name(path), f"{noun} is not writable", remedy)


def _is_read_only(place: Path) -> bool:
    """Return whether a place is on a disk that is mounted for reading alone."""
    if not hasattr(os, "statvfs"):  # on Windows
        return False
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def _keep_private(path: Path) -> None:
    """Take away the rights of other users to a file, and to the files of SQLite beside it."""
    for file in beside(path):
        with contextlib.suppress(OSError):  # it does not exist, or belongs to another user
            mode = file.stat().st_mode
            if mode & _OTHERS:
                file.chmod(mode & ~_OTHERS & 0o777)


def _has_log(path: Path) -> bool:
    try:
        return log_of(path).stat().st_size > 0
    except FileNotFoundError:
        return False


def _check_with_log(path: Path, form: DatabaseFormat, wait_s: float, check_bytes: int) -> None:
    """Check what a file and its log make together, before SQLite may copy the log into the file.

    A connection that may write copies the log when it is closed, also after a check that failed.

    Raises:
        StorageError: the file cannot be used.
    """
    Database(
        path, form, owner="shared", wait_s=wait_s, read_only=True, check_bytes=check_bytes
    ).close()


def _check_whole_log(path: Path, form: DatabaseFormat) -> None:
    """Check that the log has all transactions that were on disk.

    Raises:
        DamagedFile: some of them are lost.
    """
    log = log_of(path)
    for _ in range(_READINGS):
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > _MAX_LOG_BYTES or not is_damaged(read := log.read_bytes()):
                return
            time.sleep(_BETWEEN_READINGS_S)
            if log.read_bytes() == read:  # no other process is writing it
                reason = f"the file is damaged (its log {log.name} has lost transactions)"
                raise DamagedFile(form.name(path), reason)


def _check_log(path: Path, form: DatabaseFormat) -> None:
    """Refuse to create a file whose log exists: SQLite would replay it into the new file."""
    log = log_of(path)
    # In this order: another process that creates the file gives it its name before its log.
    if log.exists() and not path.exists():
        raise DamagedFile(
            form.name(path),
            f"the file does not exist, but its log {log.name} does",
            f"restore the file, or move {log.name} away",
        )


def _create(path: Path, form: DatabaseFormat, owner: Owner) -> None:
    """Create the file under a temporary name, complete, then give it its name."""
    unfinished = path.with_name(f"{path.name}.new-{secrets.token_hex(4)}")
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    _remove_left(path, unfinished)
    try:
        new = Database(unfinished, form, owner=owner, name=form.name(path), is_new=True)
        try:
            new.create_tables()
        finally:
            new.close()
        try:
            os.link(unfinished, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # the file system has no hard links
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_left(path: Path, unfinished: Path) -> None:
    """Remove what processes left that died while they created the file, an hour ago or longer."""
    made_at = unfinished.stat().st_mtime
    for left in path.parent.glob(f"{escape(path.name)}.new-*"):
        with contextlib.suppress(OSError):  # another process removes it
            if made_at - left.stat().st_mtime > _LEFT_S:
                left.unlink()
