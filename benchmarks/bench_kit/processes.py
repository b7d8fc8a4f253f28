"""Processes of their own, for what must not share memory or a loop with the rest."""

import os
import subprocess
import sys
import time
from pathlib import Path

__all__ = [
    "cpu_s_of",
    "module_command",
    "module_environment",
    "open_files",
    "resident_bytes",
    "run_module",
]

_HERE = Path(__file__).parent.parent
_PAGE = os.sysconf("SC_PAGE_SIZE")


def module_command(module: str, *arguments: str) -> list[str]:
    """What starts a module of the benchmarks; see `module_environment`."""
    return [sys.executable, "-m", module, *arguments]


def module_environment() -> dict[str, str]:
    """This process's environment, with the benchmarks on the path and no proxies."""
    path = os.pathsep.join([str(_HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")  # everything here is on this machine
    }
    return {**kept, "PYTHONPATH": path}


def run_module(module: str, *arguments: str, timeout_s: float | None = None) -> bytes:
    """Run a module of the benchmarks, and say what it printed.

    Raises:
        subprocess.CalledProcessError: it failed; what it had to say is on stderr.
        subprocess.TimeoutExpired: it took longer than `timeout_s` and was ended.
    """
    return subprocess.run(
        module_command(module, *arguments),
        check=True,
        stdout=subprocess.PIPE,
        env=module_environment(),
        timeout=timeout_s,
    ).stdout


def resident_bytes() -> int:
    """What this process holds of the machine's memory just now; 0 where that is not known."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * _PAGE if statm.exists() else 0


def open_files() -> int:
    """How many files and sockets this process has open; 0 where that is not known."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def cpu_s_of(pid: int) -> float:
    """CPU seconds that another process has used; 0 where that is not known."""
    if sys.platform != "linux":
        return 0.0
    # clock_getcpuclockid(3): the complement of the pid, and in the low bits that it is the
    # scheduler's clock (2) of a whole process.
    return time.clock_gettime(~pid << 3 | 2)
