"""The store of shared budgets as a protocol, and what a process and it say to each other.

Money is a whole number of picodollars (1e-12 USD), so that sums are exact. A *cell* is what a
budget limits: a tenant, a model, a day or everything, in one period. A *contributor* is one ledger:
a file, which several processes may share, or the memory of one process. It reports the whole of
what it has used of a cell, never a difference, so that no repetition counts twice, and a store that
was lost is filled again.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

PICO = 10**12
"""Picodollars of a US dollar."""


@attrs.frozen
class CellUse:
    """What one contributor has used of a cell, without the calls that wait for their verdict.

    Args:
        cell: the name of the cell.
        used: picodollars that are spent, reserved or possibly billed.
        reserved: the part of them that is reserved for calls in flight.
        keep_s: seconds for which the store keeps the cell after its last change.
        others: picodollars that other contributors had used when the process last heard of it; for
            a store that was lost, where some of them are gone.
    """

    cell: str
    used: int
    reserved: int
    keep_s: int
    others: int = 0


@attrs.frozen
class CellNeed:
    """What one attempt of a call needs of a cell.

    Args:
        cell: the name of the cell.
        amount: picodollars that the attempt costs at most.
        most: picodollars that may be used of the cell in all.
        keep_s: seconds for which the store keeps the cell after its last change.
    """

    cell: str
    amount: int
    most: int
    keep_s: int


@attrs.frozen(kw_only=True)
class LedgerAsk:
    """One question of a process. Each one that is sent has a number of its own.

    Args:
        process: the process; no other one has this name.
        number: above that of every question that the process has sent; a store ignores a question
            that arrives after a later one.
        contributor: the ledger of the process.
        version: of the ledger: of two reports about a cell, that of the later version applies.
        stamp: when this version was written, in Unix seconds; another one shows a copy of a ledger.
        epoch: the `epoch` of the last answer; "" for none.
        uses: what the ledger has used, of the cells that have changed and those of the wants.
        wants: what each attempt needs that waits for its verdict, in their order.
        watched: further cells whose totals are asked for.
        leaves: whether the process ends.
        is_last: whether no process uses the ledger after it, so that its uses are summed up.
    """

    process: str
    number: int
    contributor: str
    version: int
    stamp: float
    epoch: str = ""
    uses: tuple[CellUse, ...] = ()
    wants: tuple[tuple[CellNeed, ...], ...] = ()
    watched: tuple[str, ...] = ()
    leaves: bool = False
    is_last: bool = False


@attrs.frozen
class CellTotal:
    """What all contributors have used of a cell.

    Args:
        used: picodollars that are spent, reserved or possibly billed.
        reserved: the part of them that processes have reserved for calls in flight.
        maybe: the part of them that processes had reserved which have not been heard of for the
            length of their lease: it may be billed.
        own: the part of them that the contributor of the question has used.
    """

    used: int
    reserved: int
    maybe: int
    own: int


GRANTED = -1
"""The verdict on an attempt that every cell has room for."""


@attrs.frozen(kw_only=True)
class LedgerAnswer:
    """The answer to a `LedgerAsk`.

    Args:
        epoch: identifies the state of the store; another one if its state was lost.
        opens_in_s: seconds until the store decides. After a loss it waits for the reports of all
            processes; until then `verdicts` is empty.
        verdicts: for each attempt that waits: `GRANTED`, or the position of the need that its cell
            has no room for.
        totals: the totals of the cells of the question.
        version: the latest version of the ledger that the store knew before; 0 for none.
        stamp: when that version was written.
        processes: the number of processes that share the budgets.
    """

    epoch: str
    opens_in_s: float
    verdicts: tuple[int, ...]
    totals: dict[str, CellTotal]
    version: int
    stamp: float
    processes: int


class LedgerStore(Protocol):
    """The budgets that the ledgers of several processes share.

    Its errors are those of `StorageError`. After one it is unknown whether the question arrived.
    """

    @property
    def name(self) -> str:
        """What it is and where, for logs, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the store for the length of a block, also while it is away."""
        ...

    async def check(self) -> None:
        """Check that money can be trusted to the store.

        Raises:
            UnsuitableServer: what it may lose would be spent twice.
            StorageError: there is no answer.
        """
        ...

    async def ask(self, ask: LedgerAsk) -> LedgerAnswer:
        """Report, and reserve for calls, in one exchange.

        Args:
            ask: what the process reports and needs.

        Raises:
            StorageError: there is no answer.
        """
        ...
