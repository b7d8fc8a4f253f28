"""A pipe whose reader is slow or ends does not hold up the run (issue 20, 6)."""

import os
import threading

import pytest

from callsheet.bulk.watching.event_log import PipeFile


@pytest.fixture
def pipe(tmp_path):
    """The path of a pipe, and its open reader."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def test_all_of_it_arrives_at_a_reader_that_is_slow(pipe):
    path, reader = pipe
    file = PipeFile(path)
    text = b"%07d\n" * 50_000 % tuple(range(50_000))
    for at in range(0, len(text), 1000):
        file.write(text[at : at + 1000])
    found = []

    def read():
        while sum(map(len, found)) < len(text):
            try:
                found.append(os.read(reader, 10_000))
            except BlockingIOError:
                continue

    thread = threading.Thread(target=read)
    thread.start()
    file.close()
    thread.join()
    assert b"".join(found) == text


def test_a_reader_that_is_too_far_behind_is_an_error(pipe):
    path, _ = pipe
    file = PipeFile(path, max_waiting=100_000, last_wait_s=0)
    with pytest.raises(OSError, match="its reader is too slow"):
        for _ in range(10):
            file.write(bytes(50_000))
    with pytest.raises(OSError, match="its reader is too slow"):
        file.close()
    file.close()


def test_a_reader_that_ends_is_an_error(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = PipeFile(path)
    file.write(b"x")
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        file.flush()
    with pytest.raises(BrokenPipeError):
        file.close()
