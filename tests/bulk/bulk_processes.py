"""What tests do to `callsheet run` as a process of its own, and as a part of this one."""

import signal
import time

from click.testing import CliRunner

from callsheet.cli import main

PATIENCE_S = 60.0


def begun(process, base_url, stats, before):
    """Wait until it has asked for something; whether it has, rather than ended."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        if stats(base_url)["requests"] > before:
            return True
        time.sleep(0.01)
    raise TimeoutError("it has not begun")


def die(process):
    """No warning, and no time for anything."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def finish(process, status=0):
    """What it has told at its end."""
    _, told = process.communicate(timeout=300)
    assert "Traceback" not in told
    assert process.returncode == status, told
    return told


def run_here(*arguments, status=0):
    """What the command has told at its end, here, where it begins sooner."""
    result = CliRunner().invoke(main, ["run", *map(str, arguments)])
    assert "Traceback" not in result.output
    assert result.exit_code == status, result.output
    return result.output
