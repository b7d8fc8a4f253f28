"""Processes that share a ledger and a cache are killed at random, and go on with their files."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from random import Random

import httpx
import pytest
from provider_process import provider_process
from storm_calls import POOR_MODEL
from storm_house import POOR_USD, PRICES, PROVIDER
from storm_process import CALLS, ROWS, Told

from callsheet.actors import NOTHING, Usage, read_sums

pytestmark = pytest.mark.sockets

HERE = Path(__file__).parent
ROLES = ("calls", "rows", "batch")
FAULTS = "429=0.03,500=0.03,reset=0.03,lost=0.02,reset_body=0.02,no_usage=0.02,truncate=0.02"
FAILURES = {"ConnectionFailed", "MalformedResponse", "ProviderUnavailable", "RateLimited"}
PATIENCE_S = 100.0
ROUNDS = 6  # of runs of the same command


def started(role, folder, urls, seed):
    """Start a process of the storm."""
    command = [sys.executable, HERE / "storm_process.py", role, folder, *urls, str(seed)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environ
    )


def stats_of(url):
    return httpx.get(
        f"{url.removesuffix('/v1')}/callsheet/stats", trust_env=False, verify=False
    ).json()


def wait_for(is_so):
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def kill_amid_work(processes, urls, random):
    """Kill the processes after some of their requests; return whether one was still at work."""
    before = sum(stats_of(url)["requests"] for url in urls)
    wanted = before + random.randrange(5, 60)

    def is_amid():
        now = sum(stats_of(url)["requests"] for url in urls)
        return now >= wanted or all(process.poll() is not None for process in processes)

    wait_for(is_amid)
    was_at_work = any(process.poll() is None for process in processes)
    for process in processes:
        process.kill()
        process.communicate()
    return was_at_work


def finish(processes):
    for process in processes:
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, told


def lines_of(folder, role, kind="jsonl"):
    path = folder / f"{role}.{kind}"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def failed_rows(folder, role):
    """Return the ids of rows without a response, each of which the errors file tells.

    A row whose attempts both break off, at the first choice and at the fallback, may have been
    billed twice, and is not sent a third time by itself.
    """
    failed = lines_of(folder, role, "jsonl.errors.jsonl")
    for line in failed:
        ours = line["callsheet"]
        assert ours["kind"] in FAILURES, line
        assert ours["billed"] == "maybe" or ours["attempts"] > 1, line
    answered = [line["custom_id"] for line in lines_of(folder, role)]
    ids = [line["custom_id"] for line in failed]
    assert sorted([*answered, *ids]) == sorted(ids_of(role))
    assert answered == [one for one in ids_of(role) if one not in ids]
    return ids


def ids_of(role):
    return [f"{role}-{number}" for number in range(1, ROWS + 1)]


def send_failed_rows(folder, urls, seed):
    """Run the same commands again until each row has a response."""
    for _ in range(ROUNDS):
        roles = [role for role in ROLES[1:] if failed_rows(folder, role)]
        if not roles:
            return
        finish([started(role, folder, urls, seed) for role in roles])


def check_answers(folder):
    """Check that each call has ended once and each row has its own response."""
    told = Told(folder / "told").read()
    assert sorted(line["number"] for line in told) == list(range(CALLS))
    assert all(line["is_right"] for line in told)
    for role in ROLES[1:]:
        lines = lines_of(folder, role)
        assert [line["custom_id"] for line in lines] == ids_of(role)
        for line in lines:
            text = line["response"]["body"]["choices"][0]["message"]["content"]
            assert re.search(rf"(?<![\w-]){line['custom_id']}(?!\d)", text, re.IGNORECASE), line


def check_books(folder, urls):
    """Check the ledger against what both providers have billed (L3, L13)."""
    sums = {}
    for _, account, amount in read_sums(folder / "ledger", "model", now=time.time()):
        sums[account] = sums.get(account, NOTHING) + amount
    known = sums["spent"]
    maybe = sums.get("unknown", NOTHING) + sums.get("maybe_billed", NOTHING)
    usage, usd = Usage(), {}
    for url in urls:
        for model, tiers in stats_of(url)["billed"].items():
            for tier, tokens in tiers.items():
                used = Usage(
                    tokens["input_tokens"],
                    tokens["output_tokens"],
                    tokens.get("cached_tokens", 0),
                    tokens.get("written_tokens", 0),
                )
                usage += used
                usd[model] = usd.get(model, Decimal(0)) + PRICES.price(model).at(tier).cost(used)
    assert sums.get("reserved", NOTHING) == NOTHING
    assert known.usd <= sum(usd.values()) <= known.usd + maybe.usd
    assert known.input_tokens <= usage.input_tokens <= known.input_tokens + maybe.input_tokens
    assert known.output_tokens <= usage.output_tokens <= known.output_tokens + maybe.output_tokens
    assert usd.get(POOR_MODEL, 0) <= POOR_USD, "one tenant alone uses this model"


def check_batches(folder):
    """Check that each row of the run by batches was sent in one batch, and in no live call."""
    lines = lines_of(folder, "batch")
    assert all(line["callsheet"]["maybe_billed"] == 0 for line in lines)
    assert {line["callsheet"]["route"] for line in lines} == {"batch"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "kills"),
    [(1, 1), *((seed, 8) for seed in range(2, 8))],
)
def test_processes_that_are_killed_keep_their_books(tmp_path, seed, kills):
    random = Random(seed)
    options = ("--seed", str(PROVIDER.seed), "--faults", FAULTS)
    options += ("--time-scale", "0.05", "--batch-time", "10-60")
    with ExitStack() as stack:
        urls = [stack.enter_context(provider_process(*options)) for _ in range(2)]
        for _ in range(kills):
            processes = [started(role, tmp_path, urls, seed) for role in ROLES]
            if not kill_amid_work(processes, urls, random):
                break
        finish([started(role, tmp_path, urls, seed) for role in ROLES])
        send_failed_rows(tmp_path, urls, seed)
        wait_for(lambda: not any(stats_of(url)["working"] for url in urls))
        check_answers(tmp_path)
        check_books(tmp_path, urls)
        check_batches(tmp_path)
