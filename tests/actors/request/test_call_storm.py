"""Thousands of calls to a provider that fails a fifth of them, with every kind of fault.

The storms run in virtual time, in an order that a seed decides, so failures are reproducible.
"""

from collections import Counter
from functools import partial

import attrs
import pytest
import trio
from provided import VENDORS, asked, house, pieces_of
from trio.testing import wait_all_tasks_blocked

from callsheet.actors import (
    CallFailed,
    Endpoint,
    HedgePolicy,
    Limits,
    Response,
    RetryPolicy,
    ThrottlePolicy,
    Timeouts,
    TroupeSettings,
    cast_troupe,
)
from callsheet.runtime import AskTimedOut
from callsheet.runtime.testing.conservation import check_conservation, open_test_runtime
from callsheet.runtime.testing.virtual import run_virtual
from callsheet.simulator.app import Provider
from callsheet.simulator.faults import FAULT_KINDS, Faults
from callsheet.simulator.server import serve
from callsheet.simulator.settings import ProviderSettings

SHARE = 0.2  # of the requests fail, or are odd
PROMPTS = 50
DEADLINE_S = 60.0
RETRIES = RetryPolicy(max_attempts=5)
ALL = dict.fromkeys(FAULT_KINDS, SHARE / len(FAULT_KINDS))
FINAL = {"401", "quota"}
HARMLESS = {"no_usage", "slow", "gzip"}
RETRIED = SHARE * (1 - len(FINAL | HARMLESS) / len(FAULT_KINDS))  # of all requests
PROVIDER = ProviderSettings(latency_s=(0.5, 3.0), seed=7)


@attrs.define(eq=False)
class Storm:
    """Many calls and their outcomes.

    Attributes:
        late: the calls that ended after their deadline.
        wrong: the responses that differ from those of a provider without faults.
        failed: the number of errors by kind.
        requests: the number of HTTP requests, as responses and errors report them.
    """

    expected: dict
    answered: int = 0
    late: list = attrs.field(factory=list)
    wrong: list = attrs.field(factory=list)
    failed: Counter = attrs.field(factory=Counter)
    requests: int = 0

    async def call(self, troupe, number, deadline_s):
        prompt = f"Say something about {number % PROMPTS} ships."
        start = trio.current_time()
        try:
            if number % 3:
                answer = await troupe.complete(asked(prompt), timeout=deadline_s)
            else:
                *deltas, answer = await pieces_of(troupe, asked(prompt), timeout=deadline_s)
                assert isinstance(answer, Response)
                assert "".join(delta.text for delta in deltas) == answer.text
        except (CallFailed, AskTimedOut) as error:
            self.failed[type(error).__name__] += 1
            self.requests += getattr(error, "attempts", 0)
        else:
            self.answered += 1
            self.requests += answer.http_requests
            if answer.text != self.expected[prompt]:
                self.wrong.append((prompt, answer))
            assert (answer.cost_usd is None) == (answer.usage.output_tokens == 0)
        if trio.current_time() - start > deadline_s + 1e-6:
            self.late.append(number)

    async def run(self, troupe, calls, *, gap, deadline_s=DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for number in range(calls):
                nursery.start_soon(self.call, troupe, number, deadline_s)
                await trio.sleep(gap)


async def undisturbed(vendor="openai"):
    """Return the response to each prompt of a provider without faults."""
    async with house(vendor=vendor, provider=attrs.evolve(PROVIDER, time_scale=0)) as at:
        prompts = [f"Say something about {number} ships." for number in range(PROMPTS)]
        return {prompt: (await at.troupe.complete(asked(prompt))).text for prompt in prompts}


storms = pytest.mark.parametrize(
    ("calls", "seed"),
    [
        (100, 1),
        pytest.param(2000, 1, marks=pytest.mark.slow),
        *(pytest.param(300, seed, marks=pytest.mark.slow) for seed in range(1, 41)),
    ],
)


@storms
@pytest.mark.parametrize("vendor", VENDORS)
def test_each_call_ends_in_the_right_answer_or_a_typed_error_in_time(vendor, calls, seed):
    run_virtual(each_call_ends_in_time, vendor, calls, seed=seed)


async def each_call_ends_in_time(vendor, calls):
    storm = Storm(await undisturbed(vendor))
    settings = {
        "provider": attrs.evolve(PROVIDER, faults=Faults(ALL)),
        "timeouts": Timeouts(first_byte_s=10),
        "limits": Limits(in_flight=100),
        "retry": RETRIES,
    }
    async with house(then=None, vendor=vendor, **settings) as at:
        await storm.run(at.troupe, calls, gap=0.05)
        await at.at_rest()
        assert at.stats.requests == len(at.sent)
        assert at.stats.working == 0
        ends = Counter(at.stages)
    assert storm.wrong == []
    assert storm.late == []
    assert storm.answered + storm.failed.total() == calls
    assert storm.answered > 0.9 * calls
    assert not storm.failed.keys() - {
        "AuthenticationFailed",  # 401
        "QuotaExhausted",
        "ConnectionFailed",  # of streams that had begun
        "ProviderUnavailable",
        "MalformedResponse",
    }
    # L2: some 14 % of the requests are to be sent again, and so on; never more than five each.
    allowed = calls * sum(RETRIED**n for n in range(RETRIES.max_attempts))
    assert calls < storm.requests == len(at.sent) <= 1.1 * allowed
    assert ends["asked"] == ends["answered"] + ends["failed"] == calls


@pytest.mark.slow
@storms
def test_all_calls_together_send_no_more_than_they_may(calls, seed):
    """What a throttle allows in t seconds: a share of the calls, what was saved up, a trickle."""
    run_virtual(a_throttle_bounds_all_calls, calls, seed=seed)


async def a_throttle_bounds_all_calls(calls):
    storm = Storm(await undisturbed())
    throttle = ThrottlePolicy(share=0.05, min_per_s=0.1, burst=5)
    settings = {
        "provider": attrs.evolve(PROVIDER, faults=Faults(ALL)),
        "timeouts": Timeouts(first_byte_s=10),
        "hedging": HedgePolicy(max_share=0.05),
        "limits": Limits(in_flight=100),
        "throttle": throttle,
        "retry": RETRIES,
    }
    start = trio.current_time()
    async with house(then=None, **settings) as at:
        await storm.run(at.troupe, calls, gap=0.05)
        await at.at_rest()
        seconds = trio.current_time() - start
        now = (await at.troupe.request_statistics()).throttle
        (hedges,) = (await at.troupe.request_statistics()).hedges
    assert storm.wrong == storm.late == []
    assert storm.answered + storm.failed.total() == calls
    allowed = calls * (1 + throttle.share) + throttle.burst + throttle.min_per_s * seconds
    assert len(at.sent) <= allowed
    assert now.refused > 0, "or it was no storm"
    assert (now.calls, calls + now.taken >= len(at.sent)) == (calls, True)
    assert hedges.hedges <= 0.05 * hedges.calls


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 41))]
)
def test_short_deadlines_are_kept_in_a_storm(seed):
    """L1: no call is late, and a call that is given up frees its place and ends its work."""
    run_virtual(short_deadlines_are_kept, seed=seed)


async def short_deadlines_are_kept():
    storm = Storm(await undisturbed())
    settings = {
        "provider": attrs.evolve(PROVIDER, faults=Faults(ALL, slow_gap_s=5)),
        "limits": Limits(in_flight=20),
        "retry": RETRIES,
    }
    async with house(then=None, **settings) as at:
        await storm.run(at.troupe, 300, gap=0.1, deadline_s=2.5)
        await at.at_rest()
        assert at.stats.working == 0
        assert (await at.troupe.request_statistics()).breakers[0][1].state == "closed"
    assert storm.wrong == storm.late == []
    assert storm.failed["AskTimedOut"] > 30
    assert storm.answered > 100


@pytest.mark.sockets
async def test_the_same_over_sockets():
    """In real time: a fifth of 80 calls fails, and each gets a response or an error."""
    provider = Provider(
        attrs.evolve(PROVIDER, time_scale=0.02, faults=Faults(ALL, stall_s=0.1, slow_gap_s=0.005))
    )
    storm = Storm(await undisturbed())
    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(partial(serve, provider))
        async with open_test_runtime() as runtime:
            settings = TroupeSettings(
                endpoint=Endpoint(base_url),
                limits=Limits(in_flight=20),
                retry=RetryPolicy(max_attempts=5, base_s=0.01),
            )
            troupe = await cast_troupe(runtime, settings)
            with trio.fail_after(60):
                await storm.run(troupe, 80, gap=0.002, deadline_s=30)
            await wait_all_tasks_blocked(0.01)
            check_conservation(runtime.snapshot())
            assert all(actor.incarnation == 1 for actor in runtime.snapshot().actors)
            ((_, pool),) = (await troupe.request_statistics()).connections
            assert (pool.open - pool.idle, pool.waiting) == (0, 0)
            assert pool.reused > 20
        nursery.cancel_scope.cancel()
    assert storm.wrong == storm.late == []
    assert storm.answered + storm.failed.total() == 80
    assert storm.answered > 64
    assert storm.requests == provider.stats.requests
