"""Price files: JSON objects of prices by model, checked field by field. docs/costs.md has the form.

The published table is read without these checks of every row at once: each row is read when its
model is asked for, because a program asks for a few of its thousand.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import NoReturn, cast, final

import attrs
import orjson

from ..money import AMOUNT, is_amount
from ..storage import why_not_read
from .price import PeakHours, Price, TierPrice


class PriceError(ValueError):
    """A price file is invalid; the text names file, model and field."""


@attrs.frozen
class PriceFile:
    """A price file that was read.

    Args:
        models: the prices by the names of models.
        as_of: the date of the prices; None if the file has none.
        source: where the prices are from; None if the file does not say.
    """

    models: Mapping[str, Price]
    as_of: str | None = None
    source: str | None = None


def read_file(path: str | PathLike[str]) -> PriceFile:
    """Read a price file and check all of it.

    Args:
        path: path of the file.

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
        raise PriceError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise PriceError(f"{path}: cannot be read: {why_not_read(error)}") from None
    except RecursionError:
        raise PriceError(f"{path}: is nested too deeply for a price file") from None
    except ArithmeticError:
        raise PriceError(f"{path}: has a number with too many digits in its exponent") from None
    except ValueError as error:  # raised by the functions that the parser calls
        raise PriceError(f"{path}: {error}") from None
    members, rows = _members(document, str(path))
    models = {name: read_row(row, f"{path}: model {name}") for name, row in rows.items()}
    by_name: dict[str, Price] = dict(models)
    for name, other in _other_names(rows, str(path)):
        if by_name.setdefault(other, models[name]) is not models[name]:
            raise PriceError(f"{path}: model {name}, field names: {other} is another model's name")
    return PriceFile(by_name, members.get("as_of"), members.get("source"))


def read_published(path: Path) -> PriceFile:
    """Read a table that was checked when it was built: its rows are read one by one, when needed.

    Args:
        path: path of the file.

    Raises:
        PriceError: it is not a price file.
    """
    members, rows = _members(orjson.loads(path.read_bytes()), str(path))
    return PriceFile(_LazyRows(rows, str(path)), members.get("as_of"), members.get("source"))


@final
class _LazyRows(Mapping[str, Price]):
    """Prices by the names of models; a row is read when its model is looked up."""

    def __init__(self, rows: Mapping[str, object], path: str) -> None:
        self._rows = rows
        self._path = path
        self._ids: dict[str, str] | None = None  # {name: id of the row}
        self._read: dict[str, Price] = {}  # {id of the row: its prices}

    def __getitem__(self, name: str) -> Price:
        row = self._by_name[name]
        price = self._read.get(row)
        if price is None:
            price = self._read[row] = read_row(self._rows[row], f"{self._path}: model {row}")
        return price

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def _by_name(self) -> dict[str, str]:
        if self._ids is None:
            self._ids = {name: name for name in self._rows}
            for row, name in _other_names(self._rows, self._path):
                self._ids.setdefault(name, row)
        return self._ids


def _other_names(rows: Mapping[str, object], path: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each row, and another name of its model."""
    for row, fields in rows.items():
        if isinstance(fields, dict) and "names" in fields:
            names = cast("dict[str, object]", fields)["names"]
            if not isinstance(names, list):
                raise PriceError(f"{path}: model {row}, field names: must be a list of names")
            for name in cast("list[object]", names):
                yield row, _text(name, f"{path}: model {row}, field names")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a price")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twice}" is repeated; remove one')
    return members


def _members(document: object, path: str) -> tuple[dict[str, str], Mapping[str, object]]:
    """Return the texts of a price file, and its rows by model."""
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
    texts: dict[str, str] = {}
    for key in ("as_of", "source"):
        text = members.get(key)
        if text is not None:
            if not isinstance(text, str):
                raise PriceError(f"{path}: field {key}: must be a text")
            texts[key] = text
    return texts, cast("dict[str, object]", models)


def read_row(row: object, place: str) -> Price:
    """Return the prices of one model.

    Args:
        row: the JSON object of the model.
        place: file and model, for the error.

    Raises:
        PriceError: a field is unknown, missing or not what it must be.
    """
    fields = _object(row, place, "must be an object with input and output")
    fields.pop("names", None)
    more: dict[str, object] = {}
    for name, read in _FIELDS.items():
        if name in fields:
            more[name] = read(fields.pop(name), f"{place}, field {name}")
    changes, peak = fields.pop("from", {}), fields.pop("peak", None)
    tiers: object = fields.pop("tiers", {})
    prices = _prices(fields, place, _PRICES, (*_PRICES, *_FIELDS, "from", "names", "peak", "tiers"))
    price = Price(**prices, **more)  # type: ignore[arg-type]  # checked, field by field
    usual = price.at()
    rows = _object(tiers, f"{place}, field tiers", "must be an object of prices by tier")
    found = {name: _tier(value, usual, f"{place}, tier {name}") for name, value in rows.items()}
    later = _object(changes, f"{place}, field from", "must be an object of prices by day")
    return attrs.evolve(
        price,
        tiers=found,
        changes=tuple(
            (_day(day, f"{place}, field from"), read_row(value, f"{place}, from {day}"))
            for day, value in sorted(later.items())
        ),
        peak=None if peak is None else _peak(peak, f"{place}, field peak"),
    )


_TIER_PRICES = ("input", "output", "cached", "cache_write", "cache_write_1h")
_PRICES = (*_TIER_PRICES, "batch_input", "batch_output")


_MOST_DIGITS = 18


def _object(value: object, place: str, wanted: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise PriceError(f"{place}: {wanted}")
    return dict(cast("dict[str, object]", value))


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise PriceError(f"{place}: must be a text")
    return value


def _day(value: object, place: str) -> date:
    try:
        return date.fromisoformat(_text(value, place))
    except ValueError:
        raise PriceError(f"{place}: must be a day such as 2026-12-31, not {value!r:.40}") from None


def _above(value: object, place: str) -> tuple[tuple[int, TierPrice], ...]:
    rows = _object(value, place, "must be an object of prices by the size of the prompt")
    if not all(size.isascii() and size.isdecimal() for size in rows):
        raise PriceError(f"{place}: the size of a prompt must be a whole number of tokens")
    if any(len(size) > _MOST_DIGITS for size in rows):
        raise PriceError(f"{place}: the size of a prompt must be below 10**{_MOST_DIGITS} tokens")
    by_size = {int(size): prices for size, prices in rows.items()}
    found: list[tuple[int, TierPrice]] = []
    for size in sorted(by_size):
        where = f"{place}, above {size}"
        fields = _object(by_size[size], where, "must be an object of prices")
        found.append((size, TierPrice(**_prices(fields, where, _TIER_PRICES))))  # type: ignore[arg-type]
    return tuple(found)


def _peak(value: object, place: str) -> tuple[PeakHours, Price]:
    """Read `{"hours": ["01:00-04:00"], "weekdays_only": true, "input": ...}`."""
    fields = _object(value, place, "must be an object with hours and prices")
    hours, weekdays_only = fields.pop("hours", None), fields.pop("weekdays_only", False)
    try:
        spans = tuple(
            (time.fromisoformat(start), time.fromisoformat(end))
            for start, _, end in (span.partition("-") for span in cast("list[str]", hours))
        )
    except (TypeError, ValueError, AttributeError):
        raise PriceError(f'{place}: hours must be a list such as ["01:00-04:00"]') from None
    if not isinstance(weekdays_only, bool):
        raise PriceError(f"{place}: weekdays_only must be true or false")
    return PeakHours(spans, weekdays_only), read_row(fields, place)


_FIELDS: Mapping[str, Callable[[object, str], object]] = {
    "note": _text,
    "shut_down": _day,
    "above": _above,
}


def _tier(value: object, usual: TierPrice | None, place: str) -> TierPrice:
    """Read the prices of a tier: an object of prices, or a factor for the usual ones."""
    if isinstance(value, dict):
        fields = dict(cast("dict[str, object]", value))
        above = _above(fields.pop("above", {}), f"{place}, field above")
        return TierPrice(**_prices(fields, place, _TIER_PRICES), above=above)
    factor = _number(value)
    if factor is None or usual is None:
        raise PriceError(f"{place}: must be an object of prices, or a factor for the usual ones")
    try:
        return usual.times(factor)
    except ValueError as error:
        raise PriceError(f"{place}: times the usual price: {error}") from None


def _prices(
    fields: Mapping[str, object], place: str, known: tuple[str, ...], listed: tuple[str, ...] = ()
) -> dict[str, Decimal]:
    """Return the prices of an object that has no other fields."""
    found: dict[str, Decimal] = {}
    for key, value in fields.items():
        if key not in known:
            names = ", ".join(listed or known)
            raise PriceError(f"{place}, field {key}: is unknown; the fields are {names}")
        number = _number(value)
        if number is None:
            raise PriceError(
                f"{place}, field {key}: must be USD per million tokens, {AMOUNT}, not {value!s:.40}"
            )
        found[key] = number
    for key in ("input", "output"):
        if key not in found:
            raise PriceError(f"{place}, field {key}: is missing; write 0 for no cost")
    return found


def _number(value: object) -> Decimal | None:
    """Return a possible price; None for any other value. A float is taken by its digits."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float):
        return None
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    return number if is_amount(number) else None
