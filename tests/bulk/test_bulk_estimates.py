"""What a dry run estimates is what the built-in provider then bills (L12)."""

from functools import partial
from random import Random

import attrs
import pytest
import trio

from callsheet.actors import (
    BatchApiPolicy,
    Endpoint,
    Packing,
    Request,
    TroupeSettings,
    default_prices,
    open_troupe,
)
from callsheet.bulk.files.known import KnownKeys
from callsheet.bulk.forecast import forecast
from callsheet.bulk.row import Row
from callsheet.compare.samples import INSTRUCTION, write_reviews
from callsheet.simulator.app import Provider
from callsheet.simulator.inprocess import ProviderTransport
from callsheet.simulator.settings import ProviderSettings

MODEL = "gpt-5.4-nano"
BRIEF = "Label the sentiment as positive, negative or neutral."
HEADLINE = "Write a headline about the review. It must be catchy, short and true. " * 5
LONG_S = {"live": None, "pack": None, "flex": 1800.0, "batch": 86_400.0}


@attrs.frozen
class Judgement:
    label: str
    score: int


WORDS = 60
REQUESTS = {
    "labels": partial(Request.of, system=INSTRUCTION, max_tokens=5),
    "high limit": partial(Request.of, system=INSTRUCTION, max_tokens=500),
    "no limit": partial(Request.of, system=INSTRUCTION),
    "brief": partial(Request.of, system=BRIEF, max_tokens=5),
    "headlines": partial(Request.of, system=HEADLINE, max_tokens=WORDS),
    "objects": partial(Request.of, system=INSTRUCTION, max_tokens=WORDS, returns=Judgement),
}


def known_of(mean):
    """Return a store whose responses have a mean length."""
    known = KnownKeys(None)
    known.output_tokens = lambda _model: mean
    return known


async def bill(requests, route):
    """Return the cost in USD of requests on a route, and the mean tokens of a response."""
    requests = [
        attrs.evolve(one, packable=route == "pack", deadline=LONG_S[route]) for one in requests
    ]
    found = []
    # The provider writes another text each time, so a check of a text never agrees.
    packing = Packing(check_share=0.0) if requests[0].max_tokens == WORDS else Packing()
    async with ProviderTransport(Provider(ProviderSettings())) as transport:
        settings = TroupeSettings(
            endpoint=Endpoint("http://provider/v1", "sk-1234567890", "openai"),
            transport=transport,
            batches=BatchApiPolicy() if route == "batch" else None,
            packing=packing,
        )
        async with open_troupe(settings) as troupe, trio.open_nursery() as nursery:

            async def ask(request):
                found.append(await troupe.complete(request))

            for request in requests:
                nursery.start_soon(ask, request)
    assert route in {one.route for one in found}
    tokens = sum(one.usage.output_tokens for one in found)
    return sum(one.cost_usd for one in found), tokens / len(found)


async def explained(requests, first):
    """Return what `explain` states and what is billed for the requests after the first ones."""
    async with ProviderTransport(Provider(ProviderSettings())) as transport:
        settings = TroupeSettings(endpoint=Endpoint("http://provider/v1"), transport=transport)
        async with open_troupe(settings) as troupe:
            for request in requests[:first]:
                await troupe.complete(request)
            plans = [await troupe.explain(request) for request in requests[first:]]
            found = [await troupe.complete(request) for request in requests[first:]]
    return sum(plan.cost_usd for plan in plans), sum(one.cost_usd for one in found)


def row_of(number, request):
    return Row(
        number=number,
        custom_id=str(number),
        request=request,
        key=b"%d" % number,
        url="/v1/chat/completions",
    )


USUAL = {
    "labels": list(LONG_S),
    "high limit": ["live"],
    "no limit": ["live", "batch"],
    "objects": ["live", "pack"],
}
CASES = [
    pytest.param(
        make,
        route,
        id=f"{name}-{route}",
        marks=[] if route in USUAL.get(name, ()) else [pytest.mark.slow],
    )
    for name, make in REQUESTS.items()
    for route in LONG_S
]


@pytest.fixture(scope="module")
def reviews():
    return write_reviews(Random(5), count=90, copies=0)


@pytest.mark.parametrize(("make", "route"), CASES)
async def test_an_estimate_is_within_15_percent_once_some_rows_have_a_response(
    autojump_clock, reviews, make, route
):
    requests = [make(review, model=MODEL) for review in reviews]
    _, mean = await bill(requests[:30], "live")
    billed, _ = await bill(requests[30:], route)
    rows = [row_of(number, request) for number, request in enumerate(requests[30:])]
    estimated = forecast(rows, default_prices(), known_of(mean)).usd(route)
    assert float(estimated / billed) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("max_tokens", [5, 60, None])
async def test_explain_learns_from_calls_without_a_deadline(autojump_clock, reviews, max_tokens):
    """The router, which quotes, sees only calls that may wait: it knew nothing of the others."""
    requests = [
        Request.of(review, system=INSTRUCTION, model=MODEL, max_tokens=max_tokens)
        for review in reviews[:40]
    ]
    estimated, billed = await explained(requests, 20)
    assert float(estimated / billed) == pytest.approx(1, abs=0.15)
