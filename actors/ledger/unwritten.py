"""Transactions that could not be written to a ledger, kept beside it for the next run.

A full disk has no room for them, so each run reserves some when it opens the ledger:

    LEDGER.reserve-RUN      space, which is given back when the run ends
    LEDGER.unwritten-RUN    the same file, once it has transactions
"""

import contextlib
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

from .amount_columns import amount_of, columns_of
from .entries import CostLabel, LedgerEntry, Transaction

_RESERVED_BYTES = 512 * 1024  # for some 15,000 calls
_MAGIC = b"Callsheet: costs that are not in the ledger yet\n"
_HEAD = struct.Struct(">II")  # the length of the content, and its checksum
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
    """

    def __init__(self, ledger: Path, run: int) -> None:
        self._reserve = ledger.with_name(f"{ledger.name}.reserve-{run}")
        self._kept = ledger.with_name(f"{ledger.name}.unwritten-{run}")

    def reserve(self) -> None:
        """Reserve the space if there is enough; otherwise reserve nothing."""
        try:
            handle = os.open(self._reserve, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                # Written, and not of zeros: neither a sparse nor a compressed file reserves space.
                file.write(os.urandom(1024) * (_RESERVED_BYTES // 1024))
        except OSError:
            self.give_back()

    def keep(self, content: bytes) -> Path | None:
        """Write a content into the space, and return its file; None if there is no room.

        Args:
            content: the encoded transactions; it replaces an earlier one.
        """
        place = self._kept if self._kept.exists() else self._reserve
        try:
            if len(content) <= _RESERVED_BYTES:
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

    def give_back_reserve(self) -> None:
        """Give the space back unless something is kept in it."""
        remove((self._reserve,))


def kept_beside(ledger: Path) -> Iterator[tuple[int, Path]]:
    """Yield the id of each run whose transactions wait beside a ledger, and their file."""
    for file in sorted(ledger.parent.glob(f"{escape(ledger.name)}.unwritten-*")):
        if found := re.fullmatch(r".*\.unwritten-(\d{1,18})", file.name):
            yield int(found[1]), file


def remove(files: Iterable[Path]) -> None:
    """Remove files whose transactions are in the ledger."""
    for file in files:
        with contextlib.suppress(OSError):  # the next run finds that they are in the ledger
            file.unlink(missing_ok=True)
