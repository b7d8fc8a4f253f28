"""Several processes on one run and a real server, of which any may be killed."""

import contextlib
import json
import os
import signal
import subprocess
import time
from random import Random

import pytest
from bulk_rows import ids_of, lines_of, write_input
from callsheet_process import CallsheetProcess
from provider_process import provider_process
from valkey_server import valkey_server

pytestmark = pytest.mark.sockets

KEEPS = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
IN_FLIGHT = 10
ROWS = 120


class Party:
    """The processes of one run.

    Args:
        folder: where INPUT, OUTPUT and the journals are.
        base_url: of the provider.
        server: of the rows.
    """

    def __init__(self, folder, base_url, server):
        self.folder, self.base_url, self.server = folder, base_url, server
        self.source, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.running = []

    def run(self, *more):
        arguments = (self.source, self.output, "--base-url", self.base_url, "--json")
        shared = ("--shared", self.server.url, "--max-concurrency", IN_FLIGHT)
        return self._start("run", *arguments, *shared, *more)

    def work(self, slot, *more):
        journal = ("--journal", self.folder / f"journal-{slot}")
        return self._start("work", self.server.url, *journal, "--wait", *more)

    def _start(self, *arguments):
        process = CallsheetProcess(
            *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.running.append(process)
        return process

    def wait_for_lines(self, count, most_s=60):
        until = time.monotonic() + most_s
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.output.read_bytes().count(b"\n") >= count:
                    return
            time.sleep(0.05)
        raise AssertionError(f"OUTPUT has fewer than {count} lines")

    def close(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextlib.contextmanager
def party(folder, rows, *, scale="0.1"):
    write_input(folder / "in.jsonl", rows)
    with provider_process("--time-scale", scale) as base_url, valkey_server(**KEEPS) as server:
        made = Party(folder, base_url, server)
        try:
            yield made
        finally:
            made.close()


def names(rows):
    return [f"r-{number}" for number in range(1, rows + 1)]


def test_two_processes_answer_each_row_once_over_a_server(tmp_path, stats):
    with party(tmp_path, ROWS, scale="0.2") as it:
        worker = it.work(1)
        assert "Waiting for a run" in worker.stderr.readline()
        run = it.run()
        told, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        summary = json.loads(told)
        assert (summary["result"], summary["answered"]) == ("done", ROWS)
        assert (summary["workers"], summary["given_again"]) == (2, 0)
        assert "Other machines can work on it: callsheet work unix://" in errors
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        assert stats(it.base_url)["requests"] == ROWS
    assert ids_of(tmp_path / "out.jsonl") == names(ROWS)


@pytest.mark.slow
def test_a_second_run_with_the_same_output_is_told_how_to_join(tmp_path):
    with party(tmp_path, 300) as it:
        it.run()
        it.wait_for_lines(1)
        second = it.run()
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"let this process work on it: callsheet work {it.server.url}" in errors


@pytest.mark.slow
def test_a_server_that_may_lose_rows_is_refused(tmp_path, stats):
    write_input(tmp_path / "in.jsonl", 3)
    with provider_process() as base_url, valkey_server(appendonly="no") as server:
        it = Party(tmp_path, base_url, server)
        run = it.run()
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 2
        assert "appendonly" in errors
        assert stats(base_url)["requests"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_of_workers_of_the_holder_and_of_the_server_lose_no_row(tmp_path, stats, seed):
    """At most what a killed worker had in hand is paid for twice, and it is counted."""
    rows, random = 1500, Random(seed)
    with party(tmp_path, rows, scale="0.2") as it:
        workers = {slot: it.work(slot) for slot in (1, 2)}
        run, kills, holders = it.run(), 0, 0
        for step in range(9):
            it.wait_for_lines(150 * step + 30, most_s=120)
            time.sleep(random.uniform(0, 0.5))
            if run.poll() is not None:
                break
            what = ("worker", "server", "holder")[step % 3]
            if what == "worker":
                slot = random.choice(list(workers))
                workers[slot].send_signal(signal.SIGKILL)
                workers[slot] = it.work(slot)
                kills += 1
            elif what == "server":
                it.server.kill()
                it.server.start()
            else:
                run.send_signal(signal.SIGKILL)
                run.wait()
                run = it.run()
                kills, holders = kills + 1, holders + 1
        told, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
        requests = stats(it.base_url)["requests"]
        summary = json.loads(told)
        again = sum(line["callsheet"]["maybe_billed"] for line in lines_of(it.output))
        print(f"{kills} kills, {requests - rows} extra, {again} counted, {summary['given_again']}")
        assert kills >= 3
        assert holders >= 1
        assert ids_of(it.output) == names(rows)
        assert requests - rows <= 3 * IN_FLIGHT * kills
        assert requests - rows <= again


@pytest.mark.slow
def test_three_processes_of_one_machine_share_a_private_server(tmp_path, stats):
    write_input(tmp_path / "in.jsonl", 200)
    with provider_process("--time-scale", "0.2") as base_url:
        output = tmp_path / "out.jsonl"
        arguments = (tmp_path / "in.jsonl", output, "--base-url", base_url, "--json")
        run = CallsheetProcess(
            *("run", *arguments, "--workers", "3", "--max-concurrency", "5"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        told, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        assert json.loads(told)["workers"] == 3
        assert stats(base_url)["requests"] == 200
    assert ids_of(output) == names(200)


def test_workers_without_a_server_get_a_remedy(tmp_path):
    write_input(tmp_path / "in.jsonl", 3)
    arguments = (tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--provider", "builtin")
    run = CallsheetProcess(
        *("run", *arguments, "--workers", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": str(tmp_path)},
    )
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "install valkey-server or redis-server, or name a server with --shared URL" in errors
