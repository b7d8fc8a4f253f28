"""A run that is killed at any moment can be resumed, and neither loses nor repeats a response."""

import json
import re
import signal
import time
from random import Random

import pytest
from bulk_processes import begun, run_here
from bulk_rows import ids_of, lines_of, write_input
from provider_process import provider_process

pytestmark = pytest.mark.sockets

IN_FLIGHT = 20


def kill_and_go_on(start, stats, tmp_path, base_url, *, rows, kills, seed, most_s):
    random, output = Random(seed), tmp_path / "out.jsonl"
    source = tmp_path / "in.jsonl"
    write_input(source, rows)
    arguments = (source, output, "--base-url", base_url, "--max-concurrency", IN_FLIGHT)
    killed = 0
    while killed < kills:
        process = start(*arguments)
        if not begun(process, base_url, stats, stats(base_url)["requests"]):
            break
        time.sleep(random.uniform(0.0, most_s))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        for line in output.read_bytes().split(b"\n")[:-1]:
            json.loads(line)  # whole, all of them
    process = start(*arguments)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return killed, told


def without_figures(line):
    """Return the line without the members that differ in every response."""
    body = line["response"]["body"]
    return line["custom_id"], {k: body[k] for k in body.keys() - {"id", "created"}}


def check(start, stats, tmp_path, base_url, *, rows, kills, seed, most_s):
    killed, told = kill_and_go_on(
        start, stats, tmp_path, base_url, rows=rows, kills=kills, seed=seed, most_s=most_s
    )
    output = tmp_path / "out.jsonl"
    counts = stats(base_url)
    extra = counts["answered"] - rows
    assert ids_of(output) == [f"r-{number}" for number in range(1, rows + 1)]
    assert extra <= killed * IN_FLIGHT
    assert counts["requests"] - rows <= killed * IN_FLIGHT
    lost = re.search(r"Up to ([\d,]+) calls may have been billed", told)
    assert counts["requests"] - rows <= int(lost[1].replace(",", "")) <= killed * IN_FLIGHT
    undisturbed = tmp_path / "undisturbed.jsonl"
    run_here(tmp_path / "in.jsonl", undisturbed, "--base-url", base_url)
    one, other = lines_of(output), lines_of(undisturbed)
    assert list(map(without_figures, one)) == list(map(without_figures, other))
    return killed


def test_a_run_that_is_killed_twice_can_be_resumed(start, stats, tmp_path):
    with provider_process("--time-scale", "0.1") as base_url:
        killed = check(start, stats, tmp_path, base_url, rows=300, kills=2, seed=1, most_s=0.3)
    assert killed == 2


@pytest.mark.slow
def test_fifty_kills_at_random_lose_and_repeat_nothing(start, stats, tmp_path):
    with provider_process("--time-scale", "0.1") as base_url:
        killed = check(start, stats, tmp_path, base_url, rows=5000, kills=55, seed=2, most_s=0.8)
    assert killed >= 50
