"""What a run has sent and spent, as its store has it: known, unknown, maybe (L13). Pure (R14)."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal

import attrs

from ...actors import Usage

PriceTokens = Callable[[str, str, Usage], Decimal | None]
"""Returns the most USD that tokens can cost, from a model, a service tier and the tokens; None if
the price is not known."""


@attrs.frozen
class UnpricedTokens:
    """The most tokens of what has no known price, by model and service tier.

    A later run may know the prices, and then counts them.

    Args:
        by_model: the tokens by model and tier.
    """

    by_model: Mapping[tuple[str, str], Usage] = attrs.field(factory=dict[tuple[str, str], Usage])

    def __bool__(self) -> bool:
        return bool(self.by_model)

    def __add__(self, other: "UnpricedTokens") -> "UnpricedTokens":
        found = dict(self.by_model)
        for key, usage in other.by_model.items():
            found[key] = found.get(key, Usage()) + usage
        return UnpricedTokens(found)

    @property
    def models(self) -> list[str]:
        """The models whose prices are not known."""
        return sorted({model for model, _ in self.by_model})

    def times(self, factor: int) -> "UnpricedTokens":
        """Return the tokens of several requests."""
        if not factor:
            return UnpricedTokens()
        return UnpricedTokens(
            {
                key: Usage(usage.input_tokens * factor, usage.output_tokens * factor)
                for key, usage in self.by_model.items()
            }
        )

    def most(self, other: "UnpricedTokens") -> "UnpricedTokens":
        """Return the larger numbers of both."""
        found = dict(self.by_model)
        for key, usage in other.by_model.items():
            known = found.get(key, Usage())
            found[key] = Usage(
                max(known.input_tokens, usage.input_tokens),
                max(known.output_tokens, usage.output_tokens),
            )
        return UnpricedTokens(found)

    def encode(self) -> str:
        """Return the tokens as text."""
        rows = [
            (model, tier, usage.input_tokens, usage.output_tokens)
            for (model, tier), usage in sorted(self.by_model.items())
        ]
        return json.dumps(rows, separators=(",", ":")) if rows else ""

    @classmethod
    def decode(cls, text: str) -> "UnpricedTokens":
        """Return the tokens that `encode` has written.

        Raises:
            ValueError, TypeError: it is something else.
        """
        rows = json.loads(text) if text else ()
        return cls({(model, tier): Usage(int(read), int(made)) for model, tier, read, made in rows})


@attrs.frozen(kw_only=True)
class RunSpend:
    """What was sent and spent.

    Args:
        cost_usd: the cost in USD of all responses, as far as it is known.
        sent: rows of this run that may have been sent.
        ended: of these, rows that have ended, or were not sent after all.
        lost: HTTP requests of all runs that may have been billed without a response.
        unknown_usd: the most USD that responses without a known cost can have cost.
        maybe_usd: the most USD that the requests in `lost` can have cost.
        each_usd: the most USD that one request of this run can cost.
        unpriced: the most tokens of responses, and of the requests in `lost`, without a price.
        each_unpriced: the most tokens of one request of this run without a price.
    """

    cost_usd: Decimal = Decimal(0)
    sent: int = 0
    ended: int = 0
    lost: int = 0
    unknown_usd: Decimal = Decimal(0)
    maybe_usd: Decimal = Decimal(0)
    each_usd: Decimal = Decimal(0)
    unpriced: UnpricedTokens = attrs.field(factory=UnpricedTokens)
    each_unpriced: UnpricedTokens = attrs.field(factory=UnpricedTokens)

    @property
    def open_usd(self) -> Decimal:
        """The most USD of what is not known to have been billed, or by how much."""
        return self.unknown_usd + self.maybe_usd

    @property
    def at_most_usd(self) -> Decimal:
        """The most USD that everything can have cost, as far as prices are known (L13)."""
        return self.cost_usd + self.open_usd

    def after_death(self) -> "RunSpend":
        """Return what is spent if the process that has written this has died.

        What it has sent, and what has not ended, may have been charged.
        """
        lost = self.sent - self.ended
        return attrs.evolve(
            self,
            sent=0,
            ended=0,
            lost=self.lost + lost,
            maybe_usd=self.maybe_usd + lost * self.each_usd,
            each_usd=Decimal(0),
            unpriced=self.unpriced + self.each_unpriced.times(lost),
            each_unpriced=UnpricedTokens(),
        )

    def priced(self, price: PriceTokens) -> "RunSpend":
        """Return the same with USD for the tokens whose price is known now.

        Args:
            price: prices the tokens of a model.
        """
        usd, left = self.unknown_usd, dict[tuple[str, str], Usage]()
        for (model, tier), usage in self.unpriced.by_model.items():
            cost = price(model, tier, usage)
            if cost is None:
                left[model, tier] = usage
            else:
                usd += cost
        return attrs.evolve(self, unknown_usd=usd, unpriced=UnpricedTokens(left))
