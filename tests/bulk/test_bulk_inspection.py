"""`callsheet run --inspect`: `callsheet top` looks into a run."""

import json
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from bulk_rows import write_input
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.cli import main

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets"),
]


@pytest.fixture
def path():
    """The path of a socket, in a folder with a short name."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run.sock"


def reading_of(path):
    result = CliRunner().invoke(main, ["top", str(path), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_run_can_be_looked_into_while_it_goes_on(source, output, path, start):
    write_input(source, 50)
    with provider_process("--latency", "60") as base_url:
        process = start(source, output, "--base-url", base_url, "--inspect", path)
        until = time.monotonic() + 60
        while not path.exists() or reading_of(path)["in_flight"] < 50:
            assert time.monotonic() < until
            time.sleep(0.05)
        kinds = {one["kind"] for one in reading_of(path)["actors"]}
        assert {"DispatcherActor", "RequestActor", "InspectorActor"} <= kinds
        process.send_signal(signal.SIGINT)
        while "Press Ctrl-C again" not in process.stderr.readline():
            pass
        time.sleep(0.35)  # signals of a moment are one
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert not path.exists()


def test_a_path_that_cannot_be_used_stops_the_run_before_its_first_call(
    quick_provider, source, output, path, stats
):
    write_input(source, 3)
    path.write_text("notes")
    before = stats(quick_provider)["requests"]
    arguments = [source, output, "--base-url", quick_provider, "--inspect", path, "--json"]
    result = CliRunner().invoke(main, ["run", *map(str, arguments)])
    summary = json.loads(result.stdout)
    assert (summary["result"], result.exit_code) == ("refused", 2)
    assert f"inspect: {path} is no socket" in summary["message"]
    assert stats(quick_provider)["requests"] == before
    assert path.read_text() == "notes"
