"""Stores on a Valkey or Redis server, for processes on one machine or many."""

from typing import TYPE_CHECKING, final

from ..valkey import ServerUrl, open_valkey
from .stores import Outage, SharedStores

if TYPE_CHECKING:
    from ..cache import CachePolicy, SharedCache
    from ..ledger import LedgerStore
    from ..rate_limit import LimitStore
    from .records import RecordStore
    from .reports import ReportBoard


@final
class ValkeyStores:
    """The stores on one server. Each store has a connection of its own while it is open.

    Args:
        url: the URL of the server; see `ServerUrl.parse`.
        outage: what a process does while the server is away.

    Raises:
        ValueError: the URL names no server.
    """

    def __init__(self, url: str, *, outage: Outage = "divide") -> None:
        self.url = ServerUrl.parse(url)
        self.outage: Outage = outage

    def __repr__(self) -> str:
        return f"<ValkeyStores {self.url}>"

    def __eq__(self, other: object) -> bool:
        """Return whether these are the same stores, so that settings can be compared."""
        if not isinstance(other, ValkeyStores):
            return NotImplemented
        return self.url == other.url and self.outage == other.outage

    def __hash__(self) -> int:
        return hash((self.url, self.outage))

    @property
    def name(self) -> str:
        """See `SharedStores`."""
        return f"the shared server {self.url}"

    def limits(self, endpoint: str) -> "LimitStore":
        """See `SharedStores`."""
        from ..rate_limit import ValkeyLimitStore  # noqa: PLC0415  # needs the extra

        return ValkeyLimitStore(self.url, endpoint)

    async def check(self) -> None:
        """See `SharedStores`."""
        async with open_valkey(self.url) as client:
            await client.check(keeps=False)

    def records(self, kind: str) -> "RecordStore":
        """See `SharedStores`."""
        from .server_records import ServerRecords  # noqa: PLC0415  # most programs share no keys

        return ServerRecords(self.url, kind)

    def reports(self) -> "ReportBoard":
        """See `SharedStores`."""
        from .server_reports import ServerReports  # noqa: PLC0415  # loaded when it is used

        return ServerReports(self.url)

    def ledger(self, shared_name: str = "") -> "LedgerStore":
        """See `SharedStores`."""
        from ..ledger import ValkeyLedgerStore  # noqa: PLC0415  # only with budgets

        return ValkeyLedgerStore(self.url, shared_name)

    def cache(self, policy: "CachePolicy") -> "SharedCache":
        """See `SharedStores`."""
        from ..cache import ValkeyCache  # noqa: PLC0415  # if there is a cache

        return ValkeyCache(self.url, policy)


def stores_at(url: str, *, outage: Outage = "divide") -> SharedStores:
    """Return the stores on a server. Nothing is connected yet.

    Args:
        url: the URL of a Valkey or Redis server; see `ServerUrl.parse`.
        outage: what a process does while the server is away.

    Raises:
        ValueError: the URL names no server.
    """
    return ValkeyStores(url, outage=outage)
