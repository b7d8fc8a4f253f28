"""The tokens of a run whose price is not known. Pure (R14)."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal

import attrs

from ..actors import Usage

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
