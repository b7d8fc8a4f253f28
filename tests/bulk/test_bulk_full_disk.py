"""A disk that is actually full or read-only: a small file system that is mounted."""

import os
import shutil
import subprocess
import sys

import pytest
from bulk_rows import ids_of, write_input
from provider_process import provider_process

pytestmark = [pytest.mark.sockets, pytest.mark.skipif(sys.platform != "linux", reason="mount")]


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A disk of 5 MiB: room for the reserve and little more."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not shutil.which("mount")
        or mount("-t", "tmpfs", "-o", "size=5m", "tmpfs", place).returncode
    ):
        pytest.skip("mounting is not permitted")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def finish(process):
    _, told = process.communicate(timeout=60)
    assert "Traceback" not in told
    return process.returncode, told


ROWS = 1500


@pytest.mark.slow
def test_a_disk_that_fills_up_loses_nothing(start, disk, tmp_path, stats, own_provider):
    source, output = tmp_path / "in.jsonl", disk / "out.jsonl"
    write_input(source, ROWS)
    command = (source, output, "--base-url", own_provider)
    status, told = finish(start(*command))
    assert status == 1, told
    assert "free space on the disk; run the same command again to continue" in told
    sent = stats(own_provider)["requests"]
    assert 0 < sent < ROWS
    assert "may have been billed" not in told
    assert mount("-o", "remount,size=64m", disk).returncode == 0
    status, told = finish(start(*command))
    assert status == 0, told
    assert stats(own_provider)["requests"] == ROWS
    assert ids_of(output) == [f"r-{number}" for number in range(1, ROWS + 1)]


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_without_any_room_is_refused_before_anything_is_asked(
    start, disk, tmp_path, stats, own_provider, *, how
):
    source = tmp_path / "in.jsonl"
    write_input(source, 10)
    if how == "full":
        with pytest.raises(OSError, match="No space"), (disk / "big").open("wb", 0) as big:
            while True:
                big.write(bytes(os.sysconf("SC_PAGE_SIZE")))
    else:
        assert mount("-o", "remount,ro", disk).returncode == 0
    status, told = finish(start(source, disk / "out.jsonl", "--base-url", own_provider))
    assert status == 2, told
    assert "cannot be written" in told
    assert stats(own_provider)["requests"] == 0


@pytest.fixture
def own_provider():
    with provider_process("--time-scale", "0.02") as base_url:
        yield base_url
