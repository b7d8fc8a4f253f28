"""Many clients that go away at random moments: nothing is left of their calls, the books hold."""

import random
from decimal import Decimal
from functools import partial

import pytest
import trio
from gateway_kit import CHAT, CLAUDE, MESSAGES, MODEL, Answer, chat, message, open_kit

from callsheet.actors import LedgerPolicy, Limits, Usage, default_prices
from callsheet.runtime.testing import check_conservation
from callsheet.simulator import ProviderSettings

SLOW = ProviderSettings(latency_s=(0.5, 3.0), seed=3)
NARROW = {"limits": Limits(rpm=12_000, in_flight=100, learn=False), "ledger": LedgerPolicy()}


def dollars(stats):
    """What the provider has billed, by the table of prices."""
    total = Decimal(0)
    for model, tiers in stats.billed.items():
        for tokens in tiers.values():
            usage = Usage(tokens.input_tokens, tokens.output_tokens, tokens.cached_tokens)
            total += default_prices().cost(model, usage)
    return total


async def vanish(kit, rng, count):
    """Make calls of all kinds, most of whose clients leave; return the answers of the others."""
    stayed = []
    async with trio.open_nursery() as nursery:
        for number in range(count):
            await trio.sleep(rng.expovariate(count / 3.0))
            is_streamed, is_claude = rng.random() < 0.5, rng.random() < 0.3
            leaves_after = None if rng.random() < 0.2 else rng.uniform(0.0, 3.5)
            make, path = (message, MESSAGES) if is_claude else (chat, CHAT)
            body = make(f"Say {number % 700}", stream=is_streamed)
            answer = Answer()
            if leaves_after is None:
                stayed.append((answer, is_streamed))
            ask = partial(kit.client.ask, path, body, leaves_after=leaves_after, answer=answer)
            nursery.start_soon(ask)
    return stayed


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_clients_that_go_away_leave_nothing(autojump_clock, count, seed):
    """R4, L3, R9."""
    async with open_kit(SLOW, troupe=NARROW) as kit:
        stayed = await vanish(kit, random.Random(seed), count)
        await trio.sleep(1.0)
        assert kit.stats.in_flight == 0
        assert kit.stats.cancelled > 0.3 * count
        assert kit.gateway.service.open_calls == 0
        assert [one.open_calls for one in kit.gateway.endpoints.served] == [0, 0]
        check_conservation(kit.gateway.runtime.snapshot())
        for served in kit.gateway.endpoints.served:
            statistics = await served.troupe.limiter_statistics()
            assert (statistics.limiter.in_flight, statistics.limiter.waiting) == (0, 0)
        await trio.sleep(
            10.0
        )  # until what is not streamed has ended at the provider, which bills it
        costs = [await served.troupe.costs() for served in kit.gateway.endpoints.served]
        spent = sum(one.totals.spent.usd for one in costs)
        maybe = sum(one.totals.maybe_billed.usd for one in costs)
        assert [one.open_calls for one in costs] == [0, 0]
        assert spent <= dollars(kit.stats) <= spent + maybe
    assert {answer.status for answer, _ in stayed} == {200}
    assert all(answer.is_complete for answer, _ in stayed)
    assert {MODEL, CLAUDE} <= set(kit.stats.billed)
