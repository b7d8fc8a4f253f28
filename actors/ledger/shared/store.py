"""The store of shared budgets, as a protocol."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .exchange import LedgerAnswer, LedgerAsk


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
