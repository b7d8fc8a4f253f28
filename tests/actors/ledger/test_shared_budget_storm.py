"""Processes that share a budget on a server are killed and stopped, and so is the server."""

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from valkey_server import valkey_server

from callsheet.actors import NOTHING, read_sums

pytestmark = pytest.mark.sockets

HERE = Path(__file__).parent


def start(server, ledger, bills, budget, seed):
    command = [sys.executable, HERE / "spender_process.py", server.url, ledger, bills]
    return subprocess.Popen(
        [*command, str(budget), str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
    )


def billed(bills):
    lines = bills.read_text().split("\n")[:-1] if bills.exists() else []
    return sum(map(Decimal, lines), Decimal(0)), len(lines)


def finish(processes):
    for process in processes:
        _, told = process.communicate(timeout=100)
        assert process.returncode == 0, told


def check_books(ledgers, bills):
    """Check that the ledgers have what was billed, as far as it is known (L3)."""
    sums = {}
    for ledger in set(ledgers):
        for _, account, amount in read_sums(ledger, "model", now=time.time()):
            sums[account] = sums.get(account, NOTHING) + amount
    maybe = sums.get("maybe_billed", NOTHING).usd + sums.get("unknown", NOTHING).usd
    assert sums["reserved"] == NOTHING
    assert sums["spent"].usd <= billed(bills)[0] <= sums["spent"].usd + maybe
    return sums["spent"].usd + maybe


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_processes_and_a_killed_server_spend_no_more_than_the_budget(tmp_path, seed):
    random, budget, bills = Random(seed), Decimal("0.6"), tmp_path / "bills"
    ledgers = [tmp_path / name for name in ("one", "one", "two", "three")]
    with valkey_server(appendonly="yes") as server:
        processes = [start(server, ledger, bills, budget, seed) for ledger in ledgers]
        for step in range(24):
            time.sleep(random.uniform(0.1, 0.8))
            at = random.randrange(4)
            match random.choice(["kill", "kill", "stop", "server", "hang"]):
                case "kill":
                    processes[at].kill()
                    processes[at].communicate()
                    processes[at] = start(server, ledgers[at], bills, budget, 10 * step + seed)
                case "stop":
                    os.kill(processes[at].pid, signal.SIGSTOP)
                    time.sleep(0.5)
                    os.kill(processes[at].pid, signal.SIGCONT)
                case "server":
                    server.kill()
                    time.sleep(random.choice([0, 0.5]))
                    server.start()
                case "hang":
                    server.stop()
                    time.sleep(random.choice([0.2, 2.5]))
                    server.go_on()
            assert billed(bills)[0] <= budget
        finish(processes)
    used = check_books(ledgers, bills)
    print(f"billed {billed(bills)} of {budget}, in the books at most {used}")
    assert billed(bills)[0] <= budget
    assert used <= budget
    assert used > budget * Decimal("0.98")


@pytest.mark.slow
def test_a_server_that_loses_everything_spends_no_more_than_the_budget(tmp_path):
    budget, bills = Decimal("0.4"), tmp_path / "bills"
    ledgers = [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    with valkey_server(appendonly="yes") as server:
        processes = [start(server, ledger, bills, budget, 1) for ledger in ledgers]
        time.sleep(6)
        for _ in range(3):
            server.clear()
            time.sleep(4.5)
            assert billed(bills)[0] <= budget
        finish(processes)
    assert billed(bills)[0] <= budget
    assert check_books(ledgers, bills) <= budget
