"""A fork of the template is a process as `python -m callsheet` would be, for the tests of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from callsheet_process import CallsheetProcess, run_callsheet
from provider_process import start_provider

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process is a new one"),
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--version",), ("run", "none.jsonl", "out.jsonl")])
def test_a_fork_prints_and_ends_as_a_new_process_does(arguments):
    command = [sys.executable, "-m", "callsheet", *arguments]
    new = subprocess.run(command, check=False, capture_output=True, text=True)
    fork = run_callsheet(*arguments)
    assert fork.returncode == new.returncode
    assert (fork.stdout, fork.stderr) == (new.stdout, new.stderr)


def test_a_fork_has_its_own_folder_environment_and_input(tmp_path):
    process = CallsheetProcess(
        *("compose", "-", "--provider", "openai"),
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert Path(f"/proc/{process.pid}/cwd").readlink() == tmp_path
        _, words = process.communicate("Tea\n", timeout=60)
    assert process.returncode == 2
    assert "OPENAI_API_KEY" in words


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 0)])
def test_a_fork_has_its_own_signals(number, status):
    process, url = start_provider()
    assert url.startswith("http://127.0.0.1:")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(number)
    with process:
        assert process.wait(30) == status
    assert process.poll() == status
