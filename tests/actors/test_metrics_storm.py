"""In storms of calls, the metrics are the books: each call once, each dollar to the last digit.

The storms are those of `test_money_storm.py`: calls that are cancelled, failed, cached, joined,
listed, packed, hedged, rerouted and batched, with every fault, and actors that crash.
"""

from collections import Counter
from random import Random

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from storm_calls import StormCallers, storm_calls
from storm_house import Bills, StormFiles, storm_house, storm_providers, vectors_of

from callsheet.actors import Usage
from callsheet.metrics import Metrics
from callsheet.runtime.testing.virtual import run_virtual
from callsheet.simulator.faults import FAULT_KINDS

CALLS = 500
REFUSALS = dict.fromkeys(("429", "500", "503", "529"), 0.05)
ALL = dict.fromkeys(FAULT_KINDS.keys() - {"401", "quota"}, 0.02)
CRASHES = {"requester": 350, "ledger": 200, "batches": 40}
DIGITS = 12  # of dollars that are compared; a sample is a float

seeds = pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 21))]
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files that are written without threads, which virtual time does not wait for."""

    async def run_sync(function, *args, abandon_on_cancel=False, limiter=None):
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return StormFiles(tmp_path)


class Scraped:
    """The samples of one scrape."""

    def __init__(self, exposition):
        families = text_string_to_metric_families(exposition.body.decode())
        self._samples = [sample for family in families for sample in family.samples]

    def sums(self, name, label=None):
        """Return {value of a label: the sum over the others}; {None: the sum} without a label."""
        found = Counter()
        for sample in self._samples:
            if sample.name == f"callsheet_{name}":
                found[sample.labels.get(label)] += sample.value
        return {key: value for key, value in found.items() if value}

    def sum(self, name):
        return sum(self.sums(name).values())


async def storm(files, seed, faults, *, is_patient=False, **house):
    """Run a storm; return the scrape after it, the callers, the books and the providers."""
    calls = storm_calls(CALLS, Random(seed), is_patient=is_patient)
    callers = StormCallers(await vectors_of([it.mark for it in calls if it.kind == "listed"]))
    metrics = Metrics()
    async with (
        storm_providers(faults) as providers,
        storm_house(files, providers, metrics=metrics, **house) as storming,
    ):
        before = Scraped(await metrics.exposition())
        assert before.sum("calls_total") == 0
        await callers.run(storming.troupe, calls)
        await storming.rest()
        scraped = Scraped(await metrics.exposition())
        books = await storming.troupe.costs()
        assert metrics._calls._queued == metrics._calls._open == {}
        restarts = {
            actor.path.partition("/")[2]: actor.incarnation - 1
            for actor in storming.runtime.snapshot().actors
            if actor.incarnation > 1
        }
        assert scraped.sums("restarts_total", "actor") == restarts
    return scraped, callers, books, providers


def check_calls(scraped, callers):
    """Each call has ended once, in the same way for the metrics as for its caller.

    Returns:
        How many callers have left just when the last piece of their response was there.
    """
    outcomes = scraped.sums("calls_total", "outcome")
    answered = outcomes.get("answered", 0) + outcomes.get("shared", 0)
    failures = {
        name: count for name, count in callers.ends.items() if name not in ("answered", "left")
    }
    assert sum(outcomes.values()) == CALLS
    late = answered - callers.ends["answered"]
    assert 0 <= late == callers.ends["left"] - outcomes.get("cancelled", 0)
    assert outcomes.get("failed", 0) == sum(failures.values())
    assert scraped.sums("call_failures_total", "error") == failures
    routes = Counter(scraped.sums("responses_total", "route"))
    assert routes >= callers.routes
    assert routes.total() - callers.routes.total() == late
    assert scraped.sum("call_duration_seconds_count") == answered
    assert scraped.sum("calls_open") == 0
    return late


def check_money(scraped, callers, books, *, late=0):
    """The counters are what callers were told, and the gauges are the ledger's accounts."""
    cost, told = round(scraped.sum("cost_dollars_total"), DIGITS), round(float(callers.usd), DIGITS)
    assert cost == told or (late and cost > told)
    assert cost <= round(float(books.totals.spent.usd), DIGITS)
    assert late or tokens_in(scraped) == tokens_of(callers.usage)
    accounts = scraped.sums("ledger_dollars", "account")
    for account in ("spent", "reserved", "maybe_billed", "unknown"):
        usd = float(getattr(books.totals, account).usd)
        assert round(accounts.get(account, 0), DIGITS) == round(usd, DIGITS), account
    saved = float(books.totals.spent.saved_usd)
    assert round(scraped.sum("ledger_saved_dollars"), DIGITS) == round(saved, DIGITS)


def tokens_in(scraped):
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens")
    return tuple(scraped.sum(f"{name}_total") for name in names)


def tokens_of(usage):
    return (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens)


@pytest.mark.slow
@seeds
def test_where_nothing_is_unknown_the_metrics_are_the_books_and_the_bills(files, seed):
    async def main():
        scraped, callers, books, providers = await storm(
            files, seed, REFUSALS, is_patient=True, hedging=None
        )
        bills = Bills.of(providers)
        assert check_calls(scraped, callers) == 0
        check_money(scraped, callers, books)
        billed = {model: round(float(usd), DIGITS) for model, usd in bills.usd.items() if usd}
        assert round(scraped.sum("cost_dollars_total"), DIGITS) == round(
            sum(billed.values()), DIGITS
        )
        assert scraped.sums("cost_dollars_total", "model").keys() == billed.keys()
        spent = scraped.sums("ledger_dollars", "model")  # nothing is in the other accounts
        assert {model: round(usd, DIGITS) for model, usd in spent.items()} == billed
        assert tokens_in(scraped) == tokens_of(sum(bills.usage.values(), Usage()))
        attempts = scraped.sums("attempts_total", "route")
        assert attempts["live"] == sum(each.stats.requests for each in providers.each)
        assert attempts["batch"] >= sum(each.stats.batch_lines for each in providers.each)
        assert scraped.sum("cached_input_tokens_total") > 0
        assert scraped.sum("cache_saved_dollars_total") > 0
        assert scraped.sum("joined_calls_total") > 0
        assert scraped.sum("maybe_billed_attempts_total") == 0
        routes = {"live", "pack", "list", "batch", "pack+batch", "cache", "joined"}
        assert set(scraped.sums("responses_total", "route")) >= routes

    run_virtual(main, seed=seed)


@pytest.mark.slow
@seeds
def test_with_every_fault_and_crash_each_call_counts_once(files, seed):
    async def main():
        scraped, callers, books, _ = await storm(files, seed, ALL, crashes=CRASHES)
        late = check_calls(scraped, callers)
        check_money(scraped, callers, books, late=late)
        assert scraped.sum("restarts_total") >= 1
        assert scraped.sum("hedges_total") > 0
        assert scraped.sum("maybe_billed_attempts_total") > 0
        for error in ("ActorCrashed", "AskTimedOut", "BudgetExceeded"):
            assert scraped.sums("call_failures_total", "error")[error]
        assert scraped.sums("calls_total", "outcome")["cancelled"]

    run_virtual(main, seed=seed)
