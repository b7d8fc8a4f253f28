"""A troupe and a provider with a limit whose headers do not state its period."""

from functools import partial
from itertools import pairwise

import attrs
import httpx
import pytest
import trio
from fakes import MODEL, completion_json, outcomes
from spelled_limits import SPELLINGS, RefillingLimit, SpelledProvider, WindowLimit

from callsheet.actors import (
    VENDORS,
    Endpoint,
    Limits,
    Request,
    RetryPolicy,
    TroupeSettings,
    open_troupe,
)

SOME_SPELLINGS = [
    *list(SPELLINGS)[:2],
    *(pytest.param(one, marks=pytest.mark.slow) for one in list(SPELLINGS)[2:]),
]


class LimitedTransport(httpx.AsyncBaseTransport):
    """A provider that answers after 0.3 s, with its limit in the headers, or refuses with 429."""

    def __init__(self, limit, spelling):
        self.provider = SpelledProvider(limit, spelling, Limits())
        self.start = trio.current_time()
        self.admitted, self.refused = [], 0

    async def handle_async_request(self, request):
        await request.aread()
        provider, limit = self.provider, self.provider.limit
        provider.now = now = trio.current_time() - self.start
        if wait := limit.wait_s(now):
            self.refused += 1
            headers = provider.headers() | {"retry-after": f"{wait:.3f}"}
            return httpx.Response(429, headers=headers, json={"error": {"message": "Slow down."}})
        limit.take(now)
        self.admitted.append(now)
        headers = provider.headers()
        await trio.sleep(0.3)
        return httpx.Response(200, headers=headers, json=completion_json())


@pytest.mark.parametrize("spelling", SOME_SPELLINGS)
@pytest.mark.parametrize("kind", [RefillingLimit, WindowLimit])
async def test_20_requests_in_2_s_are_not_taken_for_20_a_minute(autojump_clock, kind, spelling):
    """With ``Limits(rpm=600)``, 20 of 200 calls were answered in 45 s."""
    transport = LimitedTransport(kind(20, 2.0), spelling)
    settings = TroupeSettings(
        endpoint=Endpoint("http://provider/v1"),
        limits=Limits(rpm=600),
        retry=RetryPolicy(max_attempts=20),
        transport=transport,
        breaker=None,
        streaming=False,
    )
    async with open_troupe(settings, seed="seed") as troupe:
        with trio.fail_after(30):
            found = await outcomes(
                *(
                    partial(troupe.complete, Request.of(f"Say {number}.", model=MODEL))
                    for number in range(100)
                )
            )
    assert not [one for one in found if isinstance(one, Exception)]
    assert transport.admitted[-1] - transport.admitted[0] <= 12, "the ideal is 8 s"
    assert transport.refused <= 25


async def test_a_limit_of_calls_in_flight_that_a_refusal_names(autojump_clock):
    """As Moonshot has it: its headers tell nothing."""
    in_flight, refused = 0, 0

    async def handle(request):
        nonlocal in_flight, refused
        if in_flight >= 3:
            refused += 1
            message = "Your account reached max organization concurrency: 3, please try again"
            error = {"message": message, "type": "rate_limit_reached_error"}
            return httpx.Response(429, json={"error": error})
        in_flight += 1
        await trio.sleep(0.5)
        in_flight -= 1
        return httpx.Response(200, json=completion_json())

    settings = TroupeSettings(
        endpoint=Endpoint("http://provider/v1"),
        limits=Limits(in_flight=20),
        retry=RetryPolicy(max_attempts=20),
        transport=httpx.MockTransport(handle),
        breaker=None,
        streaming=False,
    )
    async with open_troupe(settings) as troupe:
        calls = [
            partial(troupe.complete, Request.of(f"Say {number}.", model=MODEL))
            for number in range(60)
        ]
        found = await outcomes(*calls)
        (scope,) = (await troupe.limiter_statistics()).limiter.scopes
    assert not [one for one in found if isinstance(one, Exception)]
    assert scope.max_in_flight == 3
    assert refused <= 40, "the first crowd, and its retries"


async def test_the_headers_of_a_vendor_that_has_names_of_its_own(autojump_clock):
    """Calls go at the rate that the headers report, and a refused one waits as long as it is to."""
    start, sent = trio.current_time(), []

    async def handle(request):
        sent.append(trio.current_time() - start)
        headers = {"Acme-Quota": "2", "Acme-Left": str(2 - min(len(sent), 2)), "Acme-Wait": "90"}
        if len(sent) == 3:
            return httpx.Response(429, headers=headers, json={"error": {"message": "Later."}})
        return httpx.Response(200, headers=headers, json=completion_json())

    vendor = attrs.evolve(
        VENDORS["compatible"],
        limit_headers={
            "Acme-Quota": "X-RateLimit-Limit-Requests-Minute",
            "acme-left": "x-ratelimit-remaining-requests-minute",
            "acme-wait": "retry-after",
        },
    )
    settings = TroupeSettings(
        endpoint=Endpoint("http://provider/v1", vendor=vendor),
        transport=httpx.MockTransport(handle),
        streaming=False,
    )
    async with open_troupe(settings, seed="seed") as troupe:
        for _ in range(3):
            await troupe.complete(Request.of("Hi", model=MODEL), timeout=600)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert min(gaps) >= 30, "two a minute"
    assert gaps[2] >= 90
