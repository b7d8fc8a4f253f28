"""The text that Prometheus reads: its formats, and labels with few values whatever comes."""

from contextlib import suppress

import attrs
import pytest
import trio
from fakes import MODEL, Reply, refusal
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from scraped import scrape, settings_with

from callsheet import __version__
from callsheet.actors import (
    BatchApiPolicy,
    BatcherActor,
    Budget,
    CachePolicy,
    CallFailed,
    GetBatchingStatistics,
    LedgerPolicy,
    Limits,
    Rate,
    Request,
    cast_troupe,
    open_troupe,
)
from callsheet.metrics import FAMILIES, Metrics
from callsheet.metrics.labels import OTHER, BoundedLabels, error_label, period_label
from callsheet.runtime import open_runtime

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SECRET, PROMPT = "sk-0123456789", "the secret of the prompt"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        (f"{OPENMETRICS}, text/plain; q=0.5", "application/openmetrics-text; version=1.0.0"),
    ],
)
async def test_the_format_is_what_the_scraper_accepts(accept, kind):
    exposition = await Metrics().exposition(accept)
    assert exposition.content_type.startswith(kind)
    assert exposition.body.endswith(b"# EOF\n") == kind.startswith("application")


async def test_openmetrics_can_be_read_back(autojump_clock):
    metrics = Metrics()
    async with open_troupe(settings_with(metrics)) as troupe:
        await troupe.complete(Request.of("Hi", model=MODEL))
        body = (await metrics.exposition(OPENMETRICS)).body.decode()
    names = {family.name for family in read_openmetrics(body)}
    assert names <= FAMILIES.keys()
    assert "_created" not in body


async def test_the_version_is_a_label():
    assert (await scrape(Metrics()))("build_info", __version__) == 1


async def test_a_model_that_is_not_known_is_another(autojump_clock):
    metrics = Metrics(models=["llama-at-home"])
    async with open_troupe(settings_with(metrics)) as troupe:
        for model in (MODEL, "llama-at-home", *(f"made up {number}" for number in range(9))):
            await troupe.complete(Request.of("Hi", model=model))
        seen = await scrape(metrics)
    assert seen.series("calls_total") == {
        (MODEL, "answered"): 1,
        ("llama-at-home", "answered"): 1,
        ("other", "answered"): 9,
    }
    assert "made up" not in seen.text


async def test_no_more_models_have_a_label_than_are_allowed(autojump_clock):
    metrics = Metrics(max_models=2)
    models = ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4o"]
    async with open_troupe(settings_with(metrics)) as troupe:
        for model in models:
            await troupe.complete(Request.of("Hi", model=model))
        seen = await scrape(metrics)
    assert seen.series("calls_total") == {
        ("gpt-4o", "answered"): 2,
        ("gpt-4o-mini", "answered"): 1,
        ("other", "answered"): 2,
    }


async def test_no_text_key_or_host_is_in_it(autojump_clock):
    metrics = Metrics()
    async with open_troupe(settings_with(metrics, refusal(400, "a secret reason"))) as troupe:
        with pytest.raises(CallFailed):
            await troupe.complete(
                Request.of(PROMPT, model=MODEL), call="call of Ann", lane="tenant Ann"
            )
        seen = await scrape(metrics)
    for word in (SECRET, "secret", "Ann", "provider/", "http"):
        assert word not in seen.text.replace("to the provider", ""), word


async def test_every_family_has_samples_somewhere(autojump_clock, tmp_path):
    """A metric that nothing exports would be a promise of the documents only."""
    metrics = Metrics()
    lines = (refusal(429), refusal(400), Reply(body=b"no json"), Reply())
    more = {
        "prompt_caching": "order",
        "cache": CachePolicy(path=None),
        "ledger": LedgerPolicy(budgets=[Budget("5")]),
        "batches": BatchApiPolicy(journal=tmp_path / "journal"),
        "limits": Limits(rpm=60, rates=[Rate("usd", 5, 3600)]),
    }
    async with open_troupe(settings_with(metrics, *lines, **more)) as troupe:
        for _ in range(2):
            with suppress(CallFailed):
                await troupe.complete(Request.of("Hi", model=MODEL, cacheable=True), timeout=99)
        seen = await scrape(metrics)
    exported = {
        name.removeprefix("callsheet_").removesuffix(ending)
        for name in seen.values
        for ending in ("_total", "_info", "_bucket", "_sum", "_count")
        if name.endswith(ending)
    } | {name.removeprefix("callsheet_") for name in seen.values}
    missing = {name.removeprefix("callsheet_") for name in FAMILIES} - exported
    # What has labels has no series before its first event.
    assert missing <= {
        "reroutes",
        "batches",
        "batch_enqueued_tokens",
        "retries_refused",
        "cache_write_input_tokens",
        "reasoning_output_tokens",
        "unpriced_calls",
    }, missing


async def test_limits_and_budgets_are_used_in_parts(autojump_clock):
    metrics = Metrics()
    of_keys = [Budget("2", per="tenant", match=f"lane {number}") for number in range(15)]
    budgets = [Budget("0.01"), Budget("1", per="tenant"), *of_keys]
    more = {"limits": Limits(rpm=60, burst_s=60), "ledger": LedgerPolicy(budgets=budgets)}
    async with open_troupe(settings_with(metrics, Reply(after=0.0), **more)) as troupe:
        for number in range(15):
            request = Request.of(f"Hi {number}", model=MODEL, max_tokens=20)
            await troupe.complete(request, lane=f"lane {number}")
        seen = await scrape(metrics)
        costs = await troupe.costs()
    used = seen("limit_used_ratio", "requests", "all", "minute", "set")
    assert used == pytest.approx(15 / 60, abs=0.01)
    spent = float(costs.totals.spent.usd)
    assert seen("ledger_dollars", "spent", MODEL) == pytest.approx(spent, abs=1e-12)
    assert seen("budget_used_ratio", "$0.01 in total") == pytest.approx(spent / 0.01)
    assert seen("budget_used_ratio", "$2 per tenant") > 0
    assert len(seen.series("budget_used_ratio")) == 3  # no name of a tenant is a label


async def test_after_the_troupe_the_counters_are_left_and_the_readings_gone(autojump_clock):
    metrics = Metrics()
    settings = settings_with(metrics)
    before = await scrape(metrics)
    for calls in (1, 2):
        async with open_troupe(settings) as troupe:
            await troupe.complete(Request.of("Hi", model=MODEL))
            assert (await scrape(metrics))("troupe_open") == 1
        seen = await scrape(metrics)
        assert seen("calls_total", MODEL, "answered") == calls
        assert seen("troupe_open") == before("troupe_open") == 0
        assert not seen.series("mailbox_capacity")


async def test_the_calls_of_a_drain_are_still_read(autojump_clock):
    """The metrics stop after the stages, so that the last seconds of a run are scraped (R11)."""
    metrics = Metrics()
    settings = settings_with(metrics, Reply(after=5.0))

    async def scrape_twice():
        for at in (2, 4):
            await trio.sleep_until(at)
            seen = await scrape(metrics)
            assert (seen("troupe_open"), seen("calls_open")) == (1, 1)
            assert ("requester",) in seen.series("mailbox_capacity")

    async with trio.open_nursery() as nursery, open_troupe(settings) as troupe:
        await troupe.submit(Request.of("Hi", model=MODEL))
        nursery.start_soon(scrape_twice)
        await trio.sleep(1)
    seen = await scrape(metrics)
    assert (seen("troupe_open"), seen("calls_total", MODEL, "answered")) == (0, 1)


async def test_two_troupes_at_a_time_need_two_objects(autojump_clock):
    metrics = Metrics()
    async with open_troupe(settings_with(metrics)):
        with pytest.raises(ValueError, match="of another troupe that is open; use one for each"):
            async with open_troupe(settings_with(metrics)):
                pass
        other = Metrics()
        async with open_troupe(settings_with(other)) as troupe:
            await troupe.complete(Request.of("Hi", model=MODEL))
            assert (await scrape(other))("calls_total", MODEL, "answered") == 1
        assert (await scrape(metrics))("calls_total", MODEL, "answered") == 0


async def test_the_troupes_of_one_runtime_can_share_an_object(autojump_clock):
    """The counters are of all calls; what the stages report names the troupe."""
    metrics = Metrics()
    limits = {"limits": Limits(in_flight=3)}
    async with open_runtime("app") as runtime:
        one = await cast_troupe(runtime, settings_with(metrics, **limits), prefix="one-")
        other = await cast_troupe(runtime, settings_with(metrics), prefix="other-")
        for troupe in (one, other, other):
            await troupe.complete(Request.of("Hi", model=MODEL))
        seen = await scrape(metrics)
        assert seen("calls_total", MODEL, "answered") == 3
        assert seen("troupe_open", "one") == seen("troupe_open", "other") == 1
        assert seen("calls_in_flight_limit", "one") == 3
        assert seen("calls_in_flight_limit", "other") == Limits().in_flight
        actors = [labels[0] for labels in seen.series("mailbox_capacity")]
        assert actors.count("one-limiter") == actors.count("other-limiter") == 1
        with pytest.raises(ValueError, match="of another troupe that is open"):
            await cast_troupe(runtime, settings_with(metrics), prefix="one_")
        await runtime.root.stop_child("other-metrics")
        seen = await scrape(metrics)
        assert (seen("troupe_open", "one"), seen("troupe_open", "other")) == (1, 0)
    assert (await scrape(metrics))("troupe_open") == 0


async def test_a_troupe_that_takes_the_place_of_another_has_its_name(autojump_clock):
    metrics = Metrics()
    async with open_runtime("app") as runtime:
        await cast_troupe(runtime, settings_with(metrics), prefix="main.")
        limits = {"limits": Limits(in_flight=3)}
        await cast_troupe(runtime, settings_with(metrics, **limits), prefix="main#2.")
        seen = await scrape(metrics)
        assert seen.series("troupe_open") == {("main",): 1}
        assert seen.series("calls_in_flight_limit") == {("main",): 3}
        actors = [labels[0] for labels in seen.series("mailbox_capacity")]
        assert actors.count("main.limiter") == 1
        assert not any("#" in name for name in actors)


async def test_a_model_that_is_named_later_has_a_label_even_where_there_is_no_room(autojump_clock):
    metrics = Metrics(max_models=0)
    async with open_troupe(settings_with(metrics)) as troupe:
        await troupe.complete(Request.of("Hi", model=MODEL))
        metrics.name_models(["local"])
        await troupe.complete(Request.of("Hi", model="local"))
        seen = await scrape(metrics)
    assert seen("calls_total", OTHER, "answered") == seen("calls_total", "local", "answered") == 1


async def test_a_stage_that_does_not_report_costs_its_own_metrics_only(autojump_clock, monkeypatch):
    async def never(self, message):
        await trio.sleep_forever()

    monkeypatch.setattr(BatcherActor, "handlers", {**BatcherActor.handlers})
    handler = BatcherActor.handlers[GetBatchingStatistics]
    BatcherActor.handlers[GetBatchingStatistics] = attrs.evolve(handler, call=never)
    metrics = Metrics()
    async with open_troupe(settings_with(metrics), drain_s=1):
        seen = await scrape(metrics)
        assert trio.current_time() == 1
    assert seen("troupe_open") == 1
    assert "callsheet_calls_in_flight 0.0" in seen.text
    assert "callsheet_joined_calls" not in seen.text


def test_a_label_has_no_more_values_than_there_is_room():
    label = BoundedLabels(str.islower, 3, ["kept"])
    assert [label(name) for name in ("a", "B", "b", "c", "a", "kept")] == [
        "a", OTHER, "b", OTHER, "a", "kept",
    ]  # fmt: skip


def test_an_error_has_the_label_of_its_nearest_known_class():
    class Own(KeyError):
        pass

    assert error_label(Own(), {"LookupError"}) == "LookupError"
    assert error_label(Own(), {"OSError"}) == error_label(None, {"OSError"}) == OTHER


def test_a_period_has_a_word_or_its_seconds():
    assert [period_label(each) for each in (1, 60.0, 86_400, 30, 17.3)] == [
        "second", "minute", "day", "30s", OTHER,
    ]  # fmt: skip
