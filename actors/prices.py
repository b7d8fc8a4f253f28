"""What calls cost: published prices in a dated file, and exact arithmetic on them.

A model that is not listed has no price, which is not the same as costing nothing: its cost is
None, and whoever reports it says so.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, cast

import attrs
from attrs.validators import deep_mapping, instance_of, optional

from .messages import Usage

__all__ = ["Price", "PriceBook", "PriceError", "default_prices"]


class PriceError(ValueError):
    """A price file that cannot be used; its text names file, model and field."""


def _usd(_: object, field: "attrs.Attribute[Decimal]", value: Decimal) -> None:
    if not isinstance(value, Decimal):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"{field.name} must be a Decimal, not {value!r}")
    if not value.is_finite() or value < 0:
        raise ValueError(f"{field.name} must be a price of at least 0, not {value}")


@attrs.frozen
class Price:
    """What a model costs, in USD per million tokens.

    Args:
        input: for tokens of the prompt.
        output: for tokens of the answer.
        cached: for tokens of the prompt that the provider had cached; None if it gives no price.
        batch_input: as `input`, by the provider's Batch API; None if it gives no price.
        batch_output: as `output`, by the provider's Batch API; None if it gives no price.
        note: what a reader should know about the price.

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


# Names of a model's own vendor, which gateways put before it. Somebody else who hosts it ("groq",
# "openrouter") has prices of their own, so that those prefixes belong to the name.
_VENDORS = frozenset({"openai", "anthropic", "google", "gemini", "models"})

_MONTH, _DAY = r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
_DATED = re.compile(rf"(?P<model>.+)-(\d{{4}}-{_MONTH}-{_DAY}|\d{{4}}{_MONTH}{_DAY}|\d{{4}})")


def _read_only(models: Mapping[str, Price]) -> Mapping[str, Price]:
    return MappingProxyType(dict(models))


def _count(models: Mapping[str, Price]) -> str:
    return f"<{len(models)} models>"


@attrs.frozen
class PriceBook:
    """The prices of models by name.

    Args:
        models: the price of each model.
        as_of: the date of the prices.
        source: where they come from.
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
        """Read a file of prices.

        It is a JSON object: `models` maps each name to an object with `input` and `output`, and
        perhaps `cached`, `batch_input`, `batch_output` (USD per million tokens) and `note`;
        `as_of` and `source` are texts and may be left out.

        Args:
            path: the file.
            base: a book whose prices hold where the file has none.

        Raises:
            PriceError: the file cannot be read, or says something else; names file, model, field.
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
            raise PriceError(f"{path}: is nested too deeply to be a list of prices") from None
        except ValueError as error:  # from the two functions given to the parser
            raise PriceError(f"{path}: {error}") from None
        return _book(document, str(path), base)

    def price(self, model: str) -> Price | None:
        """The price of a model, None if it is not known.

        The name is looked up as it is; then without its own vendor's ("openai/gpt-4o"); then, if
        it ends in a date ("gpt-4o-2024-08-06", "gpt-3.5-turbo-0125", "claude-opus-4-5-20251101"),
        without that. No other name counts as alike: gpt-4o-mini is not gpt-4o.
        """
        return next((self.models[name] for name in _names(model) if name in self.models), None)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """What a call cost in USD, None if the model's price is not known.

        Cached tokens cost the cached price where there is one, and as much as others where not.
        """
        price = self.price(model)
        if price is None:
            return None
        cached = min(usage.cached_tokens, usage.input_tokens)
        cached_price = price.input if price.cached is None else price.cached
        per_million = (
            (usage.input_tokens - cached) * price.input
            + cached * cached_price
            + usage.output_tokens * price.output
        )
        return per_million.scaleb(-6)  # exact, where a division might round


@functools.cache
def default_prices() -> PriceBook:
    """The published prices that Callsheet brings along; `as_of` says of when."""
    return PriceBook.load(Path(__file__).parent / "data" / "prices.json")


def _names(model: str) -> Iterator[str]:
    """The names under which a model may be listed, the most exact first."""
    plain = "/".join(part for part in model.split("/") if part not in _VENDORS)
    for name in dict.fromkeys((model, plain)):
        yield name
        dated = _DATED.fullmatch(name)
        if dated is not None:
            yield dated["model"]


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no price")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twice}" is there twice; remove one')
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
    fields = cast("dict[str, object]", row)
    known = attrs.fields_dict(Price)
    for key, value in fields.items():
        if key not in known:
            raise PriceError(f"{place}, field {key}: is unknown; fields are {', '.join(known)}")
        if key == "note":
            if not isinstance(value, str):
                raise PriceError(f"{place}, field note: must be a text")
        elif not isinstance(value, Decimal) or not value.is_finite() or value < 0:
            raise PriceError(
                f"{place}, field {key}: must be USD per million tokens, at least 0, not {value}"
            )
    for key in ("input", "output"):
        if key not in fields:
            raise PriceError(f"{place}, field {key}: is missing; write 0 if it costs nothing")
    return Price(**fields)  # type: ignore[arg-type]  # checked above, field by field
