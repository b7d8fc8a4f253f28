"""The members of a pool without a limiter: which errors are of a member, and where a call goes."""

import pytest
import trio
from fake_layers import (
    AT_ONCE,
    EASILY_OPENED,
    FakeTarget,
    context,
    endpoint_breaker,
    exchanged,
    failed,
    progress,
)

from callsheet.actors import (
    AuthenticationFailed,
    BadRequest,
    Endpoint,
    PoolHealth,
    ProviderUnavailable,
    QuotaExhausted,
    RateLimited,
    Target,
)
from callsheet.actors.errors import MalformedResponse, UnreadableEndpoint
from callsheet.actors.request.failures import AttemptFailed
from callsheet.actors.request.pool import MemberOfPool, PoolTarget, refused_model

POOL = Target(Endpoint.pool([Endpoint("http://p/v1", key_name=name) for name in "abc"]))


class Pool:
    """A `PoolTarget` over fake members."""

    def __init__(self, **members):
        self.members = members
        self.health = PoolHealth(members)
        self.breakers = {name: endpoint_breaker(EASILY_OPENED) for name in members}
        self.layer = PoolTarget(
            POOL,
            {name: MemberOfPool(name, one, self.breakers[name]) for name, one in members.items()},
            self.health,
            context(POOL, retry=AT_ONCE),
        )

    @property
    def attempts(self):
        return {name: len(member.times) for name, member in self.members.items()}


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (AuthenticationFailed("Wrong key.", status=401), ""),
        (AuthenticationFailed("Wrong key.", status=400), ""),
        (AuthenticationFailed("Not this model.", status=403), "m"),
        (QuotaExhausted("No credit.", status=402), ""),
        (QuotaExhausted("Enough for today.", status=429), "m"),
        (UnreadableEndpoint("Three in a row."), "m"),
        (BadRequest("Nothing here.", status=404), "m"),
        (BadRequest("No.", status=404, body={"error": {"code": "DeploymentNotFound"}}), "m"),
        (BadRequest("No.", status=404, body={"error": {"message": "No such file."}}), None),
        (BadRequest("Too long.", status=400), None),
        (RateLimited("Slow down.", status=429), None),
        (ProviderUnavailable("Down.", status=503), None),
        (MalformedResponse("No JSON."), None),
    ],
)
def test_what_a_member_refuses_to_every_call(error, refused):
    assert refused_model(error, "m") == refused


async def test_without_a_permit_the_first_that_is_well_serves_a_call(autojump_clock):
    pool = Pool(a=FakeTarget(failed(AuthenticationFailed, is_final=True)), b=FakeTarget())
    for _ in range(3):
        await pool.layer.send(progress())
    assert pool.attempts == {"a": 1, "b": 3}


async def test_a_pool_is_out_when_all_members_are(autojump_clock):
    pool = Pool(a=FakeTarget(is_open=True), b=FakeTarget())
    assert not pool.layer.is_out()
    await pool.layer.send(progress())
    assert pool.attempts == {"a": 0, "b": 1}
    pool.members["b"].is_open = True
    assert pool.layer.is_out()


async def test_a_call_waits_for_a_busy_member_rather_than_fail_at_one_that_refuses(autojump_clock):
    a = FakeTarget(failed(RateLimited, server_s=30.0), exchanged("Done"), seconds=0.0)
    wrong = FakeTarget(failed(AuthenticationFailed, is_final=True), seconds=0.0)
    pool = Pool(a=a, b=wrong)
    assert (await pool.layer.send(progress())).response.choices[0].text == "Done"
    assert pool.attempts == {"a": 2, "b": 1}
    assert trio.current_time() >= 30.0


async def test_the_pause_that_a_member_asks_for_is_its_own(autojump_clock):
    a = FakeTarget(failed(RateLimited, server_s=30.0), seconds=0.0)
    b = FakeTarget(failed(RateLimited, server_s=5.0), seconds=0.0)
    pool = Pool(a=a, b=b)
    with pytest.raises(AttemptFailed):
        await pool.layer.send(progress())
    assert trio.current_time() < 20.0


async def test_the_state_of_a_breaker_is_that_of_its_member(autojump_clock):
    pool = Pool(a=FakeTarget(), b=FakeTarget())
    breaker = pool.breakers["a"]
    breaker.fail(breaker.try_enter())
    assert not pool.health.is_well("a", "m", trio.current_time())
    await trio.sleep(10.0)
    assert pool.health.is_well("a", "m", trio.current_time())
    assert pool.health.is_on_probation("a", "m")
    breaker.fail(breaker.try_enter())
    assert not pool.health.is_well("a", "m", trio.current_time())
    await trio.sleep(20.0)
    breaker.confirm(breaker.try_enter())  # the head of a response is enough
    assert not pool.health.is_on_probation("a", "m")
