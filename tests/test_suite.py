"""The suite runs however it is started, and ends a test that hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTEST = (sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-n0", "-q")
AS_NOHUP_DOES = ("sh", "-c", 'trap "" INT HUP QUIT; exec "$@" <&-', "sh")
HANGS = """
import trio

async def test_first():
    pass

async def test_that_waits_for_ever():
    await trio.sleep_forever()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


def run(*command, **more):
    """Run a command without a terminal."""
    return subprocess.run(
        [str(part) for part in command],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **more,
    )


def test_it_needs_no_terminal_no_signal_no_stdin_and_no_working_directory(tmp_path):
    tests = ROOT / "tests" / "runtime" / "test_signals.py"
    cache = ("-p", "no:cacheprovider")
    done = run(*AS_NOHUP_DOES, *PYTEST, *cache, tests, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_test_that_hangs_is_ended_and_shows_where(tmp_path):
    (tmp_path / "test_hangs.py").write_text(HANGS)
    limited = ("-p", "conftest", "-p", "no:cacheprovider", "-o", "limit_s=1")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = run(*PYTEST, *limited, tmp_path, cwd=tmp_path, env=environ)
    assert done.returncode == 1
    assert "::test_that_waits_for_ever has not ended within 1 s" in done.stdout
    assert 'test_hangs.py", line 8, in test_that_waits_for_ever' in done.stdout
    assert "Thread 0x" in done.stdout


SKIPS = """
import pytest

@pytest.mark.parametrize("ci", ["true", ""])
def test_needs_a_server(ci, monkeypatch):
    monkeypatch.setenv("CI", ci)
    pytest.skip("no server here")
"""


def test_a_skip_is_an_error_in_ci_and_a_skip_elsewhere(tmp_path):
    (tmp_path / "test_skips.py").write_text(SKIPS)
    alone = ("-p", "conftest", "-p", "no:cacheprovider")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = run(*PYTEST, *alone, tmp_path, cwd=tmp_path, env=environ)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 skipped" in done.stdout
    assert "CI=true allows no skip: no server here" in done.stdout
    assert "FAILED" in done.stdout
    assert "test_skips.py::test_needs_a_server[true]" in done.stdout
