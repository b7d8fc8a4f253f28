"""Settings that change while the gateway runs, and its end."""

from functools import partial

import attrs
import pytest
import trio
from gateway_kit import CHAT, MESSAGES, Answer, chat, message, open_kit, settings_of

from callsheet.actors import LedgerPolicy, Limits, StorageError
from callsheet.gateway.settings import ModelRoute
from callsheet.simulator import ProviderSettings

SLOW = ProviderSettings(latency_s=(20.0, 20.0))
QUICK = ProviderSettings(latency_s=(0.1, 0.1))


def changed(kit, *, routes=None, **troupe):
    """Return the settings of a kit with another troupe for OpenAI, and other routes."""
    settings = settings_of(kit.transport)
    main = attrs.evolve(settings.troupes["main"], **troupe)
    return attrs.evolve(
        settings, troupes={**settings.troupes, "main": main}, routes=routes or settings.routes
    )


async def test_new_limits_hold_for_calls_that_wait_already(autojump_clock):
    slow = {"limits": Limits(rpm=1, burst_s=0.0, learn=False)}
    async with open_kit(QUICK, troupe=slow) as kit:
        await kit.client.ask(CHAT, chat())
        answer = Answer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: kit.client.ask(CHAT, chat("two", stream=True), answer=answer)
            )
            await trio.sleep(1.0)
            change = await kit.gateway.reload(changed(kit, **slow | {"limits": Limits(rpm=6000)}))
            before = trio.current_time()
        assert trio.current_time() - before < 2.0
    assert "main" in change.limited
    assert answer.events[-1] == "[DONE]"


async def test_a_call_goes_on_in_the_troupe_that_another_replaces(autojump_clock):
    async with open_kit(SLOW) as kit:
        answers = [Answer(), Answer()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: kit.client.ask(CHAT, chat(), answer=answers[0]))
            await trio.sleep(1.0)
            former = kit.gateway.endpoints.served[0]
            change = await kit.gateway.reload(changed(kit, max_concurrent_posts=7))
            assert kit.gateway.endpoints.served[0] is not former
            nursery.start_soon(lambda: kit.client.ask(CHAT, chat("two"), answer=answers[1]))
            await trio.sleep(1.0)
            assert (former.open_calls, kit.gateway.endpoints.served[0].open_calls) == (1, 1)
        await trio.sleep(1.0)
        paths = [actor.path for actor in kit.gateway.runtime.snapshot().actors]
    assert change.recast == ("main",)
    assert [answer.status for answer in answers] == [200, 200]
    assert "gateway/main#2.limiter" in paths
    assert not any(path.startswith("gateway/main.") for path in paths)  # ended with its last call


async def test_a_model_that_is_no_longer_served_is_refused_after_the_reload(autojump_clock):
    async with open_kit(QUICK) as kit:
        routes = [ModelRoute(name="claude-*", troupe="claude")]
        settings = changed(kit, routes=routes)
        only = attrs.evolve(settings, troupes={"claude": settings.troupes["claude"]})
        change = await kit.gateway.reload(only)
        assert (await kit.client.ask(CHAT, chat())).status == 404
        assert (await kit.client.ask(MESSAGES, message())).status == 200
    assert change.ended == ("main",)


async def test_settings_that_cannot_be_used_leave_the_former_ones(autojump_clock):
    async with open_kit(QUICK) as kit:
        policy = LedgerPolicy(path="/dev/null/ledger.sqlite3")
        bad = changed(kit, ledger=policy, max_concurrent_posts=3)
        before = [actor.path for actor in kit.gateway.runtime.snapshot().actors]
        with pytest.raises(StorageError, match="ledger"):
            await kit.gateway.reload(bad)
        assert [actor.path for actor in kit.gateway.runtime.snapshot().actors] == before
        assert (await kit.client.ask(CHAT, chat())).status == 200
        await kit.gateway.reload(changed(kit, max_concurrent_posts=3))
        assert (await kit.client.ask(CHAT, chat())).status == 200


async def test_while_it_drains_calls_end_and_none_begin(autojump_clock):
    async with open_kit(SLOW) as kit:
        whole, stream = Answer(), Answer()
        async with trio.open_nursery() as nursery:
            ask = kit.client.ask
            nursery.start_soon(partial(ask, CHAT, chat(), answer=whole))
            nursery.start_soon(partial(ask, CHAT, chat(stream=True), answer=stream))
            await trio.sleep(1.0)
            await kit.gateway.drain()
            refused = await ask(CHAT, chat("late"))
            ready = await ask("/readyz", method="GET")
    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    assert ready.status == 503
    assert whole.status == 200
    assert stream.events[-1] == "[DONE]"


async def test_a_model_that_a_reload_names_has_a_label_of_its_own(autojump_clock):
    async with open_kit(QUICK) as kit:
        routes = [ModelRoute(name="my-own", troupe="main")]
        await kit.gateway.reload(changed(kit, routes=[*kit.gateway.settings.routes, *routes]))
        await kit.client.ask(CHAT, chat(model="my-own"))
        metrics = await kit.client.ask("/metrics", method="GET")
    assert 'callsheet_attempts_total{model="my-own",route="live"} 1.0' in metrics.body.decode()
