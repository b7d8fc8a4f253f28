"""The processes of a round: a server, a provider, the holder of OUTPUT, and workers."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from bench_kit.processes import module_command, module_environment
from chaos_bench.provider import MODEL
from shared_bench.server import PrivateServer

__all__ = ["ANSWER_TOKENS", "CLOCK_LIBRARY", "Place", "can_fill_disk"]

ANSWER_TOKENS = 50
_RPM = 18_000  # 300 rows a second
_BURST_S = 2.0  # one second by the limit, and one by which a busy machine delays what was admitted
_LATENCY_S = 0.1
_IN_FLIGHT = 60
_DISK = "32m"
_LEAVES_S = 80.0  # a minute if the end of the run could not be told

_MOUNT, _UNMOUNT = shutil.which("mount"), shutil.which("umount")
_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
CLOCK_LIBRARY = str(_LIBRARIES[0]) if _LIBRARIES else ""
"""The library of the Debian package libfaketime; empty where it is not installed."""


def can_fill_disk(folder: Path) -> bool:
    """Return whether this user may mount a small disk for the server.

    Args:
        folder: an empty folder.
    """
    is_done = _MOUNT is not None and _mount(folder).returncode == 0
    if is_done:
        _unmount(folder)
    return is_done


def _mount(folder: Path) -> "subprocess.CompletedProcess[bytes]":
    command = [str(_MOUNT), "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True)


def _unmount(folder: Path) -> None:
    subprocess.run([str(_UNMOUNT), str(folder)], check=False)


@final
class Place:
    """All processes of one round. `close` ends those that are left.

    Args:
        folder: for all files of the round; its path must be short.
        rows: number of rows of INPUT.
        fsync: the server's `appendfsync`.
        small_disk: whether the server's files are on a disk that can be filled.
        moves_clocks: whether clocks of workers can jump.
    """

    def __init__(
        self, folder: Path, rows: int, fsync: str, *, small_disk: bool, moves_clocks: bool
    ) -> None:
        self.folder, self.rows = folder, rows
        self.source, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self._moves_clocks = moves_clocks
        self._is_mounted = small_disk
        self.disk = folder / "d"
        self.disk.mkdir()
        if small_disk:
            _mount(self.disk).check_returncode()
        self.source.write_text("".join(map(_line, range(rows))), encoding="utf-8")
        self.provider = subprocess.Popen(
            module_command(
                "chaos_bench.provider",
                *("--rpm", str(_RPM), "--burst-s", str(_BURST_S), "--latency-s", str(_LATENCY_S)),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=module_environment(),
            text=True,
        )
        self._port = self.provider.stdout.readline().strip() if self.provider.stdout else ""
        self.server = PrivateServer(self.disk, {"appendonly": "yes", "appendfsync": fsync})
        self.holder: subprocess.Popen[bytes] | None = None
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self._clocks: dict[int, Path] = {}

    def counts(self) -> dict[str, Any]:
        """Return the counts of the provider."""
        address = f"http://127.0.0.1:{self._port}/counts"
        with urllib.request.urlopen(address) as response:  # of this machine
            found: dict[str, Any] = json.load(response)
        return found

    def start_holder(self, *options: str) -> None:
        """Start `callsheet run`, which also works; the same command again takes OUTPUT over."""
        base_url = f"http://127.0.0.1:{self._port}/v1"
        command = module_command("callsheet", "run", str(self.source), str(self.output))
        command += ["--provider", "openai", "--base-url", base_url, "--shared", self.server.url]
        command += ["--rpm", str(_RPM), "--max-concurrency", str(_IN_FLIGHT), "--route", "live"]
        command += ["--ledger", str(self.folder / "ledger.db"), "--json", *options]
        self.holder = self._start(command, "holder")

    def start_worker(self, number: int) -> None:
        """Start `callsheet work` with a journal of its own, which it had before if it returns."""
        journal = self.folder / f"journal-{number}"
        module = "chaos_bench.clocked" if self._moves_clocks else "callsheet"
        command = module_command(module, "work", self.server.url, "--journal", str(journal))
        environment: dict[str, str] = {}
        if self._moves_clocks:
            clock = self._clocks[number] = self.folder / f"clock-{number}"
            clock.write_text("+0\n")
            environment = {
                "LD_PRELOAD": CLOCK_LIBRARY,
                "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a clock that is set leaves it alone
            }
        self.workers[number] = self._start(command, f"worker-{number}", environment)

    def jump(self, number: int, hours: int) -> None:
        """Set the clock of a worker forth or back."""
        self._clocks[number].write_text(f"{hours:+d}h\n")

    def fill_disk(self) -> None:
        """Leave no byte of the server's disk."""
        with contextlib.suppress(OSError), (self.disk / "ballast").open("wb", 0) as file:
            while True:
                file.write(b"0" * 4096)

    def empty_disk(self) -> None:
        """Make room again, and start the server if it has given up."""
        (self.disk / "ballast").unlink(missing_ok=True)
        if not self.server.is_running:
            self.server.start()

    def said(self, name: str) -> str:
        """Return the end of what a process has written to its standard error.

        Args:
            name: "holder" or "worker-N".
        """
        return (self.folder / f"{name}.err").read_text("utf-8", "replace")[-1_500:]

    def summary(self) -> dict[str, Any]:
        """Return the summary that the last holder has printed; empty if it has none."""
        lines = (self.folder / "holder.out").read_text("utf-8").splitlines()
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return found

    def wait_for_workers(self, *expected: int) -> list[str]:
        """Wait until all workers have left, and return what those said that failed.

        Args:
            expected: exit statuses that are right.
        """
        ends, failed = time.monotonic() + _LEAVES_S, list[str]()
        for number, worker in self.workers.items():
            try:
                status = worker.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                failed.append(f"worker {number} did not leave: {self.said(f'worker-{number}')}")
                continue
            if status not in (*expected, -signal.SIGKILL):
                said = self.said(f"worker-{number}")
                failed.append(f"worker {number} exited with {status}: {said}")
        return failed

    def keep(self, target: Path) -> None:
        """Copy the files of the round, with what its processes said and the provider counted.

        Args:
            target: a folder, which is replaced.
        """
        shutil.rmtree(target, ignore_errors=True)
        for file in self.folder.rglob("*"):
            if file.is_file():
                copy = target / file.relative_to(self.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        (target / "counts.json").write_text(json.dumps(self.counts()), "utf-8")

    def close(self) -> None:
        """End every process, and remove the disk."""
        started = [*self.workers.values()] + ([] if self.holder is None else [self.holder])
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()
        with self.provider:  # closes its pipes, and waits for it
            self.provider.kill()
        self.server.close()
        if self._is_mounted:
            _unmount(self.disk)

    def _start(
        self, command: Sequence[str], name: str, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        home = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}
        keys = {"OPENAI_API_KEY": "sk-chaos"}
        with (
            (self.folder / f"{name}.out").open("ab") as out,
            (self.folder / f"{name}.err").open("ab") as err,
        ):
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**module_environment(), **home, **keys, **(environment or {})},
                cwd=self.folder,
                start_new_session=True,
            )


def _line(row: int) -> str:
    body = {
        "model": MODEL,
        "max_tokens": ANSWER_TOKENS,
        "messages": [{"role": "user", "content": f"This is row {row}"}],
    }
    line = {"custom_id": f"r{row}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line) + "\n"
