"""What holds a run is told: `--max-cost`, which reserves the most of each call, or concurrency."""

import json
import time
from decimal import Decimal

import pytest
from bulk_processes import run_here
from bulk_rows import write_input
from provider_process import provider_process

from callsheet.actors import BudgetExceeded, CostBound, Request, default_prices
from callsheet.bulk.answer_schema import schema_class
from callsheet.bulk.spending import BudgetRoom, RunSpend, Spending

MODEL = "gpt-5.4-nano"
LABEL = schema_class("label: positive|negative|neutral")


def room(request, *, budget="0.01", before=None):
    """Return the room of a budget that had none for a request."""
    bound = CostBound(default_prices())
    needs = bound.usd_of(request, bound.usage_of(request))
    error = BudgetExceeded("too little", budget="a", left_usd=Decimal(0), needs_usd=needs)
    return Spending(before or RunSpend(), bound).room(error, Decimal(budget), request)


def test_a_call_without_a_limit_of_tokens_is_told_one_that_makes_room():
    found = room(Request.of("Tea", model=MODEL))
    assert found.calls == 1
    assert Decimal("0.005") < found.call_usd < Decimal("0.0053")
    assert found.max_tokens == 1000
    assert 4 < found.calls_then < 9


def test_a_schema_of_short_fields_needs_less():
    found = room(Request.of("Tea", model=MODEL, returns=LABEL))
    assert found.max_tokens == 200
    assert found.calls_then > 20


def test_a_call_with_a_limit_of_its_own_is_told_no_other():
    found = room(Request.of("Tea", model=MODEL, max_tokens=3000))
    assert (found.calls, found.max_tokens, found.calls_then) == (2, None, 0)


def test_texts_to_embed_have_no_such_limit():
    found = room(Request.embedding("Tea " * 400, model="text-embedding-3-small"), budget="0.00001")
    assert (found.calls, found.max_tokens) == (1, None)


def test_what_may_have_been_billed_leaves_less_room():
    request = Request.of("Tea", model=MODEL)
    before = RunSpend(lost=9, maybe_usd=Decimal("0.05"))
    assert room(request, budget="0.1").calls > room(request, budget="0.1", before=before).calls


def test_the_budget_of_another_lane_says_nothing():
    spending = Spending(RunSpend(), CostBound(default_prices()))
    error = BudgetExceeded("too little", budget="a", left_usd=Decimal(0), needs_usd=Decimal(1))
    assert spending.room(error, None, Request.of("Tea", model=MODEL)) is None
    unknown = BudgetExceeded("no price", budget="a", left_usd=Decimal(0), needs_usd=None)
    assert spending.room(unknown, Decimal(1), Request.of("Tea", model=MODEL)) is None


def test_room_is_a_value():
    assert BudgetRoom(1, Decimal(1)) == BudgetRoom(1, Decimal(1), None, 0)


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("text\n" + "".join(f"A review of thing {n}.\n" for n in range(12)))
    return path


@pytest.mark.sockets
def test_the_first_line_says_why_one_call_is_in_flight(reviews, tmp_path, quick_provider):
    options = ("--template", "{{ text }}", "--base-url", quick_provider, "--model", MODEL)
    run = (reviews, tmp_path / "out.csv", *options, "--schema", "label: good|bad")
    told = run_here(*run, "--max-cost", "0.008")
    assert (
        "--max-cost allows 1 call in flight: each may cost up to $0.0052; --max-tokens 200" in told
    )
    assert "12 responses" in told
    told = run_here(*run[:1], tmp_path / "new.csv", *run[2:], "--max-cost", "8")
    assert "in flight: each" not in told


@pytest.mark.sockets
def test_what_a_killed_run_may_have_spent_is_told_at_the_start(
    start, reviews, tmp_path, quick_provider, stats
):
    options = ("--template", "{{ text }}", "--model", MODEL, "--max-concurrency", "4")
    with provider_process("--latency", "30") as slow:
        process = start(reviews, tmp_path / "out.csv", *options, "--base-url", slow)
        until = time.monotonic() + 60
        while stats(slow)["requests"] < 4:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
        process.wait()
    more = ("--base-url", quick_provider, "--other-provider", "--max-cost", "0.03")
    told = run_here(reviews, tmp_path / "out.csv", *options, *more)
    assert "Of --max-cost $0.0300, $0.0205 count for 4 calls that may have been billed" in told
    assert "--max-cost allows 1 call in flight" in told


@pytest.mark.sockets
def test_the_progress_names_max_concurrency_if_nothing_else_holds_the_run(
    start, source, output, tmp_path
):
    write_input(source, 300)
    with provider_process("--latency", "0.3") as base_url:
        events = tmp_path / "events.jsonl"
        options = ("--base-url", base_url, "--max-concurrency", "3", "--events", events)
        process = start(source, output, *options)
        line = process.stderr.readline()
        while "3 in flight, the limit of" not in line:  # a busy machine holds the first lines
            line = process.stderr.readline()
            assert line, "the run has ended"
        process.kill()
    assert "3 in flight, the limit of --max-concurrency, " in line
    assert json.loads(events.read_text().splitlines()[0])["event"] == "start"
