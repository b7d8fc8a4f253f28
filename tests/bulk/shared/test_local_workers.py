"""The private server and the worker processes of `--workers N`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from valkey_server import needs_server

from callsheet.actors import CallContext, Endpoint, Request, ServerUrl, TroupeSettings
from callsheet.bulk.shared import local_workers
from callsheet.bulk.shared.card import encode_card
from callsheet.bulk.shared.local_workers import NoServer, open_local_server, open_local_workers
from callsheet.bulk.shared.queue import QueuedRow
from callsheet.bulk.shared.valkey import ValkeyQueue
from callsheet.bulk.shared.wire import encode_call

needs_processes = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets, and sh")
KEPT = """
import sys, trio
from callsheet.bulk.shared.local_workers import open_local_server, open_local_workers

async def main():
    async with open_local_server() as url, open_local_workers(url, "one", 1) as workers:
        while not workers.pids:
            await trio.sleep(0.05)
        print(url, *workers.pids, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_machine_without_a_server_says_what_to_install(monkeypatch):
    monkeypatch.setattr(local_workers.shutil, "which", lambda _: None)
    with pytest.raises(NoServer, match="install valkey-server or redis-server, or name a server"):
        async with open_local_server():
            raise AssertionError


@needs_processes
async def test_a_server_that_does_not_start_says_why(monkeypatch, tmp_path):
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(local_workers.shutil, "which", lambda _: str(broken))
    monkeypatch.setattr(local_workers, "_READY_S", 0.1)
    with pytest.raises(NoServer, match="redis-server does not start"):
        async with open_local_server():
            raise AssertionError


@needs_processes
async def test_the_private_server_keeps_a_log_and_leaves_nothing():
    needs_server()
    async with open_local_server() as url:
        folder = Path(url.removeprefix("unix://")).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        queue = ValkeyQueue(ServerUrl.parse(url), "one")
        async with queue.open():
            await queue.check()
    assert not folder.exists()


async def put_rows(queue, count):
    settings = TroupeSettings(endpoint=Endpoint("http://127.0.0.1:9/v1", "sk-1234567890", "openai"))
    assert (await queue.hold("h", encode_card(settings), lease_s=100)).is_held
    row = encode_call(Request.of("x", model="m"), CallContext("r"))
    await queue.put("h", [QueuedRow(f"k{number}", row) for number in range(count)])


async def workers_of(queue, count):
    while len(found := (await queue.card()).workers) < count:  # noqa: ASYNC110  # processes
        await trio.sleep(0.1)
    return set(found)


@needs_processes
async def test_a_worker_that_still_starts_at_the_end_of_the_run_is_not_waited_for(
    monkeypatch, tmp_path
):
    started = tmp_path / "started"
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\necho begins >&2\n: > {started}\nexec sleep 20\n")
    worker.chmod(0o755)
    monkeypatch.setattr(local_workers.sys, "executable", str(worker))
    told = []
    with trio.fail_after(10):
        async with open_local_workers("unix:///s", "one", 1, told=told.append, leave_s=60):
            while not started.exists():  # noqa: ASYNC110  # a process
                await trio.sleep(0.01)
    assert told == []


@needs_processes
async def test_a_worker_that_has_joined_may_see_the_end_of_the_run(monkeypatch, tmp_path):
    joined = local_workers.WORKS_ON
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\necho '{joined}one' >&2\nexec sleep 0.5\n")
    worker.chmod(0o755)
    workers = local_workers.LocalWorkers([str(worker)], dict(os.environ), 1, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workers.keep_running)
        while "1 joined" not in repr(workers):  # noqa: ASYNC110  # a process
            await trio.sleep(0.01)
        began = trio.current_time()
        workers.run_has_ended()
    assert trio.current_time() - began > 0.2


@pytest.mark.slow
@needs_processes
async def test_a_worker_that_is_killed_starts_again_and_all_end_with_the_run(monkeypatch, tmp_path):
    needs_server()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    told = []
    async with open_local_server() as url:
        queue = ValkeyQueue(ServerUrl.parse(url), "one")
        async with queue.open():
            await put_rows(queue, 0)
            async with open_local_workers(
                url, "one", 2, journals=tmp_path, told=told.append
            ) as workers:
                before = await workers_of(queue, 2)
                pids = workers.pids
                assert url.encode() not in Path(f"/proc/{pids[0]}/cmdline").read_bytes()  # noqa: ASYNC240
                os.kill(pids[0], signal.SIGKILL)
                while not (await workers_of(queue, 2)) - before:  # noqa: ASYNC110
                    await trio.sleep(0.1)
                assert workers.restarts == 1
                assert await queue.end("h", forget=True)
            assert workers.pids == []
    assert told == [text for text in told if "has died" in text]
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_outlives_a_process_that_is_killed():
    needs_server()
    environ = {**os.environ, "OPENAI_API_KEY": "sk-1234567890"}
    with subprocess.Popen(
        [sys.executable, "-c", KEPT], stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        url, *pids = process.stdout.readline().split()
        folder = Path(url.removeprefix("unix://")).parent
        assert folder.exists()
        process.kill()
    until = time.monotonic() + 30
    while folder.exists() or any(is_alive(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.1)
