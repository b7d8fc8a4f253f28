"""`--metrics` on the command line, and the metrics of a run as a program reads them."""

import socket

import pytest
from bulk_processes import run_here
from bulk_rows import rows, stage

from callsheet.cli.run import options
from callsheet.metrics import Metrics

needs_sockets = pytest.mark.sockets


@pytest.mark.usefixtures("journal_on_the_spot")
async def test_each_row_of_a_run_is_a_call(autojump_clock, output):
    metrics = Metrics()
    async with stage() as it, it.open(rows(30), output, troupe={"metrics": metrics}) as run:
        await run.wait()
        text = (await metrics.exposition()).body.decode()
    calls = [line for line in text.splitlines() if line.startswith("callsheet_calls_total")]
    assert sum(float(line.split()[-1]) for line in calls) == 30
    assert 'actor="dispatcher"' in text


@needs_sockets
def test_a_run_answers_at_the_address(quick_provider, source, output):
    source.write_text('{"prompt": "Hi"}\n')
    given = ("--base-url", quick_provider, "--model", "gpt-4o-mini")
    assert "1 response" in run_here(source, output, *given, "--metrics", "0")


@needs_sockets
def test_an_address_that_is_taken_refuses_the_run(quick_provider, source, output):
    source.write_text('{"prompt": "Hi"}\n')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        given = ("--base-url", quick_provider, "--model", "gpt-4o-mini", "--metrics", address)
        told = run_here(source, output, *given, status=2)
    assert f"cannot listen at {address}" in told
    assert "internal error" not in told


def test_what_is_no_address_is_refused(source, output):
    source.write_text('{"prompt": "Hi"}\n')
    told = run_here(source, output, "--metrics", "here", status=2)
    assert "write HOST:PORT" in told


def test_without_the_extra_its_name_is_told(source, output, monkeypatch):
    def missing():
        raise ImportError("callsheet.metrics needs prometheus-client; install it so")

    monkeypatch.setattr(options, "_metrics_module", missing)
    source.write_text('{"prompt": "Hi"}\n')
    told = run_here(source, output, "--metrics", "9464", status=2)
    assert "callsheet.metrics needs prometheus-client; install it so" in told
