"""Transactions and their entries, in amounts that add up exactly. Pure (R14)."""

import ipaddress
from collections.abc import Iterable
from decimal import Context, Decimal, Inexact
from typing import Literal
from urllib.parse import urlsplit

import attrs

from ..calls import CallContext
from ..responses import Usage

# Rounding is an error here. No sum of prices has 1,000 digits.
_EXACT = Context(prec=1000, traps=[Inexact])
_FINEST = -12  # a share is a whole number of 1e-12 USD, or finer


def add_usd(one: Decimal, other: Decimal) -> Decimal:
    """Return the exact sum, beyond the 28 digits that Python rounds to."""
    return _EXACT.add(one, other)


def subtract_usd(one: Decimal, other: Decimal) -> Decimal:
    """Return the exact difference."""
    return _EXACT.subtract(one, other)


def dollars(usd: Decimal) -> str:
    """Return an amount as text with all its digits, such as "$0.001033"."""
    return f"${usd.normalize(_EXACT):f}"


@attrs.frozen
class Amount:
    """USD, tokens and calls, which move together from one account to another.

    Args:
        usd: the cost in USD of everything with a known price.
        input_tokens: tokens of prompts, including cached ones.
        output_tokens: tokens of responses.
        cached_tokens: tokens of prompts that the provider read from its cache.
        unpriced_tokens: the part of all these tokens without a known price; not in `usd`.
        calls: the number of calls.
        unpriced_calls: the number of calls without a known price.
        saved_usd: the USD that the same tokens would have cost in addition at the usual tier and
            without the provider's cache; below 0 for a dearer tier.
    """

    usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    unpriced_tokens: int = 0
    calls: int = 0
    unpriced_calls: int = 0
    saved_usd: Decimal = Decimal(0)

    @classmethod
    def of(cls, usage: Usage, usd: Decimal | None, usual_usd: Decimal | None = None) -> "Amount":
        """Return the amount of one call.

        Args:
            usage: the tokens that the call took.
            usd: its cost in USD; None if the price is not known.
            usual_usd: the cost in USD at the usual tier and without the provider's cache; None if
                it is not known, or the same.
        """
        saved = Decimal(0)
        if usd is not None and usual_usd is not None:
            saved = subtract_usd(usual_usd, usd)
        return cls(
            Decimal(0) if usd is None else usd,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.total_tokens if usd is None else 0,
            1,
            1 if usd is None else 0,
            saved,
        )

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            _EXACT.add(self.usd, other.usd),
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.unpriced_tokens + other.unpriced_tokens,
            self.calls + other.calls,
            self.unpriced_calls + other.unpriced_calls,
            _EXACT.add(self.saved_usd, other.saved_usd),
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return self + other.times(-1)

    def times(self, factor: int) -> "Amount":
        """Return the amount multiplied by a whole number, which may be negative."""
        return Amount(
            _EXACT.multiply(self.usd, Decimal(factor)),
            self.input_tokens * factor,
            self.output_tokens * factor,
            self.cached_tokens * factor,
            self.unpriced_tokens * factor,
            self.calls * factor,
            self.unpriced_calls * factor,
            _EXACT.multiply(self.saved_usd, Decimal(factor)),
        )

    def of_calls(self, calls: int) -> "Amount":
        """Return the same amount for another number of calls."""
        return Amount(
            self.usd,
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.unpriced_tokens,
            calls,
            calls if self.unpriced_calls else 0,
            self.saved_usd,
        )

    def split(self, shares: int) -> "tuple[Amount, ...]":
        """Split into even shares whose sum is the whole; the first shares get the remainder.

        The number of calls is not split: each share has all of them.
        """
        if shares == 1:
            return (self,)
        return tuple(
            Amount(usd, taken, given, cached, unpriced, self.calls, self.unpriced_calls, saved)
            for usd, saved, taken, given, cached, unpriced in zip(
                _split_usd(self.usd, shares),
                _split_usd(self.saved_usd, shares),
                _split(self.input_tokens, shares),
                _split(self.output_tokens, shares),
                _split(self.cached_tokens, shares),
                _split(self.unpriced_tokens, shares),
                strict=True,
            )
        )


def _split(whole: int, shares: int) -> list[int]:
    each, rest = divmod(whole, shares)
    return [each + (at < rest) for at in range(shares)]


def _split_usd(usd: Decimal, shares: int) -> list[Decimal]:
    exponent = usd.as_tuple().exponent
    unit = min(exponent, _FINEST) if isinstance(exponent, int) else _FINEST
    parts = _split(int(_EXACT.scaleb(usd, -unit)), shares)
    return [_EXACT.scaleb(Decimal(part), unit) for part in parts]


NOTHING = Amount()
"""No USD, no tokens and no calls."""

Account = Literal["available", "reserved", "spent", "unknown", "maybe_billed"]
ACCOUNTS: tuple[Account, ...] = ("available", "reserved", "spent", "unknown", "maybe_billed")
"""Not used yet, reserved for calls in flight, charged, charged by an unknown amount, or possibly
charged by the provider. What leaves one account enters another (double entry)."""

TransactionKind = Literal["reserve", "extend", "attach", "settle", "maybe", "refund"]
"""The last three end a reservation: as charged, as possibly charged, or as not charged. "attach"
renames it: for a line of a batch, and releases what earlier calls have left for that line; or while
nothing of the call was sent."""

CostDimension = Literal["model", "tenant", "post", "day", "route", "endpoint"]
COST_DIMENSIONS: tuple[CostDimension, ...] = (
    "model",
    "tenant",
    "post",
    "day",
    "route",
    "endpoint",
)
"""The dimensions of the sums."""


@attrs.frozen
class CostLabel:
    """The call that an entry belongs to, and the dimensions of the sums.

    Args:
        call: the id of the call.
        post: the name of the post; "" for none.
        tenant: who pays, see `CallContext.payer`; "" for none.
        model: the model that was requested, or the one that responded instead.
        day: the UTC day of the call, such as "2026-11-26".
        route: the route of the response; see `Response.route`.
        endpoint: the host that responded, with the name of the key in a pool, such as
            "api.openai.com key 2"; "" if none has.
    """

    call: str
    post: str = ""
    tenant: str = ""
    model: str = ""
    day: str = ""
    route: str = "live"
    endpoint: str = ""


def is_simulated(endpoint: str) -> bool:
    """Return whether an endpoint is on this machine, so that its costs are not real.

    Args:
        endpoint: a host, with or without a port and the name of a key, as in `CostLabel.endpoint`.
    """
    where = endpoint.split(" ", 1)[0]
    try:
        address = ipaddress.ip_address(urlsplit(f"//{where}").hostname or "")
        inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any(one.is_loopback or one.is_unspecified for one in (address, inner or address))
    except ValueError:
        name = where.rsplit(":", 1)[0].lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


@attrs.frozen
class Payer:
    """One payer of a call; a call that several callers share has several.

    Args:
        label: who pays, and for what.
        bound: the most that one attempt can cost this payer.
    """

    label: CostLabel
    bound: Amount


@attrs.frozen
class LedgerEntry:
    """An amount that enters an account, or leaves it if it is negative."""

    account: Account
    label: CostLabel
    amount: Amount


@attrs.frozen
class Transaction:
    """Entries that belong together and add up to nothing.

    Args:
        kind: the event that the entries record.
        reservation: the name of the reservation.
        at: Unix time in seconds.
        entries: the amounts that moved.
        formerly: on "attach", the former name of the reservation.
    """

    kind: TransactionKind
    reservation: str
    at: float
    entries: tuple[LedgerEntry, ...]
    formerly: str = ""

    @property
    def is_balanced(self) -> bool:
        """Whether the entries add up to nothing."""
        return sum((entry.amount for entry in self.entries), NOTHING) == NOTHING


def cost_labels(
    context: CallContext, model: str, day: str, route: str, endpoint: str = ""
) -> tuple[CostLabel, ...]:
    """Return who pays for a call: its caller, or each caller that shares it.

    Args:
        context: of the call.
        model: the model that is requested.
        day: the UTC day, such as "2026-11-26".
        route: the route that is expected.
        endpoint: the endpoint that is expected to respond; "" if it is one of several.
    """
    callers: Iterable[CallContext] = context.shared_by or (context,)
    route = context.route_of(route)
    return tuple(
        CostLabel(caller.call, caller.post or "", caller.payer, model, day, route, endpoint)
        for caller in callers
    )
