"""The turns of a tenant's calls at its own limits, on the virtual clock."""

from collections import Counter
from functools import partial
from math import inf
from random import Random

import pytest
import trio

from callsheet.actors import BudgetExceeded, CallFailed, RateLimited, TurnTooLate
from callsheet.gateway.keys import ApiKey, Tenant, Tenants
from callsheet.runtime import AskTimedOut, Verdict


def key(name="team-a", **terms):
    return ApiKey(name=name, id=f"k_{name}", prefix="cs-abcd…", created_at=0.0, **terms)


async def call(tenant, begun, *, tokens=1, lasts_s=0.0, **options):
    async with tenant.turn(tokens, **options):
        begun.append(trio.current_time())
        await trio.sleep(lasts_s)


async def begins_of(tenant, calls, **options):
    """Make calls at once, and return when each had its turn, in seconds from now."""
    began_at, begun = trio.current_time(), []
    async with trio.open_nursery() as nursery:
        for _ in range(calls):
            nursery.start_soon(partial(call, tenant, begun, **options))
            await trio.testing.wait_all_tasks_blocked()
    return [at - began_at for at in begun]


async def test_a_key_without_limits_never_waits(autojump_clock):
    assert await begins_of(Tenant(key()), 100, lasts_s=1.0) == [0.0] * 100


async def test_a_minute_s_worth_may_be_sent_at_once_and_then_at_the_rate(autojump_clock):
    begun = await begins_of(Tenant(key(rpm=60)), 63)
    assert begun == pytest.approx([0.0] * 60 + [1.0, 2.0, 3.0])


async def test_a_place_in_flight_is_free_when_a_call_ends(autojump_clock):
    begun = await begins_of(Tenant(key(in_flight=2)), 6, lasts_s=5.0)
    assert begun == pytest.approx([0.0, 0.0, 5.0, 5.0, 10.0, 10.0])


async def test_tokens_are_debited_as_estimated_and_corrected_when_they_are_known(autojump_clock):
    tenant = Tenant(key(tpm=6000))  # 100 a second
    async with tenant.turn(6000) as turn:
        assert tenant.limits().tokens.remaining == 0
        turn.settle(5000)
    begun = await begins_of(tenant, 2, tokens=1000)
    assert begun == pytest.approx([0.0, 10.0])


async def test_a_call_that_was_not_sent_gives_everything_back(autojump_clock):
    tenant = Tenant(key(rpm=1, tpm=1000))
    async with tenant.turn(1000) as turn:
        turn.refund()
    assert await begins_of(tenant, 1, tokens=1000) == [0.0]
    tenant = Tenant(key(rpm=60))
    async with tenant.turn(1) as refunded:
        await begins_of(tenant, 59)
        refunded.refund()
    assert await begins_of(tenant, 2) == pytest.approx([0.0, 1.0])  # one, and no more


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (BudgetExceeded("held back"), 1000),
        (TurnTooLate("at the provider"), 1000),
        (AskTimedOut("router", Verdict.NOT_STARTED), 1000),
        (AskTimedOut("router", Verdict.MAY_HAVE_RUN), 0),
        (RateLimited("refused", attempts=1), 0),
        (CallFailed("lost", billed="maybe"), 0),
        (KeyError("a fault of the gateway"), 0),
    ],
)
async def test_an_error_before_anything_was_sent_gives_everything_back(autojump_clock, error, left):
    tenant = Tenant(key(rpm=1, tpm=1000))
    with pytest.raises(type(error)):
        async with tenant.turn(1000):
            raise error
    assert tenant.limits().tokens.remaining == left
    assert tenant.limits().requests.remaining == bool(left)


async def test_what_was_settled_is_not_refunded(autojump_clock):
    tenant = Tenant(key(rpm=1, tpm=1000))
    with pytest.raises(CallFailed):
        async with tenant.turn(1000) as turn:
            turn.settle(400)
            turn.refund()
            raise CallFailed("after the response")
    assert tenant.limits().tokens.remaining == 600


async def test_a_turn_that_cannot_come_in_time_is_refused_at_once_with_the_seconds(autojump_clock):
    tenant = Tenant(key(rpm=60))
    async with trio.open_nursery() as nursery:
        for _ in range(70):
            nursery.start_soon(call, tenant, [])
        await trio.testing.wait_all_tasks_blocked()
        began_at = trio.current_time()
        with pytest.raises(TurnTooLate, match=r"key team-a .* about 11\.0 s") as caught:
            await call(tenant, [], patience_s=10.9)
        assert trio.current_time() == began_at
        assert caught.value.wait_s == pytest.approx(11.0)
        await trio.sleep(caught.value.wait_s - 0.5)  # the Retry-After is true
        await call(tenant, begun := [], patience_s=0.6)
        assert begun == pytest.approx([began_at + 11.0])


async def test_patience_ends_while_a_call_in_flight_does_not(autojump_clock):
    tenant = Tenant(key(in_flight=1))
    await call(tenant, [], lasts_s=8.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(call, tenant, [], lasts_s=100.0))
        await trio.testing.wait_all_tasks_blocked()
        began_at = trio.current_time()
        with pytest.raises(TurnTooLate) as caught:
            await call(tenant, [], patience_s=5.0)
        assert trio.current_time() - began_at == pytest.approx(5.0)
        assert caught.value.wait_s == pytest.approx(8.0)  # as long as calls take
        assert (tenant.in_flight, tenant.waiting) == (1, 0)


async def test_a_cancelled_call_gives_its_place_to_the_next_one(autojump_clock):
    tenant, begun = Tenant(key(rpm=1)), []
    async with tenant.turn(1):
        pass
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(10):
            nursery.start_soon(partial(call, tenant, begun))
            async with trio.open_nursery() as ahead:
                ahead.start_soon(partial(call, tenant, []))
                await trio.testing.wait_all_tasks_blocked()
                ahead.cancel_scope.cancel()
    assert begun == pytest.approx([60.0])
    assert (tenant.in_flight, tenant.waiting) == (0, 0)


async def test_a_retry_takes_the_place_that_its_predecessor_had(autojump_clock):
    tenant, order = Tenant(key(rpm=60)), []

    async def numbered(number, came=None):
        async with tenant.turn(1, came=came):
            order.append(number)

    await begins_of(tenant, 60)
    came = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(numbered, number)
            await trio.sleep(0.1)
        nursery.start_soon(numbered, "retry", came + 0.05)
    assert order == [0, "retry", 1, 2]


async def test_limits_that_change_move_the_turns_of_calls_that_wait(autojump_clock):
    tenant, begun = Tenant(key(rpm=1)), []
    await call(tenant, [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, tenant, begun)
        await trio.sleep(10)
        tenant.change(key(rpm=600))
    assert begun == pytest.approx([10.0], abs=0.11)


async def test_the_state_of_the_limits_counts_calls_that_wait(autojump_clock):
    tenant = Tenant(key(rpm=60, tpm=6000))
    async with tenant.turn(600):
        limits = tenant.limits()
    assert (limits.requests.limit, limits.requests.remaining) == (60, 59)
    assert limits.requests.reset_s == pytest.approx(1.0)
    assert (limits.tokens.limit, limits.tokens.remaining) == (6000, 5400)
    assert limits.tokens.reset_s == pytest.approx(6.0)
    assert Tenant(key()).limits().requests is None


async def test_keys_of_one_name_share_a_tenant_until_none_is_valid(autojump_clock):
    tenants = Tenants()
    tenant = tenants.of(key(rpm=1))
    assert tenants.of(key(rpm=1, models=("gpt-*",))) is tenant
    tenants.keep([key(rpm=1), key("team-b"), key(rpm=5)])
    assert tenants.of(key()) is tenant
    assert tenant.key.rpm == 5
    async with tenant.turn(1):
        tenants.keep([])
        assert tenants.of(key()) is tenant
    tenants.keep([])
    assert tenants.of(key()) is not tenant


@pytest.mark.parametrize("patience_s", [0.0, 1.0, inf])
async def test_a_call_that_is_cancelled_before_it_joins_changes_nothing(autojump_clock, patience_s):
    tenant = Tenant(key(rpm=1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(tenant, [], patience_s=patience_s)
    assert tenant.limits().requests.remaining == 1


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_of_calls_that_are_given_up_leaves_nothing(autojump_clock, seed):
    chosen, tenant = Random(seed), Tenant(key(rpm=600, tpm=60_000, in_flight=5))
    ends = Counter()

    async def one():
        await trio.sleep(chosen.uniform(0, 20))
        with trio.move_on_after(chosen.choice([0, 1, 5, inf])):
            try:
                async with tenant.turn(
                    chosen.randint(1, 2000), patience_s=chosen.choice([2, 20, inf])
                ) as turn:
                    await trio.sleep(chosen.uniform(0, 2))
                    if chosen.random() < 0.5:
                        turn.settle(chosen.randint(0, 2000))
            except TurnTooLate:
                ends["too late"] += 1
                return
            ends["served"] += 1
            return
        ends["given up"] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(one)
    assert ends.total() == 300
    assert min(ends["served"], ends["given up"], ends["too late"]) > 10
    assert (tenant.in_flight, tenant.waiting) == (0, 0)
    await trio.sleep(3600)
    limits = tenant.limits()
    assert (limits.requests.remaining, limits.tokens.remaining) == (600, 60_000)
    assert await begins_of(tenant, 5) == [0.0] * 5
