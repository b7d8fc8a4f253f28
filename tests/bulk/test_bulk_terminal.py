"""The output of `callsheet run` on a real terminal while the display is drawn there."""

import os
import pty
import select
import signal
import subprocess
import time

import pytest
from bulk_rows import write_input
from callsheet_process import CallsheetProcess
from provider_process import provider_process

pytestmark = pytest.mark.sockets

_ERASED = b"\x1b[2K"  # erases the line


@pytest.fixture(scope="module")
def slow_provider():
    """A provider slow enough that calls are in flight during the whole test."""
    with provider_process("--latency", "60") as base_url:
        yield base_url


@pytest.fixture
def on_terminal(slow_provider, tmp_path):
    """A slow run whose stderr is a terminal, and a function that reads it until words appear."""
    write_input(tmp_path / "in.jsonl", 300)
    controller, terminal = pty.openpty()
    process = CallsheetProcess(
        *("run", "in.jsonl", "out.jsonl", "--base-url", slow_provider, "--rpm", "300"),
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""

    def read_until(words):
        nonlocal shown
        until = time.monotonic() + 30
        while words not in shown:
            ready, _, _ = select.select([controller], [], [], max(0, until - time.monotonic()))
            assert ready, shown[-2000:]
            shown += os.read(controller, 65536)
        before, _, shown = shown.partition(words)
        return before

    yield process, read_until
    if process.poll() is None:
        process.kill()
    process.wait()
    os.close(controller)


def test_the_effect_of_a_signal_is_shown_above_the_display(on_terminal):
    process, read_until = on_terminal
    read_until(b"in flight")
    process.send_signal(signal.SIGUSR1)
    # Written without the display, the words would be in its last line and be overwritten.
    assert read_until(b"Paused. Send SIGUSR1 again to resume.").endswith(_ERASED)
    read_until(b"of 300 rows")
    process.send_signal(signal.SIGUSR1)
    assert read_until(b"Resumed.").endswith(_ERASED)
    read_until(b"of 300 rows")
    process.send_signal(signal.SIGINT)
    assert read_until(b"Waiting for ").endswith(_ERASED)
