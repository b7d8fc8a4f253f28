"""Each mode takes the computed time, to the millisecond, on the virtual clock."""

from decimal import Decimal

import attrs
import pytest
import trio
from local_provider import (
    CONCURRENT,
    URL,
    lower_bound_of,
    passages,
    posts,
    reviews,
    run,
    running_provider,
)

from callsheet.actors.messages import Request
from callsheet.actors.responses import Usage
from callsheet.compare.comparison import AnswerMismatch, check_answers
from callsheet.compare.execution import PlainReply
from callsheet.compare.modes import BatchProcessor
from callsheet.compare.run import RunFailed, run_mode
from callsheet.compare.workloads import make_workload

WAVES = (
    ("headline", "keywords", "image_prompt", "social_blurb", "conclusion"),
    ("intro",),
    ("outline", "meta_description"),
    ("sections[1]", "sections[2]", "sections[3]"),
)


def waves_s(item):
    """Return the seconds of an item in waves: the sum of the slowest call of each wave."""
    assert sorted(sum(WAVES, ())) == sorted(item.latencies_s)
    return sum(max(item.latencies_s[call] for call in wave) for wave in WAVES)


async def test_callsheet_takes_the_critical_path(autojump_clock):
    lower_bound = await lower_bound_of(posts(3))
    result, _ = await run("callsheet", posts(3))
    expected = [item.critical_path[0] for item in lower_bound.items]
    assert result.seconds == pytest.approx(expected, abs=0.001)
    assert result.wall_s == pytest.approx(max(expected), abs=0.001)


async def test_staged_takes_the_slowest_call_of_each_wave(autojump_clock):
    lower_bound = await lower_bound_of(posts(3))
    result, _ = await run("staged", posts(3))
    expected = [waves_s(item) for item in lower_bound.items]
    assert result.seconds == pytest.approx(expected, abs=0.001)
    assert result.wall_s > lower_bound.slowest.critical_path[0]


async def test_fixed_window_waits_for_its_window_once_and_for_a_poll_in_every_wave(autojump_clock):
    result, _ = await run("fixed_window", posts(1), latency_s=(2, 2))
    assert result.wall_s == pytest.approx(0.5 + 4 * 2 + 3 * 0.01, abs=0.015)


async def test_fixed_window_sends_twelve_headlines_as_ten_and_then_two(autojump_clock):
    result, provider = await run("fixed_window", make_workload("headlines"), latency_s=(2, 2))
    assert provider.stats.max_in_flight == 10
    assert sorted(round(seconds, 2) for seconds in result.seconds) == [2.01] * 10 + [4.02] * 2
    assert (result.p50_s, result.p99_s) == pytest.approx((2.01, 4.02), abs=0.001)


async def test_the_window_and_the_poll_interval_are_scaled_as_the_latencies_are(autojump_clock):
    whole, _ = await run("fixed_window", posts(1))
    tenth, _ = await run("fixed_window", posts(1), time_scale=0.1)
    assert tenth.wall_s == pytest.approx(whole.wall_s / 10, abs=0.003)


@pytest.mark.parametrize("mode", ["staged", "callsheet"])
async def test_headlines_take_as_long_as_the_slowest_of_them(autojump_clock, mode):
    workload = make_workload("headlines")
    lower_bound = await lower_bound_of(workload)
    result, provider = await run(mode, workload)
    assert result.wall_s == pytest.approx(lower_bound.slowest.one_by_one_s, abs=0.001)
    assert provider.stats.max_in_flight == 12


@pytest.mark.parametrize("mode", CONCURRENT)
@pytest.mark.parametrize("workload", [posts(3), make_workload("headlines"), reviews(12, 0)])
async def test_every_mode_sends_the_same_requests_and_produces_the_same_results(
    autojump_clock, mode, workload
):
    lower_bound = await lower_bound_of(workload)
    result, provider = await run(mode, workload)
    check_answers(mode, result, lower_bound)
    stats = provider.stats
    assert result.http_requests == stats.requests == lower_bound.calls
    assert result.usage == Usage(stats.input_tokens, stats.output_tokens)
    price = (Decimal("0.2") * stats.input_tokens + Decimal("1.25") * stats.output_tokens) / 10**6
    assert result.cost_usd == price
    assert result.rejected == 0


async def test_only_callsheet_pays_once_for_copies(autojump_clock):
    workload = reviews(distinct=8, copies=2)
    results = {mode: (await run(mode, workload))[0] for mode in CONCURRENT}
    requests = {mode: result.http_requests for mode, result in results.items()}
    assert requests == {"staged": 10, "fixed_window": 10, "callsheet": 8}
    assert results["callsheet"].cost_usd < results["staged"].cost_usd
    labels = {mode: [each["answer"] for each in r.results] for mode, r in results.items()}
    assert labels["callsheet"] == labels["staged"] == labels["fixed_window"]


async def test_only_callsheet_packs_short_items_under_one_instruction(autojump_clock):
    workload = reviews(distinct=40, copies=5, packable=True)
    results = {mode: (await run(mode, workload))[0] for mode in CONCURRENT}
    assert results["callsheet"].http_requests < 10, "one for all, and now and then a check"
    assert results["callsheet"].cost_usd < results["staged"].cost_usd * Decimal("0.4")
    labels = {mode: [each["answer"] for each in r.results] for mode, r in results.items()}
    assert labels["callsheet"] == labels["staged"] == labels["fixed_window"]


async def test_only_callsheet_embeds_many_texts_in_one_call(autojump_clock):
    workload = passages(15)
    lower_bound = await lower_bound_of(workload)
    for mode, requests in (("staged", 15), ("fixed_window", 15), ("callsheet", 1)):
        result, _ = await run(mode, workload)
        assert result.http_requests == requests
        check_answers(mode, result, lower_bound)


@pytest.mark.parametrize("mode", ["staged", "callsheet"])
async def test_no_more_requests_are_in_flight_than_the_workload_allows(autojump_clock, mode):
    workload = attrs.evolve(reviews(distinct=9, copies=0), in_flight=3)
    result, provider = await run(mode, workload, latency_s=(1, 1))
    assert provider.stats.max_in_flight == 3
    assert result.wall_s == pytest.approx(3, abs=0.001)


async def test_counts_start_at_zero_for_every_mode(autojump_clock):
    async with running_provider() as (_, transport):
        for _ in range(2):
            result = await run_mode("staged", posts(1), URL, transport=transport)
            assert result.http_requests == 11


async def test_refusals_are_counted(autojump_clock):
    async with running_provider(rpm=60, burst_s=11) as (_, transport):
        # The provider allows a burst of 11 requests; Callsheet knows no limit and sends 12.
        result = await run_mode("callsheet", make_workload("headlines"), URL, transport=transport)
        assert result.rejected >= 1
        assert result.http_requests == 12 + result.rejected


@pytest.mark.parametrize("mode", CONCURRENT)
async def test_the_error_of_a_failed_run_names_the_mode_and_the_reason(autojump_clock, mode):
    async with running_provider(api_key="right") as (provider, transport):
        with pytest.raises(RunFailed, match=rf"{mode}: .*401"):
            await run_mode(mode, posts(2), URL, transport=transport)
        assert provider.stats.in_flight == 0


async def test_items_are_reported_as_they_are_done(autojump_clock):
    done = []
    async with running_provider() as (_, transport):
        await run_mode(
            "staged",
            posts(3),
            URL,
            transport=transport,
            item_done=lambda: done.append(trio.current_time()),
        )
    assert len(done) == 3
    assert done == sorted(set(done))


async def test_results_other_than_the_expected_ones_are_found(autojump_clock):
    lower_bound = await lower_bound_of(posts(2))
    result, _ = await run("staged", posts(2))
    wrong = dict(result.results[1]) | {"intro": "Another text."}
    tampered = attrs.evolve(result, results=(result.results[0], wrong))
    with pytest.raises(AnswerMismatch, match=r"staged: item 2, step intro: .*Another"):
        check_answers("staged", tampered, lower_bound)


async def test_the_fixed_window_starts_with_the_previous_batch(autojump_clock):
    sent = []

    async def ask(request):
        sent.append(round(trio.current_time() - start, 2))
        return PlainReply("", Usage(), None)

    processor = BatchProcessor(ask)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(processor.run)
        await trio.sleep(0.4)
        await processor.ask(Request.of("soon", model="m"))  # goes after 0.1 s
        await processor.ask(Request.of("late", model="m"))  # goes after 0.5 s
        nursery.cancel_scope.cancel()
    assert sent == pytest.approx([0.5, 1.0], abs=0.021)
