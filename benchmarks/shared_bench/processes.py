"""Run several processes of `shared_bench.load` over the same stretch of time."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import attrs

from bench_kit.processes import module_command, module_environment
from shared_bench.load import Load, Sent

__all__ = ["run_loads"]

_AHEAD_S = 0.3  # between the order to start and the start
_LATE_S = 30.0


def run_loads(
    loads: Sequence[Load], seconds: float, *, looks: Sequence[tuple[float, Callable[[], None]]] = ()
) -> tuple[list[Sent], float]:
    """Run one process for each load, all of them from the same instant on.

    Args:
        loads: what each process sends.
        seconds: how long they send.
        looks: functions that are called that many seconds after the start, in order.

    Returns:
        What each has sent, and the instant of the start on the monotonic clock.

    Raises:
        RuntimeError: a process failed; its errors are on stderr.
    """
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for load in loads:
            process = subprocess.Popen(
                module_command("shared_bench.load", json.dumps(attrs.asdict(load))),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=module_environment(),
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            _line(process)
        start = time.monotonic() + _AHEAD_S
        for process in processes:
            if process.stdin is not None:
                process.stdin.write(f"{start} {start + seconds}\n")
                process.stdin.flush()
        for after, look in looks:
            time.sleep(max(0.0, start + after - time.monotonic()))
            look()
        sent = [Sent(**json.loads(_line(process))) for process in processes]
        for process in processes:
            process.wait(_LATE_S)
        return sent, start


def _line(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("a process of the benchmark failed; its errors are above")
    return line
