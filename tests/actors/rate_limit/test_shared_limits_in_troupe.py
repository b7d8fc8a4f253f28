"""Troupes that share their limits, and what they do while the store of the limits is away."""

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import trio
from fakes import MODEL, URL, completion_json
from leasing_processes import ProviderLimit
from structlog.testing import capture_logs
from valkey_server import valkey_server

from callsheet.actors import (
    CallContext,
    Endpoint,
    Explain,
    Limits,
    Rate,
    Request,
    TroupeSettings,
    TurnTooLate,
    open_troupe,
)
from callsheet.actors.deriving import account_of
from callsheet.actors.rate_limit.explanation import SharedState
from callsheet.actors.rate_limit.shared import UNUSED_S
from callsheet.actors.shared import MemoryStores


class StrictProvider(httpx.AsyncBaseTransport):
    """Refuses what a token bucket of the limit does not hold."""

    def __init__(self, rpm, seconds=0.2):
        self.bucket = ProviderLimit.of(Limits(rpm=rpm).all_rates[0])
        self.bucket.at = trio.current_time()
        self.seconds = seconds
        self.times = []
        self.refused = 0

    async def handle_async_request(self, request):
        now = trio.current_time()
        if not self.bucket.allows(1.0, now):
            self.refused += 1
            return httpx.Response(429, json={"error": {"message": "Slow down."}}, request=request)
        self.bucket.take(1.0)
        self.times.append(now)
        await trio.sleep(self.seconds)
        return httpx.Response(200, json=completion_json(), request=request)

    def between(self, begin, end):
        return sum(begin <= at < end for at in self.times)


class House:
    """Some troupes that share their stores, and one provider."""

    def __init__(self, rpm=600, outage="divide", **limits):
        self.stores = MemoryStores(outage=outage)
        self.provider = StrictProvider(rpm)
        self.limits = Limits(rpm=rpm, **{"in_flight": 10_000, **limits})
        self.began = trio.current_time()
        self.outcomes = Counter()

    @property
    def store(self):
        return self.stores.limits(account_of(Endpoint(URL)))

    def now(self):
        return trio.current_time() - self.began

    def settings(self):
        return TroupeSettings(
            endpoint=Endpoint(URL),
            transport=self.provider,
            limits=self.limits,
            shared=self.stores,
            max_waiting_calls=10_000,
        )

    @asynccontextmanager
    async def open(self, number=1):
        """Open some troupes."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(open_troupe(self.settings(), seed=str(at)))
                for at in range(number)
            ]

    async def call(self, troupe):
        await troupe.complete(Request.of("Hi", model=MODEL))
        self.outcomes["done"] += 1

    def sent(self, begin, end):
        return self.provider.between(self.began + begin, self.began + end)


async def state_of(troupe):
    return (await troupe.limiter_statistics()).limiter.shared


def away_events(logs):
    return [log["event"] for log in logs if log["event"].startswith("shared_limits")]


async def test_troupes_use_one_limit_together(autojump_clock):
    house = House(rpm=6_000)
    async with house.open(3) as troupes:
        async with trio.open_nursery() as nursery:
            for troupe in troupes:
                for _ in range(60):
                    nursery.start_soon(house.call, troupe)
        state = await state_of(troupes[0])
        assert isinstance(state, SharedState)
        assert (state.processes, state.is_away) == (3, False)
        assert state.exchanges < 60
    assert house.provider.refused == 0
    burst = 100 * (1.0 - UNUSED_S)  # what may be sent late is kept of the burst
    assert house.now() == pytest.approx((180 - burst) / 100, abs=0.5)


async def test_troupes_without_shared_stores_report_none(autojump_clock):
    provider = StrictProvider(600)
    settings = TroupeSettings(endpoint=Endpoint(URL), transport=provider)
    async with open_troupe(settings) as troupe:
        assert await state_of(troupe) is None


async def test_a_troupe_that_ends_is_not_counted_any_more(autojump_clock):
    house = House()
    async with house.open() as (stays,):
        async with house.open() as (ends,):
            await house.call(ends)
            await house.call(stays)
            assert (await state_of(stays)).processes == 2
        await house.call(stays)
        assert (await state_of(stays)).processes == 1


async def test_a_troupe_that_starts_while_the_store_is_away_waits_for_it(autojump_clock):
    house = House()
    house.store.away = True
    with capture_logs() as logs:
        async with house.open() as (troupe,), trio.open_nursery() as nursery:
            nursery.start_soon(house.call, troupe)
            await trio.sleep(20.0)
            assert house.sent(0.0, 20.0) == 0
            house.store.away = False
            await trio.sleep(2.0)
            assert house.outcomes["done"] == 1
    assert away_events(logs) == ["shared_limits_unavailable", "shared_limits_back"]
    assert {log["limits"] for log in logs if log["event"] in away_events(logs)} == {
        "of the provider"
    }
    assert {log["log_level"] for log in logs if log["event"] in away_events(logs)} == {"warning"}


async def test_a_call_that_loses_its_patience_names_the_store_that_is_away(autojump_clock):
    house = House()
    house.store.away = True
    async with house.open() as (troupe,):
        context = CallContext("c", patience_s=5.0)
        with pytest.raises(TurnTooLate, match="for the shared memory, which does not answer"):
            await troupe.complete(Request.of("Hi", model=MODEL), context=context)


async def keep_calling(house, troupe, seconds):
    """Keep calls waiting in a troupe."""
    async with trio.open_nursery() as nursery:
        ends = trio.current_time() + seconds
        while trio.current_time() < ends:
            for _ in range(4):
                nursery.start_soon(house.call, troupe)
            await trio.sleep(0.5)
        nursery.cancel_scope.cancel()


async def away_for(house, troupes, outage_s):
    """Take the store away at 6 s; return the calls sent a second before, meanwhile and after."""
    async with house.open(troupes) as opened, trio.open_nursery() as nursery:
        for troupe in opened:
            nursery.start_soon(keep_calling, house, troupe, 12.0 + outage_s)
        await trio.sleep(6.0)
        house.store.away = True
        await trio.sleep(outage_s)
        house.store.away = False
        await trio.sleep(6.0)
    ends = 6.0 + outage_s
    return (
        house.sent(2.0, 6.0) / 4.0,
        house.sent(8.5, ends) / (outage_s - 2.5),
        house.sent(ends + 1.5, ends + 5.5) / 4.0,
    )


async def test_while_the_store_is_away_each_troupe_has_a_part_of_the_limit(autojump_clock):
    house = House(rpm=600)
    with capture_logs() as logs:
        rates = await away_for(house, 2, 8.0)
    assert house.provider.refused == 0
    assert rates == pytest.approx((10.0, 10.0, 10.0), rel=0.08)
    assert Counter(away_events(logs)) == {"shared_limits_unavailable": 2, "shared_limits_back": 2}


async def test_troupes_can_wait_while_the_store_is_away(autojump_clock):
    house = House(rpm=600, outage="wait")
    rates = await away_for(house, 2, 8.0)
    assert house.provider.refused == 0
    assert rates == pytest.approx((10.0, 0.0, 10.0), rel=0.08)


async def test_a_store_that_has_lost_its_state_does_not_open_the_gates(autojump_clock):
    house = House()
    async with house.open(2) as troupes, trio.open_nursery() as nursery:
        for troupe in troupes:
            nursery.start_soon(keep_calling, house, troupe, 12.0)
        await trio.sleep(5.0)
        house.store.lose_state()
        await trio.sleep(6.0)
    assert house.provider.refused == 0
    assert house.sent(6.5, 10.5) / 4.0 == pytest.approx(10.0, rel=0.05)


async def test_answers_that_are_lost_are_asked_for_again(autojump_clock):
    house = House()
    async with house.open() as (troupe,), trio.open_nursery() as nursery:
        nursery.start_soon(keep_calling, house, troupe, 9.0)
        for _ in range(8):
            await trio.sleep(0.9)
            house.store.loses_answers = True
            await trio.sleep(0.1)
            house.store.loses_answers = False
    assert house.provider.refused == 0
    assert house.sent(3.0, 8.0) / 5.0 == pytest.approx(8.0, rel=0.1)


async def test_explain_and_turns_know_the_shared_limit(autojump_clock):
    house = House(rpm=60, rates=[Rate("requests", 600, 3_600.0)])
    async with house.open(2) as troupes, trio.open_nursery() as nursery:
        for troupe in troupes:
            for _ in range(10):
                nursery.start_soon(house.call, troupe)
        await trio.sleep(5.0)
        found = await troupes[0].limiter.ask(Explain(Request.of("Hi", model=MODEL)))
        assert 10.0 <= found.wait_s <= 30.0
        assert "60 requests a minute" in found.because
        nursery.cancel_scope.cancel()


def test_the_name_of_an_account_tells_no_secret():
    one, same = (Endpoint(URL, "sk-first-0123456789") for _ in range(2))
    other = Endpoint(URL, "sk-second-0123456789")
    pool = Endpoint.pool([one, other])
    names = [account_of(endpoint) for endpoint in (one, same, other, pool, Endpoint(URL))]
    assert names[0] == names[1]
    assert len(set(names)) == 4
    assert not any("sk-" in name or "0123456789" in name for name in names)


async def test_troupes_share_limits_on_a_server():
    with valkey_server() as server:
        provider = StrictProvider(6_000, seconds=0.01)
        limits = Limits(rpm=6_000, in_flight=1_000)

        async def work(seed):
            settings = TroupeSettings(
                endpoint=Endpoint(URL), transport=provider, limits=limits, shared=server.url
            )
            async with open_troupe(settings, seed=seed) as troupe, trio.open_nursery() as nursery:
                for _ in range(70):
                    nursery.start_soon(troupe.complete, Request.of("Hi", model=MODEL))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, "1")
            nursery.start_soon(work, "2")
    assert len(provider.times) == 140
    assert max(provider.times) - min(provider.times) >= 0.35
