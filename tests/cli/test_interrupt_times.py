"""Ctrl-C at many times of a command: while it is loaded, while it works, and while it ends.

Before the package is loaded, in the first hundredths of a second, Python itself prints a traceback.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sockets,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX"),
]
TIMES = 20
STARTED_S, LATEST_S = 0.15, 1.5  # from when on Python has started, even on a busy machine
COMMANDS = {
    "compose": ("compose", "Tea", "--provider", "builtin"),
    "run": ("run", "in.csv", "out.csv", "--template", "{{ text }}", "--provider", "builtin"),
    "compare": ("compare", "--time-scale", "0.05"),
    "simulate": ("simulate", "--port", "0"),
    "serve": ("serve", "--provider", "builtin", "--listen", "127.0.0.1:0"),
    "work": ("work", "valkey://127.0.0.1:1", "--wait"),
    "costs": ("costs",),
    "doctor": ("doctor", "--provider", "builtin"),
    "help": ("run", "--help"),
}
WITHOUT_INTERRUPT = (0, 2)  # it had ended, or it is one that Ctrl-C ends in order


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_at_any_time_shows_no_traceback(name, tmp_path):
    (tmp_path / "in.csv").write_text("text\n" + "Tea\n" * 30)
    environ = os.environ | {"CALLSHEET_LEDGER": str(tmp_path / "ledger.sqlite3")}
    chance = random.Random(name)
    for _ in range(TIMES):
        process = subprocess.Popen(
            [sys.executable, "-m", "callsheet", *COMMANDS[name]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environ,
            text=True,
        )
        after_s = chance.uniform(STARTED_S, LATEST_S)
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors, f"after {after_s:.3f} s"
        assert "Exception ignored" not in errors, f"after {after_s:.3f} s"
        assert process.returncode in (130, *WITHOUT_INTERRUPT), f"after {after_s:.3f} s: {errors}"
