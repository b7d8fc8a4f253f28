"""What may not be written, in a process that may not do everything, even if root runs the tests."""

import os
import shutil
import subprocess
import sys

import pytest
from bulk_rows import ids_of, write_input
from test_bulk_full_disk import finish

pytestmark = [pytest.mark.sockets, pytest.mark.skipif(sys.platform != "linux", reason="setpriv")]


@pytest.fixture
def humble():
    """Runs the command as somebody whom permissions bind."""

    def run(*arguments):
        command = [sys.executable, "-m", "callsheet", "run", *map(str, arguments)]
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                pytest.skip("there is no setpriv")
            less = "-dac_override,-dac_read_search"
            command = ["setpriv", "--bounding-set", less, "--inh-caps", less, *command]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("what", ["output", "folder", "store"])
def test_what_may_not_be_written_is_refused(humble, start, quick_provider, tmp_path, what):
    source, folder = tmp_path / "in.jsonl", tmp_path / "folder"
    folder.mkdir()
    output = folder / "out.jsonl"
    command = (source, output, "--base-url", quick_provider)
    if what != "folder":
        write_input(source, 3)
        assert finish(start(*command))[0] == 0
    write_input(source, 5)
    before = {path.name for path in folder.iterdir()}
    closed = {"output": output, "folder": folder, "store": folder / "out.jsonl.callsheet"}[what]
    closed.chmod(0o555)
    status, told = finish(humble(*command))
    assert status == 2, told
    assert "cannot be written" in told
    assert {path.name for path in folder.iterdir()} == before
    closed.chmod(0o755)
    status, told = finish(humble(*command))
    assert status == 0, told
    assert len(ids_of(output)) == 5
