"""A run that starts while another process still has the files, or is being killed."""

import json
import re
import signal
import time
from random import Random

import pytest
from bulk_processes import begun, die, finish, run_here
from bulk_rows import bodies, ids_of, write_input
from provider_process import provider_process

pytestmark = pytest.mark.sockets

IN_FLIGHT = 20
REFUSED = "Error: another run is writing out.jsonl"


@pytest.fixture
def base_url():
    with provider_process("--time-scale", "0.1") as url:
        yield url


def command(source, output, base_url):
    return (source, output, "--base-url", base_url, "--max-concurrency", IN_FLIGHT)


def check(output, rows):
    assert ids_of(output) == [f"r-{number}" for number in range(1, rows + 1)]


def test_a_run_is_refused_while_another_one_is_suspended(start, stats, source, output, base_url):
    """A process owns the files exactly as long as it lives, even if it is suspended."""
    write_input(source, 150)
    first = start(*command(source, output, base_url))
    assert begun(first, base_url, stats, 0)
    first.send_signal(signal.SIGSTOP)
    time.sleep(0.5)  # calls in flight end
    before, asked = output.read_bytes(), stats(base_url)["requests"]
    told = finish(start(*command(source, output, base_url)), status=2)
    assert f"{REFUSED}; wait until it has ended, or give another OUTPUT" in told
    assert output.read_bytes() == before
    assert stats(base_url)["requests"] == asked
    first.send_signal(signal.SIGKILL)  # without waiting for its end
    finish(start(*command(source, output, base_url)))
    check(output, 150)
    assert stats(base_url)["requests"] - 150 <= IN_FLIGHT


def succeed(start, stats, source, output, base_url, *, rows, rounds, seed, most_s):
    """Start runs while the one before is being killed; return the number of runs."""
    random = Random(seed)
    write_input(source, rows)
    kills = refusals = 0
    since = time.monotonic()
    process = start(*command(source, output, base_url))
    is_working = begun(process, base_url, stats, 0)
    most_s = max(most_s, 2 * (time.monotonic() - since))  # a start takes long on a busy machine
    while is_working and kills < rounds:
        successor = start(*command(source, output, base_url))
        time.sleep(random.uniform(0.0, most_s))  # before or after it has opened the files
        die(process)
        kills += 1
        before = stats(base_url)["requests"]
        for line in output.read_bytes().split(b"\n")[:-1]:
            json.loads(line)  # whole, all of them
        process = successor
        while not (is_working := begun(process, base_url, stats, before)):
            if process.returncode == 0:
                break
            assert REFUSED in finish(process, status=2)
            refusals += 1
            process = start(*command(source, output, base_url))
    told = finish(process)
    return kills, refusals, told


def check_succession(start, stats, source, output, base_url, *, rows, rounds, seed, most_s):
    kills, refusals, told = succeed(
        start, stats, source, output, base_url, rows=rows, rounds=rounds, seed=seed, most_s=most_s
    )
    assert kills >= rounds / 2
    check(output, rows)
    lost = re.search(r"Up to ([\d,]+) calls may have been billed", told)
    assert stats(base_url)["requests"] - rows <= int(lost[1].replace(",", "")) <= kills * IN_FLIGHT
    undisturbed = output.with_name("undisturbed.jsonl")
    run_here(source, undisturbed, "--base-url", base_url)
    assert bodies(output) == bodies(undisturbed)
    return refusals


def test_a_run_continues_or_is_refused_while_another_one_is_killed(
    start, stats, source, output, base_url
):
    check_succession(start, stats, source, output, base_url, rows=200, rounds=3, seed=1, most_s=0.9)


@pytest.mark.slow
def test_thirty_successions_lose_and_repeat_nothing(start, stats, source, output, base_url):
    refusals = check_succession(
        start, stats, source, output, base_url, rows=5000, rounds=30, seed=2, most_s=2.0
    )
    assert 0 < refusals < 30
