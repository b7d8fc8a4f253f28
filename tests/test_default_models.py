"""No model that is shut down is a default, or is in a sample that a user may copy.

A shutdown that is announced counts too: samples are copied for years.
"""

import re
from pathlib import Path

import pytest

from callsheet.actors import VENDORS, default_prices, default_recipe
from callsheet.simulator.app import _SAMPLE_MODELS

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.*")),
    *sorted((ROOT / "actors" / "compose").glob("*.toml")),
]
NOT_SAMPLES = {"costs.md", "providers.md"}  # they tell of models that are shut down
MODEL = re.compile(r"\"((?:gpt-|o\d|claude-|gemini-|text-|davinci)[-a-z0-9.]*)\"")
PRICES = default_prices()


@pytest.mark.parametrize("model", [default_recipe().model, *_SAMPLE_MODELS])
def test_a_default_model_is_not_shut_down(model):
    price = PRICES.price(model)
    assert price is not None
    assert price.shut_down is None


@pytest.mark.parametrize(
    "vendor", [it for it in VENDORS.values() if it.model], ids=lambda it: it.name
)
def test_the_default_model_of_a_vendor_is_not_shut_down(vendor):
    price = PRICES.at_vendor(vendor.price_list).price(vendor.model)
    assert price is not None
    assert price.shut_down is None


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_sample_names_a_model_that_is_shut_down(path):
    named = set() if path.name in NOT_SAMPLES else set(MODEL.findall(path.read_text()))
    found = {name for name in named if (price := PRICES.price(name)) and price.shut_down}
    assert not found
