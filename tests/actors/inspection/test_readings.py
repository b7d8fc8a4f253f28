"""R12: one reading has the actors, the calls and their turns, the limits, the spend, the errors."""

from decimal import Decimal
from functools import partial

import attrs
import pytest
import trio
from fakes import MODEL, outcomes
from provided import asked, house

from callsheet import aio, sync
from callsheet.actors import (
    Budget,
    CachePolicy,
    Endpoint,
    Lane,
    LedgerPolicy,
    Limits,
    MemoryStores,
    Price,
    PriceBook,
    ProviderUnavailable,
    Rate,
    RetryPolicy,
    Stage,
    TroupeSettings,
    insert,
    to_line,
)
from callsheet.actors.inspection import Reading
from callsheet.actors.inspection.records import kind_of
from callsheet.runtime import Actor, ActorCrashed, Message, handles

LIMITS = Limits(rpm=60, burst_s=0, in_flight=2, learn=False, lanes={"paying": Lane(weight=3)})
SOCKET = "unused.sock"


async def calls_in(troupe, nursery, *lanes):
    for number, lane in enumerate(lanes):
        call = partial(troupe.complete, asked(f"Sea {number}"), call=f"{lane} {number}", lane=lane)
        nursery.start_soon(outcomes, call)
        await trio.testing.wait_all_tasks_blocked()


def of(readings, **wanted):
    """Return the one reading of several that has these values."""
    (found,) = [
        one for one in readings if all(getattr(one, name) == it for name, it in wanted.items())
    ]
    return found


async def test_calls_are_read_with_their_lanes_and_turns(autojump_clock):
    async with house(limits=LIMITS) as at, trio.open_nursery() as nursery:
        await calls_in(at.troupe, nursery, "free", "free", "paying")
        await trio.sleep(0.5)
        reading = await at.troupe.reading()
        assert (reading.in_flight, reading.max_in_flight, reading.waiting) == (1, 2, 2)
        assert [(one.call, one.state, one.lane) for one in reading.calls] == [
            ("free 0", "in flight", "free"),
            ("free 1", "waiting", "free"),
            ("paying 2", "waiting", "paying"),
        ]
        assert [one.turn_s for one in reading.calls] == [None, pytest.approx(0.5), None]
        assert [one.seconds for one in reading.calls] == pytest.approx([0.5, 0.5, 0.5])
        assert reading.lanes[0].next_s == pytest.approx(0.5)
        assert [(one.name, one.in_flight, one.waiting) for one in reading.lanes] == [
            ("free", 1, 1),
            ("paying", 0, 1),
        ]
        await trio.sleep(60)
        later = await at.troupe.reading()
        assert later.at - reading.at == pytest.approx(60)
        assert (later.in_flight, later.waiting, later.done) == (0, 0, 3)
        assert (later.calls, later.lanes, later.missing, later.left_out) == ((), (), (), {})


async def test_limits_are_read_with_their_use(autojump_clock):
    limits = Limits(in_flight=4, learn=False, rates=[Rate("usd", 60, burst_s=60)], rpm=600)
    async with house(limits=limits) as at, trio.open_nursery() as nursery:
        await calls_in(at.troupe, nursery, "", "", "")
        reading = await at.troupe.reading()
        of_calls = of(reading.limits, dimension="in_flight")
        assert (of_calls.limit, of_calls.used, of_calls.per_s) == (4, 3, None)
        assert of_calls.use == pytest.approx(0.75)
        requests = of(reading.limits, dimension="requests")
        assert (requests.limit, requests.per_s, requests.source) == (600, 60, "set")
        assert requests.used == pytest.approx(3)
        assert 0 < requests.use < 1
        assert of(reading.limits, dimension="usd").limit == 60


async def test_limits_that_the_provider_reports_and_its_refusals_are_read(autojump_clock):
    async with house("429", limits=Limits(find=True)) as at, trio.open_nursery() as nursery:
        await calls_in(at.troupe, nursery, "")
        await trio.sleep(0.1)
        reading = await at.troupe.reading()
        assert {one.source for one in reading.limits} >= {"set", "found"}
        assert [one.subject for one in reading.pauses] == [MODEL]
        assert reading.pauses[0].seconds > 0


async def test_the_tree_is_read_with_classes_restarts_and_mailboxes(autojump_clock):
    @attrs.frozen
    class Break(Message[None]):
        pass

    class Fragile(Actor):
        @handles(Break)
        async def break_down(self, message):
            raise ValueError("sk-abcdefgh12345678 is broken")

    async with house() as at:
        mine = await at.runtime.supervise("mine")
        fragile = await mine.spawn("fragile", Fragile, capacity=7)
        await fragile.tell(Break())
        await trio.sleep(1)
        tree = {one.path.partition("/")[2]: one for one in (await at.troupe.reading()).actors}
        assert tree["mine"].kind == "supervisor"
        found = tree["mine/fragile"]
        assert (found.kind, found.restarts, found.capacity, found.failed) == ("Fragile", 1, 7, 1)
        assert tree["limiter"].kind == "RateLimiterActor"
        assert {one.state for one in tree.values()} == {"running"}
        await at.runtime.stop(fragile)


PRICES = PriceBook({MODEL: Price(Decimal(1), Decimal(2))})


async def test_the_spend_is_that_of_the_ledger(autojump_clock):
    ledger = LedgerPolicy(budgets=[Budget(usd=Decimal(5), per="tenant")])
    async with house(ledger=ledger, prices=PRICES) as at, trio.open_nursery() as nursery:
        await calls_in(at.troupe, nursery, "team-a", "team-a")
        before = (await at.troupe.reading()).spend
        assert (before.source, before.known_usd) == ("ledger", "0")
        assert Decimal(before.reserved_usd) > 0
        await trio.sleep(10)
        spend, costs = (await at.troupe.reading()).spend, await at.troupe.costs()
        assert Decimal(spend.known_usd) == costs.totals.spent.usd > 0
        assert [(one.model, one.calls) for one in spend.models] == [(MODEL, 2)]
        assert [one.name for one in spend.budgets] == ["team-a"]


@pytest.mark.parametrize("prices", [PRICES, PriceBook({})])
async def test_without_a_ledger_the_spend_is_that_of_the_responses(autojump_clock, prices):
    async with house(inspect=SOCKET, prices=prices) as at:
        found = [await at.troupe.complete(asked(f"Sea {number}")) for number in range(3)]
        spend = (await at.troupe.reading()).spend
        assert spend.source == "calls"
        assert Decimal(spend.known_usd) == sum(one.cost_usd or 0 for one in found)
        assert spend.unpriced == sum(one.cost_usd is None for one in found)
        (model,) = spend.models
        assert model.calls == 3
        assert model.output_tokens == sum(one.usage.output_tokens for one in found)


async def test_errors_are_read_with_their_classes_and_counts(autojump_clock):
    async with house("500", "500", inspect=SOCKET) as at:
        await at.troupe.complete(asked(), call="the call")
        (error,) = (await at.troupe.reading()).errors
        assert (error.kind, error.retried, error.failed) == ("ProviderUnavailable", 2, 0)
        assert error.call == "the call"
        assert "500" in error.text


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("no time for another attempt in 3.2 s", "no time for another attempt in 11 s", True),
        (
            "Limit 90,000, Used 89,000. Try again in 1.2s",
            "Limit 90,000, Used 7. Try again in 9s",
            True,
        ),
        ("provider returned 502: bad", "provider returned 503: bad", False),
        ("provider returned 502", "provider returned 503", False),
        ("cannot connect to 127.0.0.1:80", "cannot connect to 127.0.0.1:81", False),
        ("cannot connect to 10.0.0.1", "cannot connect to 10.0.0.2", False),
        ("model gpt-4 is busy", "model gpt-5 is busy", False),
    ],
)
def test_errors_that_differ_in_amounts_alone_are_counted_together(one, other, is_same):
    assert (kind_of(one) == kind_of(other)) is is_same


async def test_errors_of_one_kind_are_one_entry_with_the_latest_text(autojump_clock):
    async with house(then="500", inspect=SOCKET, retry=RetryPolicy(base_s=60, cap_s=60)) as at:
        texts = []
        for _ in range(3):
            with pytest.raises(ProviderUnavailable, match=r"another attempt in [\d.]+ s") as caught:
                await at.troupe.complete(asked(), timeout=1)
            texts.append(str(caught.value))
        (error,) = (await at.troupe.reading()).errors
        assert len(set(texts)) == 3
        assert (error.failed, error.text) == (3, texts[-1])


async def test_crashes_are_read_among_the_errors_and_counted_by_their_texts(autojump_clock):
    class Broken(Stage):
        async def outgoing(self, request, context):
            raise ZeroDivisionError("secret: sk-abcdefghijklmnopqrstuvwxyz")

    async with house(stages=[insert(Broken, before="batcher")]) as at:
        for _ in range(2):
            with pytest.raises(ActorCrashed):
                await at.troupe.complete(asked())
            await trio.sleep(3)
        (error,) = (await at.troupe.reading()).errors
        assert (error.kind, error.crashed) == ("ZeroDivisionError", 2)
        assert (error.failed, error.retried, error.call) == (0, 0, "")
        assert error.actor == f"{at.runtime.name}/broken"
        assert error.seconds == pytest.approx(3)
        assert "secret" in error.text
        assert "sk-abc" not in error.text


async def test_calls_that_are_not_listed_are_counted(autojump_clock):
    async with house(limits=LIMITS) as at, trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(outcomes, partial(at.troupe.complete, asked(f"Sea {number}")))
        await trio.sleep(0.5)
        reading = await at.troupe.reading()
        assert (reading.in_flight, reading.waiting, len(reading.calls)) == (1, 149, 101)
        assert reading.left_out == {"calls": 49}
        nursery.cancel_scope.cancel()


async def test_without_the_setting_no_errors_are_recorded(autojump_clock):
    async with house("500") as at:
        await at.troupe.complete(asked())
        reading = await at.troupe.reading()
        assert (reading.errors, reading.spend) == ((), None)


async def test_what_is_cached_and_joined_is_read(autojump_clock):
    cacheable = attrs.evolve(asked(), cacheable=True)
    async with house(cache=CachePolicy(path=None), prices=PRICES) as at:
        for _ in range(3):
            await at.troupe.complete(cacheable)
        reading = await at.troupe.reading()
        assert (reading.cache.hits, reading.cache.misses, reading.cache.entries) == (2, 1, 1)
        assert Decimal(reading.cache.saved_usd) > 0
        assert reading.sharing.joined == 0
        assert reading.batches is None


async def test_a_process_that_has_no_place_of_a_shared_limit_is_read(autojump_clock):
    async with house(limits=LIMITS, shared=MemoryStores()) as at:
        reading = await at.troupe.reading()
        assert of(reading.limits, dimension="in_flight").use == 0


async def test_a_stage_that_does_not_reply_is_named_after_a_second(autojump_clock):
    async with house() as at:
        await at.runtime.stop(at.troupe.limiter)
        began = trio.current_time()
        reading = await at.troupe.reading()
        assert set(reading.missing) == {"limits", "turns"}
        assert reading.max_in_flight is None
        assert trio.current_time() - began <= 1
        assert reading.actors


def test_programs_of_asyncio_and_scripts_read_it_too():
    settings = TroupeSettings(endpoint=Endpoint("http://127.0.0.1:1/v1"))
    with sync.open_troupe(settings) as troupe:
        assert isinstance(troupe.reading(), Reading)
    assert "reading" in dir(aio.AsyncioTroupe)


async def test_a_troupe_is_read_at_once_while_each_place_is_in_use(autojump_clock):
    """No stage replies late because calls are in flight, nor because others wait."""
    limits = Limits(in_flight=3, learn=False)
    async with house(limits=limits, ledger=LedgerPolicy()) as at, trio.open_nursery() as nursery:
        await calls_in(at.troupe, nursery, *["lane"] * 20)
        began = trio.current_time()
        reading = await at.troupe.reading()
        assert trio.current_time() == began
        assert reading.missing == ()
        assert (reading.in_flight, reading.waiting) == (3, 17)


async def test_no_secret_is_in_a_reading(autojump_clock):
    """L8: neither of an error, nor of an id that the program has made of a key."""
    key = "sk-abcdefgh12345678"
    async with house("500", inspect=SOCKET) as at, trio.open_nursery() as nursery:
        await at.troupe.complete(asked(), call=f"for {key}", lane=key)
        nursery.start_soon(partial(at.troupe.complete, asked(), call=key, lane=key))
        await trio.testing.wait_all_tasks_blocked()
        line = to_line(await at.troupe.reading())
        assert b"ProviderUnavailable" in line
        assert b'"for ***"' in line
        assert key.encode() not in line
