"""A Valkey or Redis server of its own for a measurement, on a Unix socket."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import final

__all__ = ["MISSING", "SERVER", "PrivateServer", "open_server"]

SERVER = shutil.which("valkey-server") or shutil.which("redis-server")
_CLI = shutil.which("valkey-cli") or shutil.which("redis-cli")
MISSING = "neither valkey-server nor redis-server is installed: what needs a server is left out."
_START_S = 10.0


@final
class PrivateServer:
    """A server process; `kill` and `start` are a crash, `stop` and `go_on` a hang.

    Args:
        folder: for its socket and its files; the path must be short.
        options: options of the server, {name: value}.
    """

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        if SERVER is None:
            raise RuntimeError(MISSING)
        self._command = [SERVER, "--port", "0", "--dir", str(folder)]
        self._options = {"save": "", "appendonly": "no", **options}
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def start(self) -> None:
        """Start it, with the data that an earlier process left on disk."""
        self.socket.unlink(missing_ok=True)
        options = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [*self._command, "--unixsocket", str(self.socket), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the benchmark, which ends the server
        )
        ends = time.monotonic() + _START_S
        while self.cli("PING", timeout_s=1.0).strip() != "PONG":
            if time.monotonic() > ends:
                raise RuntimeError("the server did not start")
            time.sleep(0.01)

    def cli(self, *command: str, timeout_s: float = 5.0) -> str:
        """Send a command, and return what the client prints; empty if the server is away."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                [str(_CLI), "-s", str(self.socket), *command],
                check=False,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            ).stdout
        return ""

    def info(self, section: str) -> dict[str, str]:
        """Return the fields of a section of INFO."""
        lines = self.cli("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def scripts(self) -> tuple[int, float]:
        """Return how many calls of scripts it has answered, and their CPU time in seconds.

        The reports of programs for `callsheet top`, one in two seconds, are not counted: each of
        them, and no other script, calls `ZREMRANGEBYSCORE` once.
        """
        calls, used_us = 0, 0.0
        for name, value in self.info("commandstats").items():
            if name in {"cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall"}:
                fields = dict(field.split("=") for field in value.split(","))
                calls += int(fields["calls"])
                used_us += float(fields["usec"])
            elif name == "cmdstat_zremrangebyscore":
                calls -= int(value.partition("calls=")[2].partition(",")[0])
        return calls, used_us / 1e6

    def bound_memory(self, most: int) -> None:
        """Let it take no more than so many bytes; 0 for any number."""
        self.cli("CONFIG", "SET", "maxmemory", str(most))

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it hang: connections stay open, and are not answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """End the hang."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.is_running:
            self.kill()


@contextlib.contextmanager
def open_server(**options: str) -> Generator[PrivateServer]:
    """Run a server with these options for the length of a block, and remove its files."""
    with tempfile.TemporaryDirectory(prefix="cs", dir="/tmp") as folder:  # a short path
        server = PrivateServer(Path(folder), options)
        try:
            yield server
        finally:
            server.close()
