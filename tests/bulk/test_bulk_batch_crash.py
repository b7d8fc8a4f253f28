"""A run by batches that is killed at any moment resumes them: none is created or paid twice."""

import re
import time
from decimal import Decimal
from random import Random

import pytest
from bulk_processes import PATIENCE_S, die, finish
from bulk_rows import MODEL, bodies, ids_of, lines_of, write_input
from holding_proxy import holding_proxy
from provider_process import provider_process

from callsheet.actors import NOTHING, read_sums

pytestmark = pytest.mark.sockets

OTHER_MODEL = "gpt-4o"
ROUTE = ("--provider", "openai", "--route", "batch")
UPLOAD, CREATE = "POST /v1/files$", "POST /v1/batches$"
LIST = r"GET /v1/batches\?"
POLL, FETCH = r"GET /v1/batches/[\w-]+$", "GET /v1/files/.*/content"
MOMENTS = ("before", "half", "after")


def write_rows(path, count):
    """Write rows that alternate between two models, so that they need two batches."""
    write_input(path, count)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(
            line.replace(f'"{MODEL}"', f'"{OTHER_MODEL}"') if number % 2 else line
            for number, line in enumerate(lines)
        )
    )


def check_all_are_answered(output, rows):
    assert ids_of(output) == [f"r-{number}" for number in range(1, rows + 1)]
    assert {line["callsheet"]["route"] for line in lines_of(output)} == {"batch"}
    assert {line["callsheet"]["maybe_billed"] for line in lines_of(output)} == {0}


def check_nothing_was_paid_twice(counts, outputs, rows):
    """Check the provider's counts: it was paid once for each response in these outputs."""
    assert counts["batch_lines"] == rows
    assert counts["requests"] == 0
    assert {tier for tiers in counts["billed"].values() for tier in tiers} == {"batch"}
    for name in ("input_tokens", "output_tokens"):
        lines = [line for output in outputs for line in lines_of(output)]
        assert counts[name] == sum(line["callsheet"]["usage"][name] for line in lines)


def check_the_books(ledger, output, rows):
    """Check that the ledger has each line once, as paid, and none as possibly billed (L3)."""
    spent, maybe, reserved = NOTHING, NOTHING, NOTHING
    for _, account, amount in read_sums(ledger, "model", now=time.time()):
        spent += amount if account == "spent" else NOTHING
        maybe += amount if account == "maybe_billed" else NOTHING
        reserved += amount if account == "reserved" else NOTHING
    usd = sum(Decimal(str(line["callsheet"]["cost_usd"])) for line in lines_of(output))
    assert (spent.usd, spent.calls) == (usd, rows)
    assert (maybe.usd, reserved) == (0, NOTHING)


def killed_at(start, proxy, command, call, moment):
    """Kill a run at that moment; return False if the run ended before."""
    held = proxy.hold(call, moment)
    process = start(*command)
    while not held.reached.wait(0.02) and process.poll() is None:
        pass
    is_reached = held.reached.is_set()
    if is_reached:
        die(process)
    held.release()
    return is_reached


@pytest.mark.slow  # tests/actors/batch_api/test_batch_crash.py kills the stage in the usual run
def test_a_run_that_is_killed_at_each_step_of_its_batch_can_be_resumed(start, stats, tmp_path):
    """After its upload, its creation, a search for it, a poll of it, and amid its download (L7).

    A process that starts slowly finds the batch completed, so that there is nothing to poll.
    """
    source, output, undisturbed = (tmp_path / f"{name}.jsonl" for name in ("in", "out", "calm"))
    write_input(source, 40)
    with provider_process("--batch-time", "2-2") as base_url, holding_proxy(base_url) as proxy:
        calm = start(source, undisturbed, "--base-url", base_url, *ROUTE)
        ledger = tmp_path / "ledger"
        command = (source, output, "--base-url", proxy.base_url, *ROUTE, "--ledger", ledger)
        for call in (UPLOAD, CREATE, LIST, f"{POLL}|{FETCH}"):
            assert killed_at(start, proxy, command, call, "after")
        assert not ids_of(output)
        assert killed_at(start, proxy, command, FETCH, "half")
        told = finish(start(*command))
        assert "40 responses" in told
        assert "billed" not in told
        finish(calm)
        check_nothing_was_paid_twice(stats(base_url), (output, undisturbed), 2 * 40)
        assert stats(base_url)["batches"] == 2
        check_the_books(ledger, output, 40)
    check_all_are_answered(output, 40)
    assert bodies(output) == bodies(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_kills_at_any_steps_of_many_batches_make_none_twice(start, stats, tmp_path, seed):
    """Two models at a time, and a window of a third of the rows."""
    random, rows = Random(seed), 240
    source, output, undisturbed = (tmp_path / f"{name}.jsonl" for name in ("in", "out", "calm"))
    write_rows(source, rows)
    options = ("--batch-time", "1-8", "--seed", str(seed))
    window = ("--window", 80)
    with provider_process(*options) as base_url, holding_proxy(base_url) as proxy:
        calm = start(source, undisturbed, "--base-url", base_url, *ROUTE, *window)
        command = (source, output, "--base-url", proxy.base_url, *ROUTE, *window)
        steps = [(call, at) for call in (UPLOAD, CREATE, POLL, FETCH) for at in MOMENTS]
        killed = 0
        for call, moment in random.sample(steps, len(steps)):
            if not killed_at(start, proxy, command, call, moment):
                break
            killed += 1
        finish(start(*command))
        finish(calm)
        assert killed >= 5
        check_nothing_was_paid_twice(stats(base_url), (output, undisturbed), 2 * rows)
    check_all_are_answered(output, rows)
    assert bodies(output) == bodies(undisturbed)


@pytest.mark.slow
def test_live_calls_are_reported_as_possibly_lost_after_a_kill(start, stats, tmp_path):
    """There is no time for a batch, and the journal does not have responses of live calls."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_input(source, 40)
    with provider_process() as base_url:
        command = (source, output, "--base-url", base_url, *ROUTE, "--deadline", 40)
        process = start(*command)
        begun_by = time.monotonic() + PATIENCE_S
        while not stats(base_url)["requests"]:
            assert time.monotonic() < begun_by
            time.sleep(0.02)
        die(process)
        told = finish(start(*command[:-4], "--route", "live"))
        lost = stats(base_url)["requests"] - 40
    assert lost > 0
    assert re.search(rf"Up to ({lost}|40) calls may have been billed without a response", told)
