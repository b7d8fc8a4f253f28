"""Inputs that are pipes and devices, through `callsheet run`."""

import json
import os
import signal
import subprocess
import threading

import pytest
from bulk_processes import finish
from bulk_rows import MODEL, ids_of

pytestmark = pytest.mark.sockets

ROWS = "".join(json.dumps({"prompt": f"Say {n}.", "id": n}) + "\n" for n in (1, 2))


def options(provider):
    return ("--base-url", provider, "--model", MODEL)


def write(path, content):
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    return writer


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_standard_input_is_read_from_a_pipe_and_from_a_file(
    start, quick_provider, source, output, path
):
    source.write_text(ROWS)
    with source.open() as file:
        finish(start(path, output, *options(quick_provider), stdin=file))
    assert ids_of(output) == ["1", "2"]
    process = start(path, output, *options(quick_provider), stdin=subprocess.PIPE)
    process.stdin.write(ROWS + '{"prompt": "x", "id": 3}\n')
    process.stdin.close()
    process.stdin = None
    assert "2 from earlier runs" in finish(process)
    assert ids_of(output) == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["pipe", "pipe.csv"])
def test_a_named_pipe_is_read_once(start, quick_provider, tmp_path, output, name):
    pipe = tmp_path / name
    os.mkfifo(pipe)
    process = start(pipe, output, *options(quick_provider))
    writer = write(pipe, ROWS.encode() if name == "pipe" else b"id;prompt\n1;One\n2;Two\n")
    finish(process)
    writer.join()
    assert ids_of(output) == ["1", "2"]


def test_a_descriptor_is_read_as_of_a_process_substitution(start, quick_provider, output):
    """The shell's `<(command)` is the path of a descriptor, such as /dev/fd/63."""
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w") as file:
        file.write(ROWS)
    finish(start(f"/dev/fd/{ours}", output, *options(quick_provider), pass_fds=[ours]))
    os.close(ours)
    assert ids_of(output) == ["1", "2"]


def test_the_null_device_has_no_rows(start, quick_provider, output):
    assert "0 of 0 rows" in finish(start("/dev/null", output, *options(quick_provider)))


def test_ctrl_c_ends_a_run_whose_pipe_has_no_end(start, quick_provider, tmp_path, output, stats):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(pipe, output, *options(quick_provider))
    before = stats(quick_provider)["requests"]
    with pipe.open("w") as file:
        for number in range(1000):
            file.write(json.dumps({"prompt": f"Say {number}."}) + "\n")
        file.flush()
        while stats(quick_provider)["requests"] <= before:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        told = finish(process, status=130)
    assert "Interrupted. Run the same command again to continue." in told
