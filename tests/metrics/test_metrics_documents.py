"""The table in docs/observability.md has every metric, and no other."""

import re
from pathlib import Path

import pytest

from callsheet.metrics import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def row(family):
    """Return the row of the table for a metric."""
    name = f"{family.name}_info" if family.kind == "info" else family.exported_name
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    return f"| `{name}` | {family.kind} | {labels} | {family.help} |"


def test_the_table_of_metrics_has_each_one_and_no_other():
    rows = re.findall(r"^\| `callsheet_.*\|$", PAGE.read_text(), re.MULTILINE)
    expected = [row(family) for family in FAMILIES.values()]
    assert rows == expected, "the table should be:\n" + "\n".join(expected)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_name_follows_the_conventions(family):
    """See https://prometheus.io/docs/practices/naming: a prefix, base units, no labels in it."""
    name = family.name
    assert re.fullmatch(r"callsheet(_[a-z]+)+", name)
    assert not name.endswith(("_total", "_info", "_count", "_sum", "_bucket", "_created"))
    assert not set(name.split("_")) & {"ms", "usd", "percent", "kb", "milliseconds", "minutes"}
    assert not set(family.labels) & set(name.split("_")), "the label would be named twice"
    assert (family.kind == "histogram") == bool(family.buckets)
    assert list(family.buckets) == sorted(set(family.buckets))
    assert family.help.endswith(".")
