"""Calls that wait for their turn: patience, places, keys and budgets, on the virtual clock."""

from functools import partial

import pytest
import trio
from gateway_kit import CHAT, MESSAGES, MODEL, Answer, chat, message, open_kit

from callsheet.actors import LedgerPolicy, Limits
from callsheet.gateway.keys import KeyFile, KeyTerms
from callsheet.simulator import ProviderSettings

QUICK = ProviderSettings(latency_s=(0.1, 0.1))
ONE_A_SECOND = {"limits": Limits(rpm=60, burst_s=0.0, learn=False)}


async def ask_all(kit, count, **more):
    """Ask so many calls at once, and return their answers."""
    answers = [Answer() for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for number, answer in enumerate(answers):
            body = chat(f"Hi {number}")
            nursery.start_soon(partial(kit.client.ask, CHAT, body, answer=answer, **more))
            await trio.testing.wait_all_tasks_blocked()
    return answers


async def test_a_call_waits_at_the_limit_and_none_is_refused(autojump_clock):
    async with open_kit(QUICK, troupe=ONE_A_SECOND) as kit:
        before = trio.current_time()
        answers = await ask_all(kit, 10)
        assert trio.current_time() - before == pytest.approx(9.1, abs=0.3)
    assert {answer.status for answer in answers} == {200}
    waits = [float(answer.headers["x-callsheet-queue-seconds"]) for answer in answers]
    assert waits == pytest.approx(list(range(10)), abs=0.3)


async def test_a_turn_that_cannot_come_in_time_is_refused_at_once_with_the_true_wait(
    autojump_clock,
):
    async with open_kit(QUICK, troupe=ONE_A_SECOND, patience_s=5.0) as kit:
        before = trio.current_time()
        answers = await ask_all(kit, 20)
        refused = [answer for answer in answers if answer.status == 429]
        assert trio.current_time() - before < 7.0
    assert len(refused) == pytest.approx(14, abs=1)
    assert all(answer.json["error"]["code"] for answer in refused)
    afters = [int(answer.headers["retry-after-ms"]) / 1000 for answer in refused]
    assert min(afters) == pytest.approx(6.0, abs=1.0)


async def test_a_stream_waits_as_long_as_it_takes(autojump_clock):
    async with open_kit(QUICK, troupe=ONE_A_SECOND, patience_s=5.0) as kit:
        answers = [Answer() for _ in range(20)]
        async with trio.open_nursery() as nursery:
            for number, answer in enumerate(answers):
                body = chat(f"Hi {number}", stream=True)
                nursery.start_soon(partial(kit.client.ask, CHAT, body, answer=answer))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.events[-1] == "[DONE]" for answer in answers)
    assert sum(": waiting" in answer.comments for answer in answers) >= 5


async def test_a_repeated_call_has_the_place_of_its_predecessor(autojump_clock):
    """The client leaves after 10 s and comes again 5 s later, before those behind it."""
    async with open_kit(QUICK, troupe=ONE_A_SECOND) as kit:
        order = []

        async def one(text, *, delay=0.0, leaves_after=None, headers=None):
            await trio.sleep(delay)
            answer = await kit.client.ask(
                CHAT, chat(text), leaves_after=leaves_after, headers=headers
            )
            if answer.is_complete:
                order.append((text, trio.current_time()))

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(one, f"before {number}")
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.current_time()
            nursery.start_soon(partial(one, "mine", leaves_after=10.0))
            await trio.sleep(0.001)
            for number in range(20):
                nursery.start_soon(one, f"after {number}")
            again = {"x-stainless-retry-count": "1"}
            nursery.start_soon(partial(one, "mine", delay=15.0, headers=again))
        at = dict(order)["mine"] - begun
    assert at == pytest.approx(16.0, abs=1.2)  # the next turn after it came again


async def test_without_the_word_of_its_sdk_a_call_is_a_new_one(autojump_clock):
    async with open_kit(QUICK, troupe=ONE_A_SECOND) as kit, trio.open_nursery() as nursery:
        for number in range(30):
            body = chat(f"Hi {number}")
            nursery.start_soon(kit.client.ask, CHAT, body)
        await trio.testing.wait_all_tasks_blocked()
        await kit.client.ask(CHAT, chat("mine"), leaves_after=2.0)
        begun = trio.current_time()
        answer = await kit.client.ask(CHAT, chat("mine"))
        assert trio.current_time() - begun > 25.0
    assert answer.status == 200


# ------------------------------------------------------------------------------------- keys


@pytest.fixture
def store(tmp_path):
    with KeyFile(tmp_path / "keys.sqlite3", create=True) as store:
        yield store


@pytest.fixture
def inline_threads(monkeypatch):
    """Read files without a thread, during which the virtual clock would run on."""

    async def run_sync(function, *args, **_):
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


def bearer(issued):
    return {"authorization": f"Bearer {issued.secret}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer cs-wrong"},
        {"x-api-key": "sk-123"},
        {"authorization": "Basic a"},
    ],
)
async def test_without_a_valid_key_nothing_is_served(autojump_clock, store, headers):
    async with open_kit(QUICK, keys=store.path) as kit:
        for path, body in ((CHAT, chat()), (MESSAGES, message()), ("/v1/models", None)):
            method = "GET" if body is None else "POST"
            answer = await kit.client.ask(path, body, method=method, headers=headers)
            assert answer.status == 401
        assert kit.stats.requests == 0


async def test_a_key_is_taken_from_each_of_the_headers_of_sdks(autojump_clock, store):
    issued = store.create(KeyTerms(name="team-a"))
    async with open_kit(QUICK, keys=store.path) as kit:
        for headers in (
            bearer(issued),
            {"x-api-key": issued.secret},
            {"authorization": f"bearer  {issued.secret}"},
        ):
            answer = await kit.client.ask(MESSAGES, message(), headers=headers)
            assert answer.status == 200


async def test_a_key_may_use_its_models_only(autojump_clock, store):
    issued = store.create(KeyTerms(name="team-a", models=("claude-*",)))
    async with open_kit(QUICK, keys=store.path) as kit:
        kit.client.headers = bearer(issued)
        refused = await kit.client.ask(CHAT, chat())
        models = await kit.client.ask("/v1/models", method="GET")
    assert refused.status == 403
    assert "may not use the model" in refused.json["error"]["message"]
    assert models.json["data"] == []


async def test_a_key_that_is_revoked_or_new_counts_within_two_seconds(
    autojump_clock, inline_threads, store
):
    first = store.create(KeyTerms(name="team-a"))
    async with open_kit(QUICK, keys=store.path) as kit:
        assert (await kit.client.ask(CHAT, chat(), headers=bearer(first))).status == 200
        store.revoke("team-a")
        second = store.create(KeyTerms(name="team-b", weight=3.0))
        await trio.sleep(2.0)
        assert (await kit.client.ask(CHAT, chat(), headers=bearer(first))).status == 401
        assert (await kit.client.ask(CHAT, chat(), headers=bearer(second))).status == 200


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_the_calls_of_a_revoked_key_end_with_it(
    autojump_clock, inline_threads, store, is_streamed
):
    """Those in line would be sent without the budget of the key."""
    first = store.create(KeyTerms(name="team-a", in_flight=1))
    slow = ProviderSettings(latency_s=(600.0, 600.0), first_piece=1.0)
    async with open_kit(slow, keys=store.path) as kit:
        kit.client.headers = bearer(first)
        answers = []

        async def ask():
            answers.append(await kit.client.ask(CHAT, chat(stream=is_streamed)))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.sleep(5)
            store.revoke("team-a")
            await trio.sleep(2.0)
            assert len(answers) == 3
        assert [answer.status for answer in answers] == [401] * 3
        assert kit.provider.stats.requests == 1


async def test_a_call_waits_at_the_limit_of_its_key(autojump_clock, store):
    slow = store.create(KeyTerms(name="slow", rpm=60, in_flight=1))
    free = store.create(KeyTerms(name="free"))
    async with open_kit(QUICK, keys=store.path) as kit:
        kit.client.headers = bearer(slow)
        begun = trio.current_time()
        answers = await ask_all(kit, 5)
        took = trio.current_time() - begun
        other = await kit.client.ask(CHAT, chat(), headers=bearer(free))
    assert {answer.status for answer in answers} == {200}
    assert took == pytest.approx(0.5, abs=0.1)  # one at a time
    assert answers[-1].headers["x-ratelimit-limit-requests"] == "60"
    assert other.status == 200


@pytest.mark.parametrize(("patience_s", "status"), [(6.0, 429), (9.0, 200)])
async def test_the_wait_for_a_limit_of_its_own_counts_towards_the_patience(
    autojump_clock, store, patience_s, status
):
    single = store.create(KeyTerms(name="single", in_flight=1))
    other = store.create(KeyTerms(name="other"))
    slow = ProviderSettings(latency_s=(3.0, 3.0))
    limits = {"limits": Limits(rpm=15, burst_s=0.0, learn=False)}  # a turn in 4 s
    async with (
        open_kit(slow, keys=store.path, troupe=limits, patience_s=patience_s) as kit,
        trio.open_nursery() as nursery,
    ):
        for key in (single, other):
            ask = partial(kit.client.ask, CHAT, chat(key.key.name), headers=bearer(key))
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        answer = await kit.client.ask(CHAT, chat("x"), headers=bearer(single))
        took_s = trio.current_time() - begun
    assert answer.status == status
    if status == 200:  # 3 s for the first call, 5 s at the provider's limit
        assert float(answer.headers["x-callsheet-queue-seconds"]) == pytest.approx(8.0, abs=0.3)
    else:
        assert took_s == pytest.approx(3.0, abs=0.3)


async def test_a_budget_is_refused_in_words_before_anything_is_sent(autojump_clock, store):
    poor = store.create(KeyTerms(name="poor", budgets=("0.0000001/day",)))
    rich = store.create(KeyTerms(name="rich", budgets=("25/day",)))
    async with open_kit(QUICK, keys=store.path, troupe={"ledger": LedgerPolicy()}) as kit:
        refused = await kit.client.ask(CHAT, chat(), headers=bearer(poor))
        assert kit.stats.requests == 0
        served = await kit.client.ask(CHAT, chat(), headers=bearer(rich))
    assert served.status == 200
    assert refused.status == 402
    assert refused.headers["x-should-retry"] == "false"
    assert "per tenant (poor) and day" in refused.json["error"]["message"]


async def test_tenants_of_equal_weight_have_equal_shares(autojump_clock, store):
    issued = [store.create(KeyTerms(name=f"team-{number}")) for number in range(4)]
    async with open_kit(QUICK, keys=store.path, troupe=ONE_A_SECOND, patience_s=1e6) as kit:
        ends: dict[str, list[float]] = {}

        async def one(key, number):
            text = f"{key.key.name} {number}"
            await kit.client.ask(CHAT, chat(text, model=MODEL), headers=bearer(key))
            ends.setdefault(key.key.name, []).append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for key in issued:  # the first team asks for everything before the others come
                for number in range(25):
                    nursery.start_soon(one, key, number)
                await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(41.0):
                await trio.sleep_forever()
            shares = [len(ends.get(key.key.name, ())) for key in issued]
            nursery.cancel_scope.cancel()
    assert max(shares) - min(shares) <= 2
    assert sum(shares) >= 39


async def test_a_key_without_limits_of_its_own_is_told_its_share(autojump_clock, store):
    keys = [store.create(KeyTerms(name=f"team-{n}", weight=w)) for n, w in ((1, 1.0), (2, 2.0))]
    limits = {"limits": Limits(rpm=600, learn=False)}
    async with open_kit(QUICK, keys=store.path, troupe=limits, patience_s=1e6) as kit:
        alone = await kit.client.ask(CHAT, chat(), headers=bearer(keys[0]))
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(
                    partial(kit.client.ask, CHAT, chat(f"{number}"), headers=bearer(keys[1]))
                )
            await trio.sleep(2.0)
            beside = await kit.client.ask(CHAT, chat("x"), headers=bearer(keys[0]))
            nursery.cancel_scope.cancel()
    assert alone.headers["x-ratelimit-limit-requests"] == "600"
    assert beside.headers["x-ratelimit-limit-requests"] == "200"
    assert "x-ratelimit-limit-tokens" not in alone.headers


async def test_a_call_that_was_not_sent_takes_nothing_of_the_limits_of_its_key(
    autojump_clock, store
):
    key = store.create(KeyTerms(name="team-a", rpm=10))
    limits = {"limits": Limits(rpm=1, burst_s=0.0, learn=False)}
    async with open_kit(QUICK, keys=store.path, troupe=limits, patience_s=5.0) as kit:
        kit.client.headers = bearer(key)
        served = await kit.client.ask(CHAT, chat())
        for number in range(3):
            assert (await kit.client.ask(CHAT, chat(f"{number}"))).status == 429
        await trio.sleep(60.0)
        later = await kit.client.ask(CHAT, chat("later"))
    remaining = [int(it.headers["x-ratelimit-remaining-requests"]) for it in (served, later)]
    assert remaining == [9, 9]
