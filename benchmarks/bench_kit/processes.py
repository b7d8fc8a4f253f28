"""Start separate processes for measurements, and read the use of resources of processes."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "cpu_s_of",
    "module_command",
    "module_environment",
    "next_answer",
    "open_answering",
    "open_files",
    "resident_bytes",
    "run_module",
]

_HERE = Path(__file__).parent.parent
_PAGE = os.sysconf("SC_PAGE_SIZE")


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that starts a module of the benchmarks, see `module_environment`."""
    return [sys.executable, "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """Return the environment of this process, with the benchmarks on the path and no proxies."""
    path = os.pathsep.join([str(_HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")  # all connections are local
    }
    return {**kept, "PYTHONPATH": path}


def run_module(module: str, *arguments: str, timeout_s: float | None = None) -> bytes:
    """Run a module of the benchmarks, and return its standard output.

    Raises:
        subprocess.CalledProcessError: the process failed; its errors are on stderr.
        subprocess.TimeoutExpired: the process took longer than `timeout_s` seconds and was killed.
    """
    return subprocess.run(
        module_command(module, *arguments),
        check=True,
        stdout=subprocess.PIPE,
        env=module_environment(),
        timeout=timeout_s,
    ).stdout


@contextmanager
def open_answering(module: str, *arguments: str) -> Generator["subprocess.Popen[str]"]:
    """Start a module of the benchmarks that answers each line of its input; see `next_answer`."""
    with subprocess.Popen(
        module_command(module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=module_environment(),
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def next_answer(process: "subprocess.Popen[str]") -> str:
    """Send an empty line to a process of `open_answering`, and return the line that it answers.

    Raises:
        RuntimeError: the process exited; its errors are on stderr.
    """
    if process.stdin is None or process.stdout is None:
        raise AssertionError("stdin and stdout must be pipes")
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a client exited; its errors are on stderr")
    return line


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 where it is not reported."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * _PAGE if statm.exists() else 0


def open_files() -> int:
    """Return the number of open files and sockets of this process; 0 where it is not reported."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def cpu_s_of(pid: int) -> float:
    """Return the CPU seconds that another process has used; 0 where they are not reported."""
    if sys.platform != "linux":
        return 0.0
    # clock_getcpuclockid(3): the id has the complement of the pid, and in the low bits 2, the
    # scheduler's clock of a whole process.
    return time.clock_gettime(~pid << 3 | 2)
