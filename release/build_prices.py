"""Build `actors/data/prices.json` from the package genai-prices and `price_corrections.json`.

    uv run --no-project --with genai-prices==0.2.3 python release/build_prices.py --as-of 2026-11-10

`--as-of` is the day on which the authors of the package last checked a vendor's page; their
comments name it. docs/costs.md says when to run this. Nothing of the package is needed at run time:
the table is data, with the package's licence beside it.

A model is left out, so that its price is unknown, where its tokens alone do not decide its cost: it
charges for each request, its output is dearer as image, sound, video or reasoning, or the package
has no price of its output.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

_HERE = Path(__file__).resolve().parent
_TABLE = _HERE.parent / "actors" / "data" / "prices.json"

# {id of a provider in the package: name of the vendor in actors/vendors/catalog.py}
_VENDORS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "moonshotai": "moonshot",
    "openai": "openai",
    "openrouter": "openrouter",
    "together": "together",
    "x-ai": "xai",
}
_OURS_ONLY = {"gemini": ("gemini", "gemma")}  # Google also lists what its cloud resells
_NOT_SOLD = ("openai:gpt-oss",)  # open weights, which other hosts serve at prices of their own

_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
}
_NOT_BY_TOKENS = {
    "output_audio_mtok",
    "output_image_mtok",
    "output_video_mtok",
    "output_reasoning_mtok",
    "output_citation_mtok",
    "requests_kcount",
}
_TIERS: Mapping[str, Mapping[str, str]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast_mode": {"speed": "fast"},
}
_DATES = ("20260101", "2026-01-01")  # any date: whether a name covers dated ones is tried with it

Row = dict[str, Any]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--as-of", required=True, type=date.fromisoformat, metavar="YYYY-MM-DD")
    as_of: date = parser.parse_args().as_of
    corrections = json.loads((_HERE / "price_corrections.json").read_text(), parse_float=Decimal)
    rows: dict[str, Row] = {}
    for provider in providers:
        if vendor := _VENDORS.get(provider.id):
            rows |= dict(_rows(provider, vendor, as_of))
    for name, row in corrections["models"].items():
        rows[name] = row
    for day, names in corrections["shut_down"].items():
        for name in names:
            rows[name]["shut_down"] = day
    for name in corrections["peak_on_weekdays_only"]:
        rows[name]["peak"]["weekdays_only"] = True
    source = f"genai-prices {version('genai-prices')} (MIT), with corrections of Callsheet's"
    _TABLE.write_text(_table(rows, as_of, source))
    sys.stderr.write(f"{_TABLE.name}: {len(rows)} models, {_TABLE.stat().st_size:,} bytes\n")


def _rows(provider: Provider, vendor: str, as_of: date) -> Iterator[tuple[str, Row]]:
    """Yield name and row of each model of a vendor that tokens alone price."""
    for model in provider.models:
        name = model.id.lower()
        if not name.startswith(_OURS_ONLY.get(vendor, ("",))):
            continue
        if f"{vendor}:{name}".startswith(_NOT_SOLD):
            continue
        row = _row(model, as_of)
        if row is None:
            continue
        names = _names(provider, model)
        if not names:
            continue  # known by the beginning of its name only, as fine-tuned models are
        name = name if name in names else min(names)
        if others := sorted(names - {name}):
            row = {"names": [f"{vendor}:{other}" for other in others], **row}
        yield f"{vendor}:{name}", row


def _row(model: ModelInfo, as_of: date) -> Row | None:
    """Return the prices of a model, with those of later days; None if tokens do not decide them."""
    row = _prices_at(model, as_of)
    if row is None:
        return None
    later: Row = {}
    for day in sorted(day for day in _days(model) if day > as_of):
        changed = _prices_at(model, day)
        if changed is None:
            return None
        if changed != ({**row, **later[max(later)]} if later else row):
            later[day.isoformat()] = changed
    return {**row, "from": later} if later else row


def _prices_at(model: ModelInfo, day: date) -> Row | None:
    quiet, loud = _hours(model)
    row = _with_tiers(model, datetime.combine(day, quiet, UTC))
    if row is not None and loud:
        peak = _with_tiers(model, datetime.combine(day, loud[0][0], UTC))
        hours = [f"{start:%H:%M}-{end:%H:%M}" for start, end in loud]
        if peak is not None and peak != row:
            row["peak"] = {"hours": hours, **peak}
    return row


def _with_tiers(model: ModelInfo, moment: datetime) -> Row | None:
    standard = model.get_prices(moment)
    priced = {key for key, value in standard.__dict__.items() if value is not None}
    if "input_mtok" not in priced or priced & _NOT_BY_TOKENS:
        return None
    if "output_mtok" not in priced and "embed" not in model.id:
        return None  # unknown, not free
    row = _prices(standard)
    tiers: Row = {}
    for tier, when in _TIERS.items():
        if not any(
            variant.when == when and (not variant.constraint or variant.constraint.active(moment))
            for variant in model.price_variants or ()
        ):
            continue
        tiers[tier] = _as_factor(_prices(model.get_prices(moment, dict(when))), row)
    return {**row, "tiers": tiers} if tiers else row


def _prices(prices: ModelPrice) -> Row:
    values = {ours: getattr(prices, theirs) for theirs, ours in _KEYS.items()}
    values["output"] = values["output"] or Decimal(0)  # embeddings have no output
    row: Row = {
        name: value.base if isinstance(value, TieredPrices) else value
        for name, value in values.items()
        if value is not None
    }
    sizes = sorted(
        {tier.start for it in values.values() if isinstance(it, TieredPrices) for tier in it.tiers}
    )
    if sizes:
        row["above"] = {
            str(size): {
                name: _at_size(value, size) for name, value in values.items() if value is not None
            }
            for size in sizes
        }
    return row


def _at_size(value: Decimal | TieredPrices, size: int) -> Decimal:
    if not isinstance(value, TieredPrices):
        return value
    return next((it.price for it in reversed(value.tiers) if it.start <= size), value.base)


def _as_factor(tier: Row, usual: Row) -> Row | Decimal:
    """Return a tier as a factor of the usual prices where that is what it is."""
    if not usual["input"]:
        return tier
    factor = tier["input"] / usual["input"]
    return factor if tier == _times(usual, factor) else tier


def _times(row: Row, factor: Decimal) -> Row:
    return {
        name: _times(value, factor) if isinstance(value, dict) else value * factor
        for name, value in row.items()
    }


def _days(model: ModelInfo) -> set[date]:
    """Return the days on which prices of a model change."""
    conditional = model.prices if isinstance(model.prices, list) else ()
    constraints = [it.constraint for it in (*conditional, *(model.price_variants or ()))]
    return {it.start_date for it in constraints if isinstance(it, StartDateConstraint)}


def _hours(model: ModelInfo) -> tuple[time, list[tuple[time, time]]]:
    """Return a time of the usual prices, and the spans of other prices."""
    if not isinstance(model.prices, list):
        return time(12), []
    spans = sorted(
        (it.constraint.start_time.replace(tzinfo=None), it.constraint.end_time.replace(tzinfo=None))
        for it in model.prices
        if isinstance(it.constraint, TimeOfDateConstraint)
    )
    if any(one[1] > other[0] for one, other in pairwise(spans)):
        raise SystemExit(f"{model.id}: spans of hours overlap")
    return (spans[-1][1] if spans else time(12)), spans


def _names(provider: Provider, model: ModelInfo) -> set[str]:
    """Return the names of a model. "NAME-*" stands for the name with any date behind it."""
    found: set[str] = set()
    for name in {model.id.lower(), *_exact(model.match)}:
        if provider.find_model(name) is model:
            found.add(name)
        if all(provider.find_model(f"{name}-{day}") is model for day in _DATES):
            found.add(f"{name}-*")
    return found


def _exact(clause: Any) -> Iterator[str]:  # noqa: ANN401  # the package's union of clauses
    for name in ("equals", "starts_with"):
        if text := getattr(clause, name, ""):
            yield text.lower().rstrip("-@")
    for name in ("or_", "and_"):
        for inner in getattr(clause, name, ()):
            yield from _exact(inner)


def _table(rows: Mapping[str, Row], as_of: date, source: str) -> str:
    """Return the JSON text: one line for each model, so that a new table shows what changed."""
    lines = ",\n".join(f"{json.dumps(name)}: {_json(row)}" for name, row in sorted(rows.items()))
    head = f'"as_of": "{as_of}",\n"source": {json.dumps(source)},\n"models": {{\n'
    return f"{{\n{head}{lines}\n}}\n}}\n"


def _json(value: Any) -> str:  # noqa: ANN401  # any JSON, with Decimals
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {_json(member)}" for name, member in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return json.dumps(value)


if __name__ == "__main__":
    main()
