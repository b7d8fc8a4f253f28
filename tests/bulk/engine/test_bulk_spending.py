"""The account of a run knows the most that one request can cost, whatever the order of rows."""

from decimal import Decimal
from itertools import permutations

import pytest

from callsheet.actors import CostBound, Request, default_prices
from callsheet.bulk.spending import RunSpend, Spending
from callsheet.bulk.unpriced import UnpricedTokens

_BOUND = CostBound(default_prices())
_REQUESTS = (
    Request.of("short", model="gpt-4o-mini", max_tokens=9_000),
    Request.of("longer than that" * 40, model="gpt-4o-mini", max_tokens=40),
    Request.of("dear", model="gpt-4o", max_tokens=50),
    Request.of("fast", model="gpt-4o-mini", extra_body={"service_tier": "priority"}),
    Request.of("a model without a price", model="of-a-basement", max_tokens=70),
    Request.of("longer" * 9, model="of-a-basement", max_tokens=7),
)


@pytest.mark.parametrize("order", [*permutations(range(len(_REQUESTS)), 4)][::7])
def test_the_dearest_request_counts_in_any_order(order):
    """A request is priced unless one like it with as many tokens was."""
    spending = Spending(RunSpend(), _BOUND)
    requests = [_REQUESTS[at] for at in order for _ in range(2)]
    for request in requests:
        spending.admit(request)

    found = spending.so_far(sent=0, ended=0)
    known = [usd for one in requests if (usd := _BOUND.of(one, None)[1]) is not None]
    unpriced = UnpricedTokens()
    for one in requests:
        usage, usd = _BOUND.of(one, None)
        if usd is None:
            unpriced = unpriced.most(UnpricedTokens({(one.model, "default"): usage}))
    assert found.each_usd == max(known, default=Decimal(0))
    assert found.each_unpriced == unpriced
