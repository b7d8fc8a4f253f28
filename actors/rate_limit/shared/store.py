"""The store of shared limits, as a protocol."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .exchange import LimitAsk, LimitGrant


class LimitStore(Protocol):
    """The limits of one endpoint, or pool of endpoints, that processes share.

    Its errors are those of `StorageError`. After one it is unknown whether the question arrived:
    the process asks the same question again, with the same number.
    """

    @property
    def name(self) -> str:
        """What it is and where, for logs, without secrets (L8)."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the store for the length of a block."""
        ...

    async def ask(self, ask: LimitAsk) -> LimitGrant:
        """Lease, report and correct, in one exchange.

        Args:
            ask: what the process needs and reports.

        Raises:
            StorageError: there is no answer.
        """
        ...

    async def wait_for_news(self) -> bool:
        """Return when another process has reported a refusal or given places back, or after 1 s.

        Returns early without a reason at times, and may miss one: the next grant has it.

        Returns:
            Whether there is news; False after 1 s without any.
        """
        ...
