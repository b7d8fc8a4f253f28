"""The processes of a server: how they are started, and what they use."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from bench_kit.processes import module_environment

__all__ = ["Server", "free_port", "open_server", "resident_bytes_of"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_S = 120.0  # LiteLLM takes 15 s to import on two busy cores
_STOP_S = 10.0


@attrs.frozen
class Server:
    """A server that runs.

    Args:
        name: its name in the tables.
        url: its URL up to and including the version.
        pid: its first process.
        keys: the keys that clients may use.
    """

    name: str
    url: str
    pid: int
    keys: Sequence[str] = ("sk-benchmark",)

    @property
    def pids(self) -> Sequence[int]:
        """All of its processes."""
        found = [self.pid]
        for pid in found:  # grows
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found


def free_port() -> int:
    """Return a port at which nothing listens now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextmanager
def open_server(
    name: str,
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    keys: Sequence[str] = ("sk-benchmark",),
    variables: Mapping[str, str] | None = None,
) -> Generator[Server]:
    """Start a server, wait until it takes connections, and end it with SIGTERM.

    Args:
        name: its name in the tables.
        command: the command that starts it.
        port: the port at which it will listen.
        log: a file for what it prints.
        keys: the keys that clients may use.
        variables: further variables of its environment.

    Raises:
        RuntimeError: it did not start; the message has the end of what it printed.
    """
    environment = {**module_environment(), **(variables or {})}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        ) as process,
    ):
        try:
            _wait_for(process, port, log, name)
            yield Server(name, f"http://127.0.0.1:{port}/v1", process.pid, keys)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path, name: str) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    shown = log.read_text(errors="replace")[-2_000:]
    raise RuntimeError(f"{name} did not start:\n{shown}")


def resident_bytes_of(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
