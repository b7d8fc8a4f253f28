"""What calls cost: the prices of models by vendor and name, in a dated table.

A model without a price has the cost None, which is not 0: reports show it as unknown (L13).
"""

import functools
import re
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from os import PathLike
from pathlib import Path
from types import MappingProxyType

import attrs

from ..responses import Usage
from ..validation import deep_mapping, instance_of
from .price import Price, utc
from .price_file import read_file, read_published

OLD_DAYS = 60
"""The age in days above which a table of prices is old: vendors change prices monthly."""

# A host without prices of its own is a gateway, and so may be one that speaks a maker's API: the
# makers' prices are taken. Their names of models do not overlap.
_MAKERS = ("openai", "anthropic", "gemini")
_SAME_PRICES = {"azure": ("azure", "openai")}  # Azure lists a part of OpenAI's models

# Prefixes of names that gateways put before the model, and the vendor that they mean.
_PREFIXES = {
    "google": "gemini",
    "models": "gemini",
    "x-ai": "xai",
    "mistralai": "mistral",
    "moonshotai": "moonshot",
}

_MAX_FOUND = 1000  # names of models that are remembered with their rows

_MONTH, _DAY = r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
_DATED = re.compile(rf"(?P<model>.+)-(\d{{4}}-{_MONTH}-{_DAY}|\d{{4}}{_MONTH}{_DAY}|\d{{4}})")


def _read_only(models: Mapping[str, Price]) -> Mapping[str, Price]:
    if isinstance(models, MappingProxyType):
        return models
    # The owner of a dict may change it later on; other mappings are the tables of this module.
    return MappingProxyType(dict(models) if isinstance(models, dict) else models)


def _count(models: Mapping[str, Price]) -> str:
    return f"<{len(models)} names>"


def _checked(
    book: "PriceBook", field: "attrs.Attribute[Mapping[str, Price]]", models: Mapping[str, Price]
) -> None:
    if not book.is_checked:
        deep_mapping(instance_of(str), instance_of(Price))(book, field, models)


@attrs.frozen
class PriceBook:
    """The prices of models, by name.

    A name in the table is the vendor's name of the model, such as "my-model". It may have the name
    of a vendor and a colon in front, such as "groq:llama-3.1-8b-instant", and is the price at that
    vendor only then. A ``*`` after its last hyphen stands for any date: ``claude-opus-4-5-*``.

    Args:
        models: the prices of each model, by name.
        as_of: the date of the prices, as a text.
        source: the source of the prices, as a text.
        vendor: the name of the vendor whose prices apply; "" for the makers of the models.
        is_checked: whether the prices were checked when they were read or built.
        clock: Unix time in seconds, which decides whether a change of prices has happened.
    """

    models: Mapping[str, Price] = attrs.field(converter=_read_only, validator=_checked, repr=_count)
    as_of: str = ""
    source: str = ""
    vendor: str = attrs.field(default="", kw_only=True)
    is_checked: bool = attrs.field(default=False, kw_only=True, repr=False)
    clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True, repr=False, eq=False)
    _found: dict[str, Price | None] = attrs.field(  # {model: its row}, of the last look-ups
        factory=dict[str, Price | None], init=False, repr=False, eq=False
    )
    _views: dict[str, "PriceBook"] = attrs.field(  # {vendor: this book there}
        factory=dict[str, "PriceBook"], init=False, repr=False, eq=False
    )

    @classmethod
    def load(cls, path: str | PathLike[str], base: "PriceBook | None" = None) -> "PriceBook":
        """Read a price file.

        It is a JSON object. `models` maps each name to an object with `input` and `output` (USD
        per million tokens), and more that docs/costs.md lists. `as_of` and `source` are optional
        texts.

        Args:
            path: path of the file.
            base: prices of models that the file does not contain; None for no others.

        Raises:
            PriceError: the file cannot be read or is invalid; names file, model and field.
        """
        file = read_file(path)
        if base is None:
            return cls(file.models, file.as_of or "", file.source or "")
        return attrs.evolve(
            base,
            models=ChainMap(dict(file.models), base.models),  # type: ignore[arg-type]  # read only
            as_of=base.as_of if file.as_of is None else file.as_of,
            source=base.source if file.source is None else file.source,
            is_checked=True,
        )

    def at_vendor(self, vendor: str) -> "PriceBook":
        """Return the same prices for another vendor.

        Args:
            vendor: the name of the vendor, as in `VENDORS`.
        """
        if vendor == self.vendor:
            return self
        view = self._views.get(vendor)
        if view is None:
            view = self._views[vendor] = attrs.evolve(self, vendor=vendor)
        return view

    def age_days(self) -> int | None:
        """Return the age of the table in days; None if `as_of` is not a day."""
        try:
            return (utc(self.clock()).date() - date.fromisoformat(self.as_of)).days
        except ValueError:
            return None

    def price(self, model: str) -> Price | None:
        """Return the prices of a model that apply now; None if they are not known.

        The name is looked up unchanged, then at the vendor, then without the name of its own vendor
        in front ("openai/gpt-4o"). A name that ends with a date has the price of its own only: it
        is listed, or its model is listed for every date. No other names are equivalent: gpt-4o-mini
        is not gpt-4o.

        Args:
            model: the provider's name of the model.
        """
        return self._now(self._listed(model))

    def price_of_answer(self, answered: str, asked: str) -> Price | None:
        """Return the prices of the model that answered; None if they are not known (L13).

        A request for "gpt-4o" is answered by what that name stands for, such as
        "gpt-4o-2024-08-06", and is charged at the price of "gpt-4o" if the date is not listed.
        The price of the requested model is not taken for any other model.

        Args:
            answered: the model that the provider reports.
            asked: the model that was requested.
        """
        if answered != asked and _is_snapshot(answered, asked):
            own = next((self.models[it] for it in (answered, asked) if it in self.models), None)
            return self._now(own or self._listed(answered) or self._listed(asked))
        return self.price(answered)

    def cost(
        self, model: str, usage: Usage, tier: str = "default", *, asked: str | None = None
    ) -> Decimal | None:
        """Return the cost of a call in USD; None if the price at that tier is not known.

        Args:
            model: the provider's name of the model.
            usage: the tokens that the provider reports.
            tier: the service tier that the provider reports; see `tier_named`.
            asked: the model that was requested, if `model` is the one that answered.
        """
        price = self.price(model) if asked is None else self.price_of_answer(model, asked)
        at_tier = None if price is None else price.at(tier)
        return None if at_tier is None else at_tier.cost(usage)

    def _now(self, price: Price | None) -> Price | None:
        if price is None or not (price.changes or price.peak):
            return price
        return price.on(utc(self.clock()))

    def _listed(self, model: str) -> Price | None:
        try:
            return self._found[model]
        except KeyError:
            if len(self._found) >= _MAX_FOUND:
                self._found.clear()
            price = self._found[model] = self._look_up(model)
            return price

    def _look_up(self, model: str) -> Price | None:
        models = self.models
        for name in self._names(model):
            if name in models:
                return models[name]
            dated = _DATED.fullmatch(name)
            if dated is not None and (every := f"{dated['model']}-*") in models:
                return models[every]
        return None

    def _names(self, model: str) -> Iterator[str]:
        """Yield the names by which a model may be listed, the most exact first."""
        yield model
        for vendor in _SAME_PRICES.get(self.vendor, (self.vendor,)) if self.vendor else ():
            yield f"{vendor}:{model}"
            yield f"{vendor}:{model.lower()}"
        prefix, slash, rest = model.partition("/")
        vendor = _PREFIXES.get(prefix, prefix)
        if slash and vendor == (self.vendor or vendor):
            yield f"{vendor}:{rest}"
            if vendor in _MAKERS:
                yield rest
        if not slash and (not self.vendor or self.vendor in _MAKERS):
            for maker in _MAKERS:
                yield f"{maker}:{model}"


def _is_snapshot(answered: str, asked: str) -> bool:
    """Return whether a name is another one with a date behind it."""
    dated = _DATED.fullmatch(answered.rpartition("/")[2])
    return dated is not None and dated["model"] == asked.rpartition("/")[2]


@functools.cache
def default_prices() -> PriceBook:
    """Return the published prices that Callsheet contains; `as_of` is their date."""
    file = read_published(Path(__file__).parent.parent / "data" / "prices.json")
    return PriceBook(file.models, file.as_of or "", file.source or "", is_checked=True)
