"""The estimate of a run: what its rows cost."""

from decimal import Decimal

from callsheet.actors import Usage, default_prices
from callsheet.bulk.forecast import ModelForecast


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
