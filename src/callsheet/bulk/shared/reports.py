"""What a worker of a shared run says of itself with each sign of life, for `callsheet top`."""

import json
import os
import socket
from decimal import Decimal
from typing import Any, Self, final

import attrs


@final
@attrs.frozen(kw_only=True)
class WorkerReport:
    """What a worker has done so far.

    Args:
        host: the name of its machine.
        pid: the id of its process there.
        answered: rows that ended with a response.
        failed: rows that ended with an error.
        in_hand: rows whose calls have not ended.
        sent: those of them that are at the provider.
        tokens: the tokens of the responses.
        cost_usd: their cost in USD, as far as prices are known.
    """

    host: str
    pid: int
    answered: int = 0
    failed: int = 0
    in_hand: int = 0
    sent: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the report of a worker of this process, which has done nothing yet."""
        return cls(host=socket.gethostname(), pid=os.getpid())

    def encode(self) -> bytes:
        """Return the report as JSON."""
        return json.dumps(attrs.asdict(self), default=str).encode()

    @classmethod
    def decode(cls, text: bytes) -> Self | None:
        """Return a report; None if the text is that of another version, or empty.

        Args:
            text: what `encode` returned.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            known = {field.name for field in attrs.fields(cls)}
            found = {name: value for name, value in found.items() if name in known}
            found["cost_usd"] = Decimal(found.get("cost_usd", "0"))
            return cls(**found)
        except (ValueError, TypeError, AttributeError, ArithmeticError):
            return None
