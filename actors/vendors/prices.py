"""What calls cost: published prices in a dated file, and exact arithmetic.

A model without a price has the cost None, which is not 0: reports show it as unknown (L13).
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal, Inexact
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, cast

import attrs
from attrs.validators import deep_mapping, instance_of, optional

from ..messages import Usage


class PriceError(ValueError):
    """A price file is invalid; the text names file, model and field."""


def _usd(_: object, field: "attrs.Attribute[Decimal]", value: Decimal) -> None:
    if not isinstance(value, Decimal):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"{field.name} must be a Decimal, not {value!r}")
    if not value.is_finite() or value < 0:
        raise ValueError(f"{field.name} must be at least 0 and finite, not {value}")


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

    Raises:
        TypeError: a price is not a Decimal.
        ValueError: a price is negative or not finite.
    """

    input: Decimal = attrs.field(validator=_usd)
    output: Decimal = attrs.field(validator=_usd)
    cached: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    cache_write: Decimal | None = attrs.field(default=None, validator=optional(_usd))

    def times(self, factor: Decimal) -> "TierPrice":
        """Return the prices multiplied by a factor; None stays None.

        Args:
            factor: the factor, such as 0.5 for half the price.
        """
        return TierPrice(
            _EXACT.multiply(self.input, factor),
            _EXACT.multiply(self.output, factor),
            None if self.cached is None else _EXACT.multiply(self.cached, factor),
            None if self.cache_write is None else _EXACT.multiply(self.cache_write, factor),
        )

    def cost(self, usage: Usage) -> Decimal:
        """Return the exact cost of tokens, in USD.

        Tokens that were read from a cache or written to it cost as much as other prompt tokens if
        they have no price of their own. For tokens that were read this is never too low.

        Args:
            usage: the tokens of one call.
        """
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        per_million = _EXACT.multiply(self.input, usage.input_tokens - cached - written)
        if cached:
            price = self.input if self.cached is None else self.cached
            per_million = _EXACT.fma(price, cached, per_million)
        if written:
            price = self.input if self.cache_write is None else self.cache_write
            per_million = _EXACT.fma(price, written, per_million)
        per_million = _EXACT.fma(self.output, usage.output_tokens, per_million)
        return _EXACT.scaleb(per_million, -6)  # exact; a division could round


_EXACT = Context(prec=1000, traps=[Inexact])

# Names of the tier of a call that requests none: Anthropic's "standard", Groq's "on_demand".
_USUAL = frozenset({"", "auto", "default", "standard", "on_demand"})


def tier_named(name: str) -> str:
    """Return the name of a service tier in price files.

    "auto", "standard" and no name mean "default"; "fast" is OpenAI's name of "priority" since July
    2026.
    """
    if name in _USUAL:
        return "default"
    return "priority" if name == "fast" else name


def _tiers(tiers: Mapping[str, TierPrice]) -> Mapping[str, TierPrice]:
    return MappingProxyType(dict(tiers))


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
        tiers: the prices at other service tiers, by name: "flex", "priority", "batch".

    Raises:
        TypeError: a price is not a Decimal.
        ValueError: a price is negative or not finite.
    """

    input: Decimal = attrs.field(validator=_usd)
    output: Decimal = attrs.field(validator=_usd)
    cached: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    batch_input: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    batch_output: Decimal | None = attrs.field(default=None, validator=optional(_usd))
    note: str | None = attrs.field(default=None, kw_only=True, validator=optional(instance_of(str)))
    cache_write: Decimal | None = attrs.field(default=None, kw_only=True, validator=optional(_usd))
    tiers: Mapping[str, TierPrice] = attrs.field(
        factory=dict[str, TierPrice],
        kw_only=True,
        converter=_tiers,
        validator=deep_mapping(instance_of(str), instance_of(TierPrice)),
        hash=False,
    )

    def at(self, tier: str = "default") -> TierPrice | None:
        """Return the prices at a service tier; None if they are not known.

        Args:
            tier: name of the service tier; see `tier_named`.
        """
        tier = tier_named(tier)
        if tier == "default":
            return TierPrice(self.input, self.output, self.cached, self.cache_write)
        if tier == "batch" and tier not in self.tiers:
            if self.batch_input is None or self.batch_output is None:
                return None
            return TierPrice(self.batch_input, self.batch_output)
        return self.tiers.get(tier)


# Names of a model's own vendor, which gateways put before the model. Another host ("groq",
# "openrouter") has prices of its own, so that its prefix belongs to the name.
_VENDORS = frozenset({"openai", "anthropic", "google", "gemini", "models"})

_MONTH, _DAY = r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
_DATED = re.compile(rf"(?P<model>.+)-(\d{{4}}-{_MONTH}-{_DAY}|\d{{4}}{_MONTH}{_DAY}|\d{{4}})")


def _read_only(models: Mapping[str, Price]) -> Mapping[str, Price]:
    return MappingProxyType(dict(models))


def _count(models: Mapping[str, Price]) -> str:
    return f"<{len(models)} models>"


@attrs.frozen
class PriceBook:
    """The prices of models, by name.

    Args:
        models: the prices of each model, by the provider's name of the model.
        as_of: the date of the prices, as a text.
        source: the source of the prices, as a text.
    """

    models: Mapping[str, Price] = attrs.field(
        converter=_read_only,
        validator=deep_mapping(instance_of(str), instance_of(Price)),
        repr=_count,
    )
    as_of: str = ""
    source: str = ""

    @classmethod
    def load(cls, path: str | PathLike[str], base: "PriceBook | None" = None) -> "PriceBook":
        """Read a price file.

        It is a JSON object. `models` maps each name to an object with `input` and `output`, and
        optionally `cached`, `cache_write`, `batch_input`, `batch_output` (USD per million tokens),
        `tiers` and `note`. `as_of` and `source` are optional texts. `tiers` maps "flex", "priority"
        or "batch" to an object of prices, or to a factor for all prices of the model.

        Args:
            path: path of the file.
            base: prices of models that the file does not contain; None for no others.

        Raises:
            PriceError: the file cannot be read or is invalid; names file, model and field.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
            document: object = json.loads(
                text,
                parse_float=Decimal,
                parse_int=Decimal,
                parse_constant=_refuse_constant,
                object_pairs_hook=_unique,
            )
        except json.JSONDecodeError as error:
            raise PriceError(f"{path}: is not JSON: {error.msg} (line {error.lineno})") from None
        except UnicodeDecodeError as error:
            raise PriceError(f"{path}: is not UTF-8 (byte {error.start})") from None
        except OSError as error:
            raise PriceError(f"{path}: cannot be read: {error.strerror}") from None
        except RecursionError:
            raise PriceError(f"{path}: is nested too deeply for a price file") from None
        except ValueError as error:  # raised by the functions that the parser calls
            raise PriceError(f"{path}: {error}") from None
        return _book(document, str(path), base)

    def price(self, model: str) -> Price | None:
        """Return the prices of a model; None if they are not known.

        The name is looked up unchanged, then without the name of its own vendor ("openai/gpt-4o"),
        then without a date at its end ("gpt-4o-2024-08-06", "gpt-3.5-turbo-0125",
        "claude-opus-4-5-20251101"). No other names are equivalent: gpt-4o-mini is not gpt-4o.

        Args:
            model: the provider's name of the model.
        """
        return next((self.models[name] for name in _names(model) if name in self.models), None)

    def cost(self, model: str, usage: Usage, tier: str = "default") -> Decimal | None:
        """Return the cost of a call in USD; None if the price at that tier is not known.

        Args:
            model: the provider's name of the model.
            usage: the tokens that the provider reports.
            tier: the service tier that the provider reports; see `tier_named`.
        """
        price = self.price(model)
        at_tier = None if price is None else price.at(tier)
        return None if at_tier is None else at_tier.cost(usage)


@functools.cache
def default_prices() -> PriceBook:
    """Return the published prices that Callsheet contains; `as_of` is their date."""
    return PriceBook.load(Path(__file__).parent / "prices.json")


def _names(model: str) -> Iterator[str]:
    """Yield the names by which a model may be listed, the most exact first."""
    plain = "/".join(part for part in model.split("/") if part not in _VENDORS)
    for name in dict.fromkeys((model, plain)):
        yield name
        dated = _DATED.fullmatch(name)
        if dated is not None:
            yield dated["model"]


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a price")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twice}" is repeated; remove one')
    return members


def _book(document: object, path: str, base: PriceBook | None) -> PriceBook:
    if not isinstance(document, dict):
        raise PriceError(f'{path}: must be a JSON object with "models"')
    members = cast("dict[str, object]", document)
    for key in members:
        if key not in ("as_of", "source", "models"):
            raise PriceError(
                f"{path}: field {key} is unknown; the fields are as_of, source, models"
            )
    models: object = members.get("models")
    if not isinstance(models, dict):
        raise PriceError(f"{path}: field models: must be an object of prices by model")
    prices = {
        name: _price(row, f"{path}: model {name}")
        for name, row in cast("dict[str, object]", models).items()
    }
    texts: dict[str, str] = {}
    for key in ("as_of", "source"):
        text = members.get(key, "" if base is None else getattr(base, key))
        if not isinstance(text, str):
            raise PriceError(f"{path}: field {key}: must be a text")
        texts[key] = text
    return PriceBook({**({} if base is None else base.models), **prices}, **texts)


def _price(row: object, place: str) -> Price:
    if not isinstance(row, dict):
        raise PriceError(f"{place}: must be an object with input and output")
    fields = dict(cast("dict[str, object]", row))
    tiers: object = fields.pop("tiers", {})
    note = fields.pop("note", None)
    if note is not None and not isinstance(note, str):
        raise PriceError(f"{place}, field note: must be a text")
    _check_prices(fields, place, attrs.fields_dict(Price))
    price = Price(**fields, note=note)  # type: ignore[arg-type]  # checked above, field by field
    if not isinstance(tiers, dict):
        raise PriceError(f"{place}, field tiers: must be an object of prices by tier")
    usual = TierPrice(price.input, price.output, price.cached, price.cache_write)
    found = {
        name: _tier(row, usual, f"{place}, tier {name}")
        for name, row in cast("dict[str, object]", tiers).items()
    }
    return attrs.evolve(price, tiers=found) if found else price


def _tier(value: object, usual: TierPrice, place: str) -> TierPrice:
    """Read the prices of a tier: an object of prices, or a factor for the usual ones."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        _check_prices(fields, place, attrs.fields_dict(TierPrice))
        return TierPrice(**fields)  # type: ignore[arg-type]  # checked above, field by field
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        raise PriceError(f"{place}: must be an object of prices, or a factor for the usual ones")
    return usual.times(value)


def _check_prices(fields: Mapping[str, object], place: str, known: Mapping[str, object]) -> None:
    for key, value in fields.items():
        if key not in known:
            raise PriceError(f"{place}, field {key}: is unknown; the fields are {', '.join(known)}")
        if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
            raise PriceError(
                f"{place}, field {key}: must be USD per million tokens, at least 0, not {value}"
            )
    for key in ("input", "output"):
        if key not in fields:
            raise PriceError(f"{place}, field {key}: is missing; write 0 for no cost")
