"""The part of one process in shared budgets: what it asks next, and what it knows. Pure (R14).

The journal is in front: a reservation is in the ledger of the process first, and part of its
numbers. Until the store has decided, it is left out of what is reported, and so is one that was
refused and that the ledger still has.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import final

import attrs

from .exchange import GRANTED, CellNeed, CellTotal, CellUse, LedgerAnswer, LedgerAsk

_MOST_USES = 200  # of a question, beside those that calls need: some milliseconds of the server
_MOST_TOTALS = 20_000  # that are remembered

Attempt = tuple[str, int]
"""The key of a reservation, and which attempt of the call it is."""


@attrs.frozen
class LedgerReport:
    """What one commit has changed in a ledger.

    Args:
        version: of the ledger after the commit; None if it is not on disk, so that `uses` is empty.
        stamp: when the version was written.
        uses: the cells that have changed, with everything that is reserved in the ledger.
        wants: the attempts that were reserved, with what they need.
        ended: the attempts that ended: all of a key for the attempt 0.
        has_all: whether `uses` has all cells.
        verified: a version that the ledger has with the same stamp; None if none was looked for.
        is_copy: whether the ledger lacks a version that the store knows.
    """

    version: int | None
    stamp: float
    uses: Sequence[CellUse] = ()
    wants: Sequence[tuple[Attempt, tuple[CellNeed, ...]]] = ()
    ended: Sequence[Attempt] = ()
    has_all: bool = False
    verified: tuple[int, float] | None = None
    is_copy: bool = False


@final
class BudgetShare:
    """What a process has to say to the store of shared budgets, and what it has heard.

    Args:
        process: the name of the process, which no other one has.

    Attributes:
        contributor: the ledger of the process; "" until it is known.
        totals: the latest totals, {cell: total}.
        processes: how many processes share the budgets, by the last answer.
        must_report_all: whether the next question needs all cells: at first, and after a loss.
        unverified: a version of the ledger that the store knows and this process did not report,
            and its stamp; None if there is none.
        is_copy: whether the ledger lacks a version that the store knows.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.contributor = ""
        self.totals: dict[str, CellTotal] = {}
        self.processes = 0
        self.must_report_all = True
        self.unverified: tuple[int, float] | None = None
        self.is_copy = False
        self._verified = (0, 0.0)
        self._version, self._stamp = 0, 0.0
        self._number = 0
        self._epoch = ""
        self._changed: dict[str, CellUse] = {}
        self._others: dict[str, int] = {}  # {cell: what others had used before a loss}
        # {key: {attempt: needs}}, of attempts without a verdict, and of those that were refused
        self._wants: dict[str, dict[int, tuple[CellNeed, ...]]] = {}
        self._refused: dict[str, dict[int, tuple[CellNeed, ...]]] = {}
        self._verdicts: dict[Attempt, CellNeed] = {}

    def __repr__(self) -> str:
        return f"<BudgetShare {self.process}: {len(self._wants)} calls wait>"

    @property
    def has_changes(self) -> bool:
        """Whether the ledger has used something that the store does not know."""
        return bool(self._changed)

    def take(self, report: LedgerReport) -> None:
        """Take in what a commit has changed, in the order of the commits."""
        if report.version is not None:
            self._version, self._stamp = report.version, report.stamp
            self._changed.update((use.cell, use) for use in report.uses)
            self.must_report_all = self.must_report_all and not report.has_all
            self.is_copy = self.is_copy or report.is_copy
            if report.verified is not None:
                self._verified = report.verified
                if self.unverified == report.verified:
                    self.unverified = None
        for (key, attempt), needs in report.wants:
            if needs:
                self._wants.setdefault(key, {})[attempt] = needs
        for key, attempt in report.ended:
            for found in (self._wants, self._refused):
                if attempt:
                    found.get(key, {}).pop(attempt, None)
                if not attempt or not found.get(key, True):
                    found.pop(key, None)

    def is_undecided(self, attempt: Attempt) -> bool:
        """Whether an attempt waits for its verdict."""
        key, number = attempt
        return number in self._wants.get(key, ())

    def refusal(self, attempt: Attempt) -> CellNeed | None:
        """Return, once, which need of an attempt its cell has no room for."""
        return self._verdicts.pop(attempt, None)

    def question(
        self, watched: Iterable[str] = (), *, leaves: bool = False, is_last: bool = False
    ) -> LedgerAsk:
        """Return the next question.

        Args:
            watched: further cells whose totals are needed.
            leaves: whether the process ends.
            is_last: whether no process uses the ledger after it.
        """
        self._number += 1
        wants = [needs for found in self._wants.values() for needs in found.values()]
        needed = {need.cell for needs in wants for need in needs}
        cells = [cell for cell in needed if cell in self._changed]
        cells += islice((cell for cell in self._changed if cell not in needed), _MOST_USES)
        open_needs = self._open_needs()
        return LedgerAsk(
            process=self.process,
            number=self._number,
            contributor=self.contributor,
            version=self._version,
            stamp=self._stamp,
            epoch=self._epoch,
            uses=tuple(self._use(cell, open_needs) for cell in cells),
            wants=tuple(wants),
            watched=tuple(watched),
            leaves=leaves,
            is_last=is_last,
        )

    def answered(self, ask: LedgerAsk, answer: LedgerAnswer) -> None:
        """Take in the answer to the latest question; no report was taken in since.

        Args:
            ask: what the process asks.
            answer: the answer to it.
        """
        for use in ask.uses:
            self._changed.pop(use.cell, None)
            self._others.pop(use.cell, None)
        self._check_version(ask, answer)
        self.processes = answer.processes
        if self._epoch and answer.epoch != self._epoch:
            self._others = {
                cell: total.used - total.own
                for cell, total in self.totals.items()
                if total.used > total.own
            }
            self.must_report_all = True
        self._epoch = answer.epoch
        if answer.verdicts:
            self._decide(answer.verdicts)
        # What a new state has is not all until it decides; it may be lost before that, too.
        if not self.must_report_all and not answer.opens_in_s:
            for cell, total in answer.totals.items():
                self.totals.pop(cell, None)
                self.totals[cell] = total
            while len(self.totals) > _MOST_TOTALS:
                del self.totals[next(iter(self.totals))]

    def _decide(self, verdicts: Sequence[int]) -> None:
        """Note the verdicts on all attempts that wait, in their order."""
        asked = [
            (key, attempt, needs)
            for key, found in self._wants.items()
            for attempt, needs in found.items()
        ]
        for (key, attempt, needs), verdict in zip(asked, verdicts, strict=True):
            if verdict != GRANTED:
                self._refused.setdefault(key, {})[attempt] = needs
                self._verdicts[key, attempt] = needs[verdict]
        self._wants.clear()

    def _check_version(self, ask: LedgerAsk, answer: LedgerAnswer) -> None:
        known = answer.version, answer.stamp
        if answer.version and known not in {self._verified, (ask.version, ask.stamp)}:
            self.unverified = known
        self._verified = (ask.version, ask.stamp)

    def _open_needs(self) -> dict[str, int]:
        """Return what the ledger has reserved of each cell for attempts that may not be sent."""
        found: dict[str, int] = {}
        for attempts in chain(self._wants.values(), self._refused.values()):
            for need in chain.from_iterable(attempts.values()):
                found[need.cell] = found.get(need.cell, 0) + need.amount
        return found

    def _use(self, cell: str, open_needs: dict[str, int]) -> CellUse:
        use, less = self._changed[cell], open_needs.get(cell, 0)
        return attrs.evolve(
            use,
            used=use.used - less,
            reserved=use.reserved - less,
            others=self._others.get(cell, 0),
        )
