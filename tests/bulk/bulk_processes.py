"""Run `callsheet run` for tests: in its own process, or in this process."""

import signal
import time

from click.testing import CliRunner

from callsheet.cli import main

PATIENCE_S = 60.0


def begun(process, base_url, stats, before):
    """Wait for the first request; return True, or False if the process ended without one."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        if stats(base_url)["requests"] > before:
            return True
        time.sleep(0.01)
    raise TimeoutError("it has not begun")


def die(process):
    """Kill the process with SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def finish(process, status=0):
    """Return the output of the process at its end."""
    _, told = process.communicate(timeout=300)
    assert "Traceback" not in told
    assert process.returncode == status, told
    return told


def run_here(*arguments, status=0):
    """Return the output of the command, run in this process, where it starts faster."""
    result = CliRunner().invoke(main, ["run", *map(str, arguments)])
    assert "Traceback" not in result.output
    assert result.exit_code == status, result.output
    return result.output
