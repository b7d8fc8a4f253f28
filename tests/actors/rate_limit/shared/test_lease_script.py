"""The script on a server does what the core does, for any sequence of questions."""

import attrs
import pytest
from limit_questions import RandomQuestions
from valkey_server import valkey_server

from callsheet.actors.rate_limit.shared import LaneDemand, LimitAsk, SharedLimits
from callsheet.actors.rate_limit.shared.exchange import LANES_ASKED, OVERFLOW, trimmed
from callsheet.actors.rate_limit.shared.valkey import (
    grant_of,
    keys_of,
    lease_script,
    question,
)
from callsheet.actors.valkey import ServerUrl, open_valkey

pytestmark = pytest.mark.sockets


async def answer(client, ask, now, endpoint="e", epoch="first"):
    arguments = (question(ask), repr(now), epoch, "news")
    return grant_of(await client.run(lease_script(), keys_of(endpoint), arguments), ask)


def differences(mine, other, where=""):
    """Yield where two grants differ by more than rounding."""
    if isinstance(mine, dict):
        if mine.keys() != other.keys():
            yield where, sorted(mine), sorted(other)
        else:
            for key in mine:
                yield from differences(mine[key], other[key], f"{where} {key}")
    elif isinstance(mine, tuple):
        if len(mine) != len(other):
            yield where, mine, other
        for at, (one, its) in enumerate(zip(mine, other, strict=False)):
            yield from differences(one, its, f"{where} {at}")
    elif isinstance(mine, str):
        if mine != other:
            yield where, mine, other
    elif abs(mine - other) > 1e-9 * max(1.0, abs(mine)):
        yield where, mine, other


async def check_the_same(seeds, steps):
    with valkey_server() as server:
        async with open_valkey(ServerUrl.parse(server.url)) as client:
            for seed in seeds:
                core, questions = SharedLimits(), RandomQuestions(seed)
                for step in range(steps):
                    ask, now = questions.next()
                    ask = trimmed(ask)
                    grant = core.ask(ask, now, "first")
                    its = await answer(client, ask, now, f"e{seed}")
                    found = list(differences(attrs.asdict(grant), attrs.asdict(its)))
                    assert not found, (seed, step, ask)
                    questions.hear(ask, grant)
                assert await expiries(client, f"e{seed}") <= {True}


async def expiries(client, endpoint):
    """Return whether the keys expire, those that are there."""
    lives = [await client.command("TTL", key) for key in keys_of(endpoint)]
    return {seconds > 0 for seconds in lives if seconds != -2}


async def test_the_script_says_what_the_core_says():
    await check_the_same(range(2), 40)


@pytest.mark.slow
async def test_the_script_says_what_the_core_says_in_many_ways():
    await check_the_same(range(100, 220), 150)


async def test_the_script_goes_by_the_clock_of_the_server():
    with valkey_server() as server:
        async with open_valkey(ServerUrl.parse(server.url)) as client:
            ask = LimitAsk(worker="w", number=1)
            reply = await client.run(
                lease_script(), keys_of("e"), (question(ask), "", "first", "news")
            )
            assert grant_of(reply, ask).workers == 1
            assert await expiries(client, "e") == {True}


def test_all_keys_of_an_endpoint_have_one_hash_tag():
    tags = {key.partition("{")[2].partition("}")[0] for key in keys_of("a{b}c")}
    assert tags == {"limits:a(b)c"}


def test_lanes_beyond_the_most_are_asked_as_one():
    lanes = tuple(LaneDemand("s", f"l{at}", 1.0, float(at), at, 0) for at in range(100))
    ask = trimmed(LimitAsk(worker="w", number=1, lanes=lanes))
    assert len(ask.lanes) == LANES_ASKED
    rest = ask.lanes[-1]
    assert rest.lane == OVERFLOW
    assert rest.weight == 100 - LANES_ASKED + 1
    assert rest.seconds == sum(range(100 - LANES_ASKED + 1))
