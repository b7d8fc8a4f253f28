"""The lines of batches in the ledger: a call that resumes a line takes its reservation over.

The reservation of a call whose attempt is a line of a batch has the name of the line. If the call
ends without a response, or its process dies, the line counts as possibly billed. The call that gets
its result later pays for it, so that what the first one has left is released: the ledger contains
the line once. Pure (R14).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

from .entries import NOTHING, LedgerEntry, Payer

LINE = "line:"
"""The beginning of the name of a reservation for a line of a batch."""

HELD = "held:"
"""The beginning of the name of a reservation of which nothing was sent yet."""


@final
class LineDebts:
    """What is booked without a known amount for lines whose result may still arrive."""

    def __init__(self) -> None:
        self._left: dict[str, list[LedgerEntry]] = {}  # {name: entries}
        self._unrun: dict[str, list[str]] = {}  # {call: names of lines that cost nothing}

    def __len__(self) -> int:
        return len(self._left)

    def note(self, name: str, entries: Iterable[LedgerEntry]) -> None:
        """Note what a reservation has left, if it is for a line.

        Args:
            name: of the reservation.
            entries: those with which it has ended.
        """
        if name.startswith(LINE):
            found = [one for one in entries if one.account in ("maybe_billed", "unknown")]
            if found:
                self._left.setdefault(name, []).extend(found)

    def add(self, left: Mapping[str, Sequence[LedgerEntry]]) -> None:
        """Take in what earlier runs have left, by the name of the reservation."""
        for name, entries in left.items():
            self.note(name, entries)

    def forgive(self, lines: Iterable[str]) -> None:
        """Note which lines have certainly cost nothing.

        What is left for them is released with the next line of the same call, whose bound tells
        how many attempts it is for.

        Args:
            lines: the custom ids of the lines.
        """
        for line in lines:
            for entry in self._left.get(f"{LINE}{line}", ()):
                self._unrun.setdefault(entry.label.call, []).append(f"{LINE}{line}")

    def unrun(self, payers: Iterable[Payer]) -> list[str]:
        """Return, once, the names of the lines of these calls that have cost nothing."""
        return [name for one in payers for name in self._unrun.pop(one.label.call, ())]

    def release(self, name: str, payers: Iterable[Payer]) -> list[LedgerEntry]:
        """Return the entries that release one attempt of what is left for a line.

        An earlier call may also have sent attempts live; these are not released.

        Args:
            name: of the reservation that takes the line over.
            payers: its payers, whose bounds are those of one attempt.
        """
        entries: list[LedgerEntry] = []
        left = self._left.pop(name, [])
        attempts = _attempts(left, payers)
        for entry in left:
            share = entry.amount.split(attempts)[0]
            entries.append(LedgerEntry(entry.account, entry.label, share.times(-1)))
            entries.append(LedgerEntry("available", entry.label, share))
        return entries


def _attempts(left: Iterable[LedgerEntry], payers: Iterable[Payer]) -> int:
    """Return how many attempts an amount is for; each has the tokens of the same prompt."""
    whole = sum((entry.amount for entry in left), NOTHING).input_tokens
    each = sum((payer.bound for payer in payers), NOTHING).input_tokens
    return max(1, whole // each) if each else 1
