"""Transactions that could not be written to a ledger, kept beside it for the next run.

A full disk has no room for them, so each run reserves some when it opens the ledger, and does not
start without:

    LEDGER.reserve-RUN      space, which is given back when the run ends
    LEDGER.unwritten-RUN    the same file, once it has transactions

The end of the space tells what the run has written to the ledger. After a kill, it shows a ledger
that lacks this: its log was lost, or it is an earlier copy, or another ledger.
"""

import contextlib
import errno
import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from glob import escape
from pathlib import Path
from typing import Any, final

import attrs

from ..storage import DiskError, StorageFull, write_remedy
from .amount_columns import amount_of, columns_of
from .entries import CostLabel, LedgerEntry, Transaction

_RESERVED_BYTES = 512 * 1024  # for some 15,000 calls
_MAGIC = b"Callsheet: costs that are not in the ledger yet\n"
_HEAD = struct.Struct(">II")  # the length of the content, and its checksum
_MARK = struct.Struct(">4sQdI")  # which ends the space: magic, last entry, beginning, checksum
_CRC_BYTES = 4
_MARK_MAGIC = b"\nLed"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MOST_BYTES = 64 * 1024**2  # of a content when it is unpacked


@attrs.frozen
class UnwrittenCosts:
    """Entries that a run could not write to its ledger.

    Args:
        ledger: the file of the ledger.
        transactions: how many there are.
        reason: why they could not be written.
        content: the transactions, encoded; see `take_unwritten`.
        kept_in: the file in which they wait for the next run; None if there was no room for it.
    """

    ledger: Path
    transactions: int
    reason: str
    content: bytes = attrs.field(repr=False)
    kept_in: Path | None = None


@attrs.frozen
class UnwrittenRun:
    """The transactions of one run, in the order in which they happened.

    Args:
        run: the id of the run in the ledger.
        began_at: when it began, in Unix seconds, so that another ledger is told from this one.
        transactions: what is not in the ledger.
    """

    run: int
    began_at: float
    transactions: tuple[Transaction, ...]


def encode(found: UnwrittenRun) -> bytes:
    """Return the transactions of a run as bytes with a checksum."""
    content = [
        found.run,
        found.began_at,
        [
            (
                one.kind,
                one.reservation,
                one.at,
                [_fields(entry) for entry in one.entries],
                one.formerly,
            )
            for one in found.transactions
        ],
    ]
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 6)
    return _MAGIC + _HEAD.pack(len(packed), zlib.crc32(packed)) + packed


def decode(text: bytes) -> UnwrittenRun:
    """Return what `encode` has encoded. Bytes may follow it.

    Raises:
        ValueError: it is something else, or it is damaged.
    """
    start = len(_MAGIC) + _HEAD.size
    if not text.startswith(_MAGIC) or len(text) < start:
        raise ValueError("it is no file of unwritten costs")
    length, crc = _HEAD.unpack_from(text, len(_MAGIC))
    packed = text[start : start + length]
    if len(packed) != length or zlib.crc32(packed) != crc:
        raise ValueError("it does not have its checksum")
    try:
        content = zlib.decompressobj().decompress(packed, _MOST_BYTES)
        run, began_at, transactions = json.loads(content)
        return UnwrittenRun(
            int(run), float(began_at), tuple(_transaction(*one) for one in transactions)
        )
    except (zlib.error, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"it has no valid contents: {type(error).__name__}") from None


def _fields(entry: LedgerEntry) -> tuple[object, ...]:
    return (entry.account, attrs.astuple(entry.label), columns_of(entry.amount))


def _transaction(
    kind: Any,  # noqa: ANN401  # JSON
    reservation: str,
    at: float,
    entries: Sequence[Any],
    formerly: str,
) -> Transaction:
    return Transaction(kind, reservation, at, tuple(_entry(*one) for one in entries), formerly)


def _entry(account: Any, label: Sequence[str], amount: Sequence[Any]) -> LedgerEntry:  # noqa: ANN401  # JSON
    return LedgerEntry(account, CostLabel(*label), amount_of(amount))


@final
class SpaceBeside:
    """Space beside a ledger that one run has reserved.

    Args:
        ledger: the file of the ledger.
        run: the id of the run.
        began_at: when it began, in Unix seconds.
    """

    def __init__(self, ledger: Path, run: int, began_at: float) -> None:
        self._ledger = ledger
        self._reserve = ledger.with_name(f"{ledger.name}.reserve-{run}")
        self._kept = ledger.with_name(f"{ledger.name}.unwritten-{run}")
        self._began_at = began_at

    def reserve(self) -> None:
        """Reserve the space.

        Raises:
            StorageFull: there is too little room, or the file may not grow so far.
            DiskError: the folder cannot be written.
        """
        remove((self._reserve,))
        try:
            handle = os.open(self._reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                # Written, and not of zeros: neither a sparse nor a compressed file reserves space.
                file.write(os.urandom(1024) * (_RESERVED_BYTES // 1024))
        except OSError as error:
            self.give_back()
            name, why = f"the ledger {self._ledger}", error.strerror or type(error).__name__
            if error.errno not in _FULL:
                reason = f"{self._reserve.name} cannot be written: {why}"
                raise DiskError(name, reason, write_remedy(error)) from None
            size = f"{_RESERVED_BYTES // 1024} KiB"
            raise StorageFull(
                name,
                f"no {size} can be reserved beside it for costs that it may lack: {why}",
                f"make room for {size}, or give a path on another disk"
                if error.errno == errno.ENOSPC
                else write_remedy(error),
            ) from None
        self.mark(0)

    def mark(self, last_entry: int) -> None:
        """Note in the space what the ledger has.

        It need not be on disk: after a power cut, an earlier mark is true as well.

        Args:
            last_entry: the id of the last entry that the run has written to the ledger.
        """
        mark = _MARK.pack(_MARK_MAGIC, last_entry, self._began_at, 0)[:-_CRC_BYTES]
        with contextlib.suppress(OSError):  # without `open`, which takes longer than all of this
            handle = os.open(self._reserve, os.O_WRONLY)
            try:
                os.lseek(handle, _RESERVED_BYTES - _MARK.size, os.SEEK_SET)
                os.write(handle, mark + zlib.crc32(mark).to_bytes(_CRC_BYTES))
            finally:
                os.close(handle)

    def keep(self, content: bytes) -> Path | None:
        """Write a content into the space, and return its file; None if there is no room.

        Args:
            content: the encoded transactions; it replaces an earlier one.
        """
        place = self._kept if self._kept.exists() else self._reserve
        try:
            if len(content) <= _RESERVED_BYTES - _MARK.size:
                with place.open("r+b") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                return place.replace(self._kept)
        except OSError:
            pass
        self.give_back()
        return None

    def give_back(self) -> None:
        """Give the space back, and drop what was kept in it."""
        remove((self._reserve, self._kept))


@attrs.frozen
class RunMark:
    """What a run has written to a ledger, by the space that it has reserved.

    Args:
        began_at: when the run began, in Unix seconds.
        last_entry: the id of the last entry.
    """

    began_at: float
    last_entry: int

    @classmethod
    def read(cls, space: Path) -> "RunMark | None":
        """Read the mark at the end of a space; None if there is none, as after a power cut."""
        with contextlib.suppress(OSError, struct.error):
            with space.open("rb") as file:
                file.seek(_RESERVED_BYTES - _MARK.size)
                mark = file.read(_MARK.size)
            magic, last_entry, began_at, crc = _MARK.unpack(mark)
            if magic == _MARK_MAGIC and crc == zlib.crc32(mark[:-_CRC_BYTES]):
                return cls(began_at, last_entry)
        return None


def kept_beside(ledger: Path) -> Iterator[tuple[int, Path]]:
    """Yield the id of each run whose transactions wait beside a ledger, and their file."""
    return _beside(ledger, "unwritten")


def reserved_beside(ledger: Path) -> Iterator[tuple[int, Path]]:
    """Yield the id of each run that has reserved space beside a ledger, and its file."""
    return _beside(ledger, "reserve")


def _beside(ledger: Path, kind: str) -> Iterator[tuple[int, Path]]:
    for file in sorted(ledger.parent.glob(f"{escape(ledger.name)}.{kind}-*")):
        if found := re.fullmatch(rf".*\.{kind}-(\d{{1,18}})", file.name):
            yield int(found[1]), file


def remove(files: Iterable[Path]) -> None:
    """Remove files whose transactions are in the ledger."""
    for file in files:
        with contextlib.suppress(OSError):  # the next run finds that they are in the ledger
            file.unlink(missing_ok=True)
