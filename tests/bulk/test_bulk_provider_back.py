"""A provider that stops during a run, and a provider that rejects some rows."""

import json
import re
import time

import pytest
from bulk_processes import PATIENCE_S, die, finish, run_here
from bulk_rows import bodies, ids_of, lines_of, write_input
from holding_proxy import holding_proxy
from provider_process import start_provider

from callsheet.bulk.settings import Paths

pytestmark = pytest.mark.sockets

IN_FLIGHT = 20
CHAT = "POST /v1/chat/completions"
WHY = {"error": {"message": "this cannot be said", "type": "invalid_request_error"}}


@pytest.fixture
def open_provider():
    """Starts the built-in provider; every process that still runs is ended with the test."""
    opened = []

    def begin(*options):
        process, base_url = start_provider(*options)
        opened.append(process)
        return process, base_url

    yield begin
    for process in opened:
        process.kill()
        process.communicate()


def wait_for(stats, base_url, answered):
    until = time.monotonic() + PATIENCE_S
    while stats(base_url)["answered"] < answered:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_run_outlives_its_provider(start, stats, source, output, open_provider):
    """Rows in flight are sent again, the others wait: an outage is no failure (R10)."""
    write_input(source, 200)
    options = ("--time-scale", "0.1")
    provider, base_url = open_provider(*options)
    run = start(source, output, "--base-url", base_url, "--max-concurrency", IN_FLIGHT)
    wait_for(stats, base_url, 60)
    die(provider)
    time.sleep(1)
    assert run.poll() is None
    had = len(ids_of(output))
    port = base_url.removesuffix("/v1").rpartition(":")[2]
    _, same_url = open_provider(*options, "--port", port)
    assert same_url == base_url
    told = finish(run)
    assert ids_of(output) == [f"r-{number}" for number in range(1, 201)]
    assert had < 200
    assert not Paths(output).errors.exists()
    lines = lines_of(output)
    again = [line for line in lines if line["callsheet"]["attempts"] > 1]
    assert 0 < len(again) < 140
    lost = sum(line["callsheet"]["maybe_billed"] for line in lines)
    assert re.search(rf"Up to {lost} calls may have been billed", told)
    assert lost <= IN_FLIGHT
    # Rows that already have a response are not sent again.
    assert stats(base_url)["answered"] <= 200 - 60 + IN_FLIGHT
    undisturbed = output.with_name("undisturbed.jsonl")
    run_here(source, undisturbed, "--base-url", base_url)
    assert bodies(output) == bodies(undisturbed)


def refusing(*numbers):
    """Return a function that responds with 400 to some rows."""
    prompts = {f"Say {number}." for number in numbers}

    def refuse(body):
        is_refused = body and json.loads(body)["messages"][-1]["content"] in prompts
        return (400, json.dumps(WHY).encode()) if is_refused else None

    return refuse


@pytest.mark.parametrize("order", [(), ("--unordered",)], ids=["ordered", "unordered"])
def test_only_rows_that_have_failed_are_asked_again(source, output, quick_provider, order):
    """The file of errors has the rows that failed this time, and OUTPUT has each other row once."""
    write_input(source, 30)
    all_ids = [f"r-{number}" for number in range(1, 31)]

    def run(failing, *, status):
        """Run while the provider rejects these rows; return the rows that were sent."""
        proxy.calls.clear()
        proxy.refuse = refusing(*failing)
        told = run_here(source, output, "--base-url", proxy.base_url, *order, status=status)
        asked = proxy.calls.count(CHAT)
        bad = {f"r-{number}" for number in failing}
        found = ids_of(output)
        assert sorted(found) == sorted(set(all_ids) - bad)
        if not order:
            assert found == [one for one in all_ids if one not in bad]
        if bad:
            lines = lines_of(Paths(output).errors)
            assert sorted(line["custom_id"] for line in lines) == sorted(bad)
            assert {line["response"]["status_code"] for line in lines} == {400}
            assert f"{len(bad)} row" in told
        else:
            assert not Paths(output).errors.exists()
        return asked

    with holding_proxy(quick_provider) as proxy:
        assert run(range(5, 31, 5), status=1) == 30
        assert run(range(10, 31, 10), status=1) == 6
        assert run([10, 30], status=1) == 3
        assert run([], status=0) == 2
        assert run([], status=0) == 0
        undisturbed = output.with_name("undisturbed.jsonl")
        run_here(source, undisturbed, "--base-url", proxy.base_url)
    assert bodies(output) == bodies(undisturbed)
