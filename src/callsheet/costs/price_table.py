"""The prices that the command line uses: which table it is, and what is in it."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import attrs
import platformdirs
from rich import box
from rich.table import Table
from rich.text import Text

from ..actors import OLD_DAYS, Price, PriceBook, PriceError, TierPrice, default_prices
from ..wording import usd_text

PRICES_VARIABLE = "CALLSHEET_PRICES"
"""The environment variable that names the file of `updated_table`."""

_TIERS = ("default", "batch", "flex", "priority", "fast_mode")
_COLUMNS = ("input", "cached", "cache_write", "cache_write_1h", "output")


def updated_table(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file that `callsheet prices --update` writes; it may not exist.

    Args:
        environment: the environment variables of the process.
    """
    named = environment.get(PRICES_VARIABLE)
    if named:
        return Path(named).expanduser()
    return platformdirs.user_data_path("callsheet") / "prices.json"


def current_prices(environment: Mapping[str, str] = os.environ) -> PriceBook:
    """Return the published prices: those of this release, or of a newer table.

    Args:
        environment: the environment variables of the process.

    Raises:
        PriceError: the newer table cannot be read; the text says what to do.
    """
    path, built_in = updated_table(environment), default_prices()
    if not path.exists():
        return built_in
    try:
        updated = PriceBook.load(path)
    except PriceError as error:
        raise PriceError(
            f"{error}; remove the file, or replace it with callsheet prices --update FILE"
        ) from None
    return updated if updated.as_of > built_in.as_of else built_in


def update_table(file: Path, environment: Mapping[str, str] = os.environ) -> PriceBook:
    """Use a newer table from now on, and return it.

    Args:
        file: a price file with `as_of`, such as the table of a later release.
        environment: the environment variables of the process.

    Raises:
        PriceError: the file is invalid, has no day, or is not newer than the table in use.
        OSError: the table cannot be written.
    """
    book, current = PriceBook.load(file), default_prices()
    target = updated_table(environment)
    if book.age_days() is None:
        raise PriceError(f"{file}: field as_of: must be a day such as 2026-11-30")
    if target.exists():
        try:
            current = current_prices(environment)
        except PriceError:  # it is replaced
            current = default_prices()
    if book.as_of <= current.as_of:
        raise PriceError(f"{file}: is of {book.as_of}; the table in use is of {current.as_of}")
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        new.write_bytes(file.read_bytes())
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return book


def remark_on_age(book: PriceBook) -> str | None:
    """Return a remark on a table of prices that is old; None for a newer one.

    Args:
        book: the table to use.
    """
    age = book.age_days()
    if age is None or age <= OLD_DAYS:
        return None
    return (
        f"The prices are of {book.as_of}, {age} days ago. A newer release of Callsheet has newer "
        "ones, and callsheet prices --update FILE takes its table."
    )


def remark_on_no_table(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return a remark if the variable names a file that does not exist; else None.

    That is no error: the variable may name where `callsheet prices --update` will write.

    Args:
        environment: the environment variables of the process.
    """
    path = updated_table(environment)
    if not environment.get(PRICES_VARIABLE) or path.exists():
        return None
    return (
        f"{PRICES_VARIABLE} names {path}, which does not exist, so the prices are those of this "
        "release. Correct the variable, or write the file with callsheet prices --update FILE."
    )


@attrs.frozen
class PriceRow:
    """The prices of one model at one tier, for one size of prompts and one time.

    Args:
        model: the vendor and its name of the model.
        when: the tier and condition, such as "batch, above 272,000"; "" for the usual prices.
        prices: the prices in USD per million tokens.
        note: a remark on the model; on its first row only.
    """

    model: str
    when: str
    prices: TierPrice
    note: str = ""


def price_rows(book: PriceBook, wanted: str = "", vendor: str = "") -> Iterator[PriceRow]:
    """Yield the prices of models.

    Args:
        book: the table to use.
        wanted: the name of a model, or a part of names; "" for all models. A part counts only if
            no model has that name.
        vendor: the vendor of the models; "" for all vendors.
    """
    found: dict[int, tuple[str, Price, list[str]]] = {}
    for name, price in book.models.items():
        if not vendor or name.startswith(f"{vendor}:"):
            found.setdefault(id(price), (name, price, []))[2].append(name)
    wanted = wanted.lower()
    exact = [it for it in found.values() if any(_is_named(name, wanted) for name in it[2])]
    some = [it for it in found.values() if any(wanted in name.lower() for name in it[2])]
    for name, price, _ in sorted(exact or some, key=lambda it: it[0]):
        yield from _rows(name, price)


def _is_named(name: str, wanted: str) -> bool:
    _, _, model = name.lower().partition(":")
    return wanted in (name.lower(), model, model.rpartition("/")[2])


def _rows(name: str, price: Price, when: str = "") -> Iterator[PriceRow]:
    note = "; ".join(
        it for it in (price.note, price.shut_down and f"shut down {price.shut_down}") if it
    )
    for tier in _TIERS:
        prices = price.at(tier)
        if prices is None:
            continue
        first = ", ".join(part for part in ("" if tier == "default" else tier, when) if part)
        yield PriceRow(name, first, prices, note)
        note = ""
        for size, dearer in prices.above:
            above = f"above {size:,}"
            yield PriceRow(name, f"{first}, {above}" if first else above, dearer)
    if price.peak is not None:
        hours, peak = price.peak
        spans = " and ".join(f"{start:%H:%M}-{end:%H:%M}" for start, end in hours.spans)
        yield from _rows(name, peak, f"{spans} UTC{', Mon-Fri' if hours.weekdays_only else ''}")
    for day, later in price.changes:
        yield from _rows(name, later, f"from {day}")


def prices_table(rows: Iterable[PriceRow]) -> Table:
    """Return the prices as a table for a terminal.

    Args:
        rows: the prices to show.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    table.add_column("tier", overflow="fold")
    for name in ("input", "cached", "cache\nwrite", "write\n1 h", "output"):
        table.add_column(name, justify="right")
    table.add_column("note", overflow="fold")
    last = ""
    for row in rows:
        cells = (_digits(getattr(row.prices, name)) or "-" for name in _COLUMNS)
        model = Text("" if row.model == last else row.model)  # '[...]' in a str is markup
        table.add_row(model, row.when, *cells, Text(row.note))
        last = row.model
    return table


def prices_csv(rows: Iterable[PriceRow]) -> str:
    """Return the prices as CSV.

    Args:
        rows: the prices to write.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "tier", *_COLUMNS, "note"))
    for row in rows:
        cells = (_digits(getattr(row.prices, name)) for name in _COLUMNS)
        writer.writerow((row.model, row.when, *cells, row.note))
    return text.getvalue()


@attrs.frozen(kw_only=True)
class ListedPrice:
    """The prices of a model in one case, in USD per million tokens; null if not published.

    Args:
        model: the name of the model.
        tier: the tier, and the size of the prompt or the day from which the prices apply.
        input: the price of tokens of a prompt.
        cached: the price of tokens of a prompt that are read from the provider's cache.
        cache_write: the price of tokens of a prompt that are written to the cache.
        cache_write_1h: the price of those that are kept there for an hour.
        output: the price of tokens of a response.
        note: what else is to be known of these prices; "" for nothing.
    """

    model: str
    tier: str
    input: str | None
    cached: str | None
    cache_write: str | None
    cache_write_1h: str | None
    output: str | None
    note: str


@attrs.frozen(kw_only=True)
class PriceList:
    """What `callsheet prices --format json` writes. Prices are texts with all their digits.

    Args:
        as_of: the day of the table that the prices are from, such as "2026-11-30".
        source: where the table is from.
        prices: the prices by model, and by tier, size of prompts and time.
    """

    as_of: str
    source: str
    prices: Sequence[ListedPrice]


def prices_json(rows: Iterable[PriceRow], book: PriceBook) -> str:
    """Return the prices as a JSON object, a `PriceList`.

    Args:
        rows: the prices to write.
        book: the table that they are from.
    """
    found = [
        ListedPrice(
            model=row.model,
            tier=row.when,
            input=_text(row.prices.input),
            cached=_text(row.prices.cached),
            cache_write=_text(row.prices.cache_write),
            cache_write_1h=_text(row.prices.cache_write_1h),
            output=_text(row.prices.output),
            note=row.note,
        )
        for row in rows
    ]
    document = PriceList(as_of=book.as_of, source=book.source, prices=found)
    return json.dumps(attrs.asdict(document), indent=2)


def _text(price: Decimal | None) -> str | None:
    return None if price is None else usd_text(price)


def _digits(price: Decimal | None) -> str:
    return _text(price) or ""
