"""What is set aside of a budget for calls that are sent, and not reserved for here. Pure (R14)."""

from decimal import Decimal
from threading import Lock
from typing import final


@final
class SetAside:
    """Money of a budget that calls of an earlier process may still cost.

    Another process has sent them, and their responses will arrive in this one. Until a call is
    reserved for here, no other call gets its part of the budget. The ledger may write in a thread.
    """

    def __init__(self) -> None:
        self._usd: dict[str, Decimal] = {}  # by key
        self._keys: dict[str, str] = {}  # {id of a call: key}
        self._lock = Lock()
        self._sum = Decimal(0)

    def __repr__(self) -> str:
        return f"<SetAside ${self._sum} for {len(self._usd)}>"

    def __len__(self) -> int:
        return len(self._usd)

    def __contains__(self, key: str) -> bool:
        return key in self._usd

    @property
    def usd(self) -> Decimal:
        """What is set aside, in USD."""
        return self._sum

    @property
    def most(self) -> Decimal:
        """The most that is set aside for one call, in USD."""
        with self._lock:
            return max(self._usd.values(), default=Decimal(0))

    def keep(self, key: str, usd: Decimal) -> None:
        """Set aside what a call may cost, instead of what was set aside for it before.

        Args:
            key: identifies the call; see `name`.
            usd: the most that it can cost, in USD; 0 for nothing.
        """
        with self._lock:
            self._change(key, usd)

    def name(self, key: str, call: str) -> None:
        """Let the next reservation of a call take over what is set aside for a key.

        Args:
            key: as of `keep`.
            call: the id of the call; see `CallContext.call`.
        """
        with self._lock:
            if key in self._usd:
                self._keys[call] = key

    def of(self, call: str) -> Decimal:
        """Return what is set aside for a call, in USD.

        Args:
            call: the id of the call.
        """
        with self._lock:
            return self._usd.get(self._keys.get(call, ""), Decimal(0))

    def take(self, call: str, usd: Decimal) -> None:
        """Note that a call is reserved for.

        Args:
            call: the id of the call.
            usd: what is reserved for it, in USD.
        """
        with self._lock:
            if (key := self._keys.pop(call, None)) is not None:
                self._change(key, max(self._usd.get(key, Decimal(0)) - usd, Decimal(0)))

    def _change(self, key: str, usd: Decimal) -> None:
        self._sum += usd - self._usd.pop(key, Decimal(0))
        if usd:
            self._usd[key] = usd
