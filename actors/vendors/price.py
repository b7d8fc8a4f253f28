"""The prices of one model, and exact arithmetic with them. Pure (R14)."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, Inexact
from types import MappingProxyType

import attrs
from attrs.validators import optional

from ..money import AMOUNT, is_amount
from ..responses import Usage
from ..validation import deep_mapping, instance_of


def _usd(_: object, field: "attrs.Attribute[Decimal]", value: Decimal) -> None:
    if not isinstance(value, Decimal):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"{field.name} must be a Decimal, not {value!r}")
    if not is_amount(value):
        raise ValueError(f"{field.name} must be {AMOUNT}, not {value!s:.40}")


LongPrompts = tuple[tuple[int, "TierPrice"], ...]
"""Sizes of a prompt in tokens, ascending, and the prices of a request whose prompt has more."""


def _ascending(_: object, field: "attrs.Attribute[LongPrompts]", value: LongPrompts) -> None:
    sizes = [size for size, _ in value]
    if sizes != sorted(set(sizes)) or any(size < 0 for size in sizes):
        raise ValueError(f"{field.name} must have sizes of at least 0 in ascending order")


@attrs.frozen
class TierPrice:
    """The prices of a model at one service tier, in USD per million tokens.

    Args:
        input: price of prompt tokens, in USD per million tokens.
        output: price of response tokens, in USD per million tokens.
        cached: price of prompt tokens that the provider read from its cache, in USD per million
            tokens; None if it publishes none.
        cache_write: price of prompt tokens that the provider wrote to its cache, in USD per million
            tokens; None if it publishes none.
        cache_write_1h: price of those that it keeps for an hour, in USD per million tokens; None
            if it has no such price.
        above: the prices of long prompts: a size in tokens, and the prices of a whole request whose
            prompt has more tokens. Sizes ascend.

    Raises:
        TypeError: a price is not a Decimal.
        ValueError: a price is negative, not finite, or has too many digits, or the sizes in
            `above` do not ascend.
    """

    input: Decimal = attrs.field(validator=_usd)
    output: Decimal = attrs.field(validator=_usd)
    cached: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    cache_write: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    cache_write_1h: Decimal | None = attrs.field(
        default=None, kw_only=True, validator=optional(_usd)
    )
    above: LongPrompts = attrs.field(default=(), kw_only=True, validator=_ascending)

    def times(self, factor: Decimal) -> "TierPrice":
        """Return the prices multiplied by a factor; None stays None.

        Args:
            factor: the factor, such as 0.5 for half the price.
        """

        def scaled(price: Decimal | None) -> Decimal | None:
            return None if price is None else _EXACT.multiply(price, factor)

        return TierPrice(
            _EXACT.multiply(self.input, factor),
            _EXACT.multiply(self.output, factor),
            scaled(self.cached),
            scaled(self.cache_write),
            cache_write_1h=scaled(self.cache_write_1h),
            above=tuple((size, prices.times(factor)) for size, prices in self.above),
        )

    def for_prompt(self, input_tokens: int) -> "TierPrice":
        """Return the prices of a request, by the size of its prompt.

        Args:
            input_tokens: all tokens of the prompt, cached ones included.
        """
        prices = self
        for size, dearer in self.above:
            if input_tokens > size:
                prices = dearer
        return prices

    def cost(self, usage: Usage) -> Decimal:
        """Return the exact cost of the tokens of one request, in USD.

        Tokens that were read from a cache or written to it cost as much as other prompt tokens if
        they have no price of their own. For tokens that were read this is never too low.

        Args:
            usage: the tokens of one request.
        """
        prices = self.for_prompt(usage.input_tokens) if self.above else self
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        for_an_hour = min(usage.cache_write_1h_tokens, written)
        per_million = _EXACT.multiply(prices.input, usage.input_tokens - cached - written)
        if cached:
            price = prices.input if prices.cached is None else prices.cached
            per_million = _EXACT.fma(price, cached, per_million)
        if written:
            price = prices.input if prices.cache_write is None else prices.cache_write
            per_million = _EXACT.fma(price, written - for_an_hour, per_million)
            price = price if prices.cache_write_1h is None else prices.cache_write_1h
            per_million = _EXACT.fma(price, for_an_hour, per_million)
        per_million = _EXACT.fma(prices.output, usage.output_tokens, per_million)
        return _EXACT.scaleb(per_million, -6)  # exact; a division could round


_EXACT = Context(prec=1000, traps=[Inexact])

FAST_MODE = "fast_mode"
"""The tier of Anthropic's fast mode, which a request asks for with `speed`."""

# Names of the tier of a call that requests none: Anthropic's "standard", Groq's "on_demand".
_USUAL = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand"})


def tier_named(name: str) -> str:
    """Return the name of a service tier in price files.

    "auto", "standard" and no name mean "default"; "fast" is OpenAI's name of "priority" since July
    2026. Anthropic's fast mode is "fast_mode".
    """
    if name in _USUAL:
        return "default"
    return "priority" if name == "fast" else name


def _tiers(tiers: Mapping[str, TierPrice]) -> Mapping[str, TierPrice]:
    return MappingProxyType(dict(tiers))


@attrs.frozen
class PeakHours:
    """The hours in which a vendor charges more.

    Args:
        spans: start and end of each span, in UTC. The end is not part of it.
        weekdays_only: whether Saturdays and Sundays have none.
    """

    spans: tuple[tuple[time, time], ...]
    weekdays_only: bool = False

    def contains(self, moment: datetime) -> bool:
        """Return whether a moment is in these hours.

        Args:
            moment: the moment, in UTC.
        """
        if self.weekdays_only and moment.weekday() >= _SATURDAY:
            return False
        clock = moment.time()
        return any(start <= clock < end for start, end in self.spans)


_SATURDAY = 5


def _usual_of(price: "Price") -> TierPrice:
    return TierPrice(
        price.input,
        price.output,
        price.cached,
        price.cache_write,
        cache_write_1h=price.cache_write_1h,
        above=price.above,
    )


@attrs.frozen
class Price:
    """The prices of a model, in USD per million tokens.

    Args:
        input: price of prompt tokens, in USD per million tokens.
        output: price of response tokens, in USD per million tokens.
        cached: price of prompt tokens that the provider read from its cache, in USD per million
            tokens; None if it publishes none.
        batch_input: price of prompt tokens by the provider's Batch API, in USD per million tokens;
            None if it publishes none.
        batch_output: price of response tokens by the provider's Batch API, in USD per million
            tokens; None if it publishes none.
        note: a remark on the price, for people.
        cache_write: price of prompt tokens that the provider wrote to its cache, in USD per million
            tokens; None if it publishes none.
        cache_write_1h: price of those that it keeps for an hour, in USD per million tokens; None
            if it has no such price.
        above: the prices of long prompts, as for `TierPrice`.
        tiers: the prices at other service tiers, by name: "flex", "priority", "batch".
        changes: later prices: the first day of each, in UTC, and the prices from then on.
        peak: the hours with other prices, and the prices then; None if there are none.
        shut_down: the day on which the vendor shuts the model down; None if it has announced none.

    Raises:
        TypeError: a price is not a Decimal.
        ValueError: a price is negative, not finite, or has too many digits.
    """

    input: Decimal = attrs.field(validator=_usd)
    output: Decimal = attrs.field(validator=_usd)
    cached: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    batch_input: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    batch_output: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    note: str | None = attrs.field(default=None, kw_only=True, validator=optional(instance_of(str)))
    cache_write: Decimal | None = attrs.field(default=None, kw_only=True, validator=optional(_usd))
    cache_write_1h: Decimal | None = attrs.field(
        default=None, kw_only=True, validator=optional(_usd)
    )
    above: LongPrompts = attrs.field(default=(), kw_only=True, validator=_ascending)
    tiers: Mapping[str, TierPrice] = attrs.field(
        factory=dict[str, TierPrice],
        kw_only=True,
        converter=_tiers,
        validator=deep_mapping(instance_of(str), instance_of(TierPrice)),
        hash=False,
    )
    changes: tuple[tuple[date, "Price"], ...] = attrs.field(default=(), kw_only=True)
    peak: "tuple[PeakHours, Price] | None" = attrs.field(default=None, kw_only=True)
    shut_down: date | None = attrs.field(default=None, kw_only=True)
    _usual: TierPrice = attrs.field(
        default=attrs.Factory(_usual_of, takes_self=True), init=False, repr=False, eq=False
    )

    def on(self, moment: datetime) -> "Price":
        """Return the prices that apply at a moment.

        Args:
            moment: the moment, in UTC.
        """
        price = self
        for first_day, later in self.changes:
            if moment.date() >= first_day:
                price = later
        if price.peak is not None and price.peak[0].contains(moment):
            return price.peak[1]
        return price

    def at(self, tier: str = "default") -> TierPrice | None:
        """Return the prices at a service tier; None if they are not known.

        Args:
            tier: name of the service tier; see `tier_named`.
        """
        tier = tier_named(tier)
        if tier == "default":
            return self._usual
        if tier == "batch" and tier not in self.tiers:
            if self.batch_input is None or self.batch_output is None:
                return None
            return TierPrice(self.batch_input, self.batch_output)
        return self.tiers.get(tier)


def utc(seconds: float) -> datetime:
    """Return a moment in UTC.

    Args:
        seconds: Unix time in seconds.
    """
    return datetime.fromtimestamp(seconds, UTC)
