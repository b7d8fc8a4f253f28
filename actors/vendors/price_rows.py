"""What a price file has, for the programs and people that write one; `price_file` reads it."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, NotRequired, TypedDict

import msgspec

PriceInUsd = Annotated[float, msgspec.Meta(ge=0)]
"""A price in USD per million tokens, or a factor."""

PromptSize = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")]
"""A number of tokens, as the name of a member."""


class PriceFileMembers(TypedDict):
    """A price file: the prices of models by name, in USD per million tokens.

    Args:
        models: the prices by the name of the model. A name with a vendor and a colon in front, such
            as "groq:their-model", is a price at that vendor only. A "*" at the end of a name stands
            for any date.
        as_of: the date of the prices, such as "2026-11-01".
        source: the source of the prices.
    """

    models: Mapping[str, "ModelPrices"]
    as_of: NotRequired[str | None]
    source: NotRequired[str | None]


class TokenPrices(TypedDict):
    """Prices of tokens, in USD per million tokens.

    Args:
        input: the price of prompt tokens.
        output: the price of response tokens.
        cached: the price of prompt tokens that are read from the provider's cache; if it is absent,
            that of `input` applies.
        cache_write: the price of prompt tokens that are written to that cache; if it is absent,
            that of `input` applies.
        cache_write_1h: the price of those that the cache keeps for an hour; if it is absent, that
            of `cache_write` applies.
    """

    input: PriceInUsd
    output: PriceInUsd
    cached: NotRequired[PriceInUsd]
    cache_write: NotRequired[PriceInUsd]
    cache_write_1h: NotRequired[PriceInUsd]


class TierPrices(TokenPrices):
    """The prices of a model at a service tier, in USD per million tokens.

    Args:
        above: the prices of the whole request if its prompt has more tokens than the name says.
    """

    above: NotRequired[Mapping[PromptSize, TokenPrices]]


_Later = TypedDict("_Later", {"from": NotRequired[Mapping[date, "ModelPrices"]]})


class ModelPrices(TokenPrices, _Later):
    """The prices of a model, in USD per million tokens.

    Args:
        batch_input: the price of prompt tokens in a batch whose cached tokens have no price of
            their own.
        batch_output: the price of response tokens in such a batch.
        above: the prices of the whole request if its prompt has more tokens than the name says.
        tiers: the prices at other service tiers, such as "batch", "flex" and "priority": an object
            of prices, or a factor for the prices of the model.
        from: the prices from a day on, in UTC, with all members that apply then.
        peak: the prices in some hours of the day.
        names: other names of the model.
        note: a remark on the price, for people.
        shut_down: the day on which the vendor shuts the model down.
    """

    batch_input: NotRequired[PriceInUsd]
    batch_output: NotRequired[PriceInUsd]
    above: NotRequired[Mapping[PromptSize, TokenPrices]]
    tiers: NotRequired[Mapping[str, PriceInUsd | TierPrices]]
    peak: NotRequired["PeakPrices"]
    names: NotRequired[Sequence[str]]
    note: NotRequired[str]
    shut_down: NotRequired[date]


class PeakPrices(ModelPrices):
    """The prices of a model in some hours of the day, in USD per million tokens.

    Args:
        hours: the spans of hours in UTC, such as "01:00-04:00"; the end is not part of a span.
        weekdays_only: whether Saturdays and Sundays have no such hours; false if it is absent.
    """

    hours: Sequence[str]
    weekdays_only: NotRequired[bool]
