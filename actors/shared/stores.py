"""The stores that processes share, as a protocol."""

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ..cache import CachePolicy, SharedCache
    from ..ledger import LedgerStore
    from ..rate_limit import LimitStore
    from .records import RecordStore
    from .reports import ReportBoard

Outage = Literal["divide", "wait"]
"""While the server is away, go on with a part of each limit, as many as there were processes; or
wait for the server."""


class SharedStores(Protocol):
    """Makes the store of each stage. All processes with the same one share what is in it.

    Attributes:
        outage: what a process does while the server is away.
    """

    outage: Outage

    @property
    def name(self) -> str:
        """What it is and where, for logs, without secrets (L8)."""
        ...

    def limits(self, endpoint: str) -> "LimitStore":
        """Return the store of the limits of an endpoint.

        Args:
            endpoint: what identifies the account whose limits are shared, without secrets.
        """
        ...

    def ledger(self, shared_name: str = "") -> "LedgerStore":
        """Return the store of the budgets.

        Args:
            shared_name: what they are shared under; see `LedgerPolicy`.
        """
        ...

    def cache(self, policy: "CachePolicy") -> "SharedCache":
        """Return the store of the response cache.

        Args:
            policy: how long responses are kept.
        """
        ...

    async def check(self) -> None:
        """Check that the stores can be used now.

        Raises:
            ServerAway: the server does not answer.
            UnsuitableServer: the server must not be used for this.
        """
        ...

    def records(self, kind: str) -> "RecordStore":
        """Return a set of records that processes share as a whole.

        Args:
            kind: what the records are, such as "keys".
        """
        ...

    def reports(self) -> "ReportBoard | None":
        """Return the board for reports of programs; None if nothing can look at it."""
        ...
