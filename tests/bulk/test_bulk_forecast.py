"""The estimate of a run: what its rows cost."""

from decimal import Decimal

import pytest

from callsheet.actors import Request, Usage, default_prices
from callsheet.bulk.files.known import open_known
from callsheet.bulk.forecast import ModelForecast, forecast
from callsheet.bulk.row import Row
from callsheet.compare.samples import INSTRUCTION


def test_rows_are_priced_one_by_one():
    """The price of long prompts is for a long prompt, not for many short ones."""
    model = ModelForecast.of(default_prices().price("gpt-5.6-sol"))
    for _ in range(1000):
        model.add(Usage(1000, 0))
    assert (model.rows, model.usage.input_tokens) == (1000, 10**6)
    assert (model.live_usd, model.batch_usd) == (4, 2)
    model.add(Usage(300_000, 0))
    assert model.live_usd == 4 + Decimal("0.3") * 8


def test_rows_of_a_model_without_a_price_have_no_cost():
    model = ModelForecast.of(None)
    model.add(Usage(1000, 0))
    assert (model.live_usd, model.batch_usd) == (None, None)


def rows_under(instruction, count):
    for number in range(count):
        request = Request.of(
            f"Review {number}: good.", system=instruction, model="gpt-5.4-nano", max_tokens=2
        )
        yield Row(
            number=number,
            custom_id=str(number),
            request=request,
            key=b"%d" % number,
            url="/v1/chat/completions",
        )


@pytest.mark.parametrize(
    ("instruction", "count", "least", "most"),
    [
        (INSTRUCTION, 1000, 0.1, 0.4),
        (INSTRUCTION, 1, 1.0, 1.0),
        ("Label it.", 1000, 1.0, 1.0),
    ],
)
def test_each_route_is_priced(tmp_path, instruction, count, least, most):
    """money.md 10: a dry run showed the price of live calls for packs."""
    with open_known(tmp_path / "none") as known:
        found = forecast(rows_under(instruction, count), default_prices(), known)
    live, pack, batch = (found.usd(route) for route in ("live", "pack", "batch"))
    assert least <= pack / live <= most
    assert batch == live / 2


def test_packs_are_formed_of_rows_that_a_pack_can_hold(tmp_path):
    """Rows of many instructions, in turn, and rows that must be alone."""
    many = [INSTRUCTION + str(number) for number in range(300)]
    rows = [row for turn in range(2) for text in many for row in rows_under(text, 1)]
    with open_known(tmp_path / "none") as known:
        found = forecast(rows, default_prices(), known)
    assert 0 < found.usd("pack") <= found.usd("live")
