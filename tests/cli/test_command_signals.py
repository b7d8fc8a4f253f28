"""A signal that reaches a command twice within a moment is one, at each command."""

import signal
import subprocess
import sys
import time

import httpx
import pytest
import trio
import trio.testing
from callsheet_process import CallsheetProcess
from provider_process import provider_process

from callsheet.cli.signals import SignalBurst, open_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are raised as on POSIX")
APART_S = 0.1  # as a parent that forwards the signal may take


def test_a_signal_is_new_if_no_other_came_in_the_moment_before():
    burst = SignalBurst()
    assert [burst.starts(now) for now in (5.0, 5.0, 5.2, 5.29)] == [True, False, False, False]
    assert burst.starts(5.3)  # also after others that did not count
    assert not burst.starts(5.5)


async def test_signals_of_a_moment_count_once_and_later_ones_again(autojump_clock):
    stopped: list[float] = []
    start = trio.current_time()
    async with open_signals(lambda: stopped.append(trio.current_time() - start)):
        for number, seconds in ((signal.SIGINT, 0.2), (signal.SIGTERM, 0.8), (signal.SIGINT, 1)):
            signal.raise_signal(number)
            await trio.sleep(seconds)
    assert stopped == [0, 1]


async def test_each_signal_of_another_meaning_is_reported(autojump_clock):
    seen: list[str | int] = []

    async def note(number):
        seen.append(number)

    others = {signal.SIGUSR1, signal.SIGHUP}
    async with open_signals(lambda: seen.append("stop"), others=others, on_other=note):
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
            await trio.testing.wait_all_tasks_blocked()
    assert seen == ["stop", signal.SIGHUP, signal.SIGHUP]


async def test_the_block_outlasts_the_moment_even_if_it_is_cancelled(autojump_clock):
    before, start = signal.getsignal(signal.SIGINT), trio.current_time()
    scope = trio.CancelScope()

    async def repeat():
        await trio.sleep(0.2)
        signal.raise_signal(signal.SIGINT)  # without the block: a KeyboardInterrupt

    async with trio.open_nursery() as nursery:
        with scope:
            async with open_signals(scope.cancel):
                nursery.start_soon(repeat)
                signal.raise_signal(signal.SIGINT)
                await trio.sleep_forever()
        assert trio.current_time() == start + 0.3
    assert signal.getsignal(signal.SIGINT) is before


async def test_a_block_without_a_signal_ends_at_once(autojump_clock):
    start = trio.current_time()
    async with open_signals(lambda: None):
        pass
    assert trio.current_time() == start


@pytest.fixture
def begin():
    """Starts a command, and returns its process once stderr has a line that begins as given."""
    started = []

    def run(*arguments, until):
        process = CallsheetProcess(
            *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        while not process.stderr.readline().startswith(until):
            assert process.poll() is None
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_a_request(base_url):
    until = time.monotonic() + 30
    address = f"{base_url.removesuffix('/v1')}/callsheet/stats"
    while not httpx.get(address, trust_env=False).json()["requests"]:
        assert time.monotonic() < until
        time.sleep(0.02)


def signal_twice(process):
    """Send SIGINT as to a process group whose leader forwards it; return what is printed."""
    process.send_signal(signal.SIGINT)
    time.sleep(APART_S)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert "Traceback" not in stderr
    return stdout, stderr


@pytest.mark.sockets
def test_run_waits_for_the_calls_in_flight(begin, tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\nTea\nCoffee\n")
    with provider_process("--latency", "3") as base_url:
        options = ("--template", "{{ text }}", "--rpm", "60", "--base-url", base_url)
        process = begin("run", source, output, *options, until="Provider:")
        wait_for_a_request(base_url)
        _, stderr = signal_twice(process)
    assert process.returncode == 130
    assert "Waiting for 1 call in flight." in stderr
    assert "may have been billed" not in stderr
    assert "1 of 2 rows" in stderr


@pytest.mark.sockets
def test_compose_says_what_is_finished(begin):
    with provider_process("--latency", "30") as base_url:
        process = begin("compose", "Tea", "--base-url", base_url, until="Provider:")
        wait_for_a_request(base_url)
        _, stderr = signal_twice(process)
    assert process.returncode == 130
    assert "Interrupted: 0 of 1 post finished." in stderr


@pytest.mark.sockets
def test_compare_ends_once(begin):
    process = begin("compare", "--time-scale", "10", "--modes", "sequential", until="Running")
    _, stderr = signal_twice(process)
    assert process.returncode == 130
    assert stderr == "\nInterrupted.\n"


@pytest.mark.sockets
def test_simulate_reports_its_counts(begin):
    process = begin("simulate", "--port", "0", until="Press Ctrl-C")
    _, stderr = signal_twice(process)
    assert process.returncode == 0
    assert stderr.startswith("0 requests:")
