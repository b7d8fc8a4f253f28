"""The file of an inspection socket: private at once, and no other file is harmed (L14)."""

import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callsheet.actors.inspection import InspectionUnavailable, socket_file
from callsheet.actors.inspection.socket_file import SocketFile

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets"),
]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folder may have a long name
    return Path("app.sock")


@pytest.fixture(autouse=True)
def short_names(monkeypatch):
    """Use relative paths, because those of pytest's folders may be too long for a socket."""
    monkeypatch.setattr(Path, "absolute", lambda path: path)


def left_behind(path):
    """Leave the socket of a process that has ended."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()


def mode_of(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_many_may_connect_in_one_instant(path):
    opened = SocketFile(path)
    readers = [socket.socket(socket.AF_UNIX) for _ in range(64)]
    try:
        for reader in readers:
            reader.settimeout(0)
            reader.connect(str(path))  # EAGAIN if the backlog is full
    finally:
        for reader in readers:
            reader.close()
        opened.close()


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_only_the_user_can_connect_whatever_the_mask_is(path, mask):
    before = os.umask(mask)
    try:
        opened = SocketFile(path)
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600 & ~mask
    opened.close()


def test_the_mode_is_private_from_the_first_moment(path, monkeypatch):
    """Each name that the socket ever has is looked at as soon as it is bound."""
    modes = []

    def bound(listener, name, bind=socket_file._bind_privately):
        bind(listener, name)
        modes.append(mode_of(name))

    monkeypatch.setattr(socket_file, "_bind_privately", bound)
    before = os.umask(0)
    try:
        SocketFile(path).close()
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_a_system_that_refuses_the_mode_gets_it_by_the_mask(path, monkeypatch):
    """As macOS does."""

    def refuse(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fchmod", refuse)
    before = os.umask(0)
    opened = SocketFile(path)
    assert os.umask(before) == 0, "the mask is what it was"
    assert mode_of(path) == 0o600
    opened.close()


def test_nothing_is_left_at_the_end(path, tmp_path):
    opened = SocketFile(path)
    assert list(tmp_path.iterdir()) == [tmp_path / path]
    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_a_socket_of_a_process_that_has_ended_is_replaced(path, tmp_path):
    left_behind(path)
    opened = SocketFile(path)
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(str(path))
    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_killed_leaves_a_socket_that_is_replaced(path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from callsheet.actors.inspection.socket_file import SocketFile\n"
        "kept = SocketFile(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=False, timeout=60)
    assert stat.S_ISSOCK(path.lstat().st_mode)
    SocketFile(path).close()
    assert not path.exists()


def test_a_socket_that_is_in_use_is_refused_by_name(path):
    opened = SocketFile(path)
    with pytest.raises(InspectionUnavailable, match=f"this process listens at {path} already"):
        SocketFile(path)
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(str(path))
    opened.close()


def test_that_of_another_process_is_refused_with_its_id(path):
    program = (
        "import sys; from pathlib import Path\n"
        "from callsheet.actors.inspection.socket_file import SocketFile\n"
        "kept = SocketFile(Path(sys.argv[1])); print('ready', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "ready\n"
        who = f"process {other.pid}" if sys.platform == "linux" else "another process"
        with pytest.raises(InspectionUnavailable, match=rf"{who} listens at {path}"):
            SocketFile(path)
        other.communicate("\n", timeout=60)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_another_file_is_left_as_it_is(path, tmp_path, kind):
    {
        "file": lambda: path.write_text("notes"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    before = path.lstat()
    with pytest.raises(InspectionUnavailable, match=f"{path} is no socket"):
        SocketFile(path)
    assert path.lstat() == before
    assert list(tmp_path.iterdir()) == [tmp_path / path]


def test_a_path_that_is_too_long_says_how_long_it_may_be(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = tmp_path / ("long" * 40)
    with pytest.raises(InspectionUnavailable, match=r"may have 10[37] bytes, and this one needs"):
        SocketFile(path)
    with pytest.raises(InspectionUnavailable, match="bytes"):
        SocketFile(tmp_path / ("ü" * 80))


def test_a_short_name_fits_to_the_last_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("x" * socket_file._MAX_BYTES)
    SocketFile(path).close()
    with pytest.raises(InspectionUnavailable):
        SocketFile(Path("x" * (socket_file._MAX_BYTES + 1)))


def test_a_folder_that_does_not_exist_is_named_with_the_remedy(path):
    with pytest.raises(InspectionUnavailable, match=r"gone/app.sock.*create its folder"):
        SocketFile(Path("gone") / path)


def test_a_file_that_took_the_name_is_not_removed(path):
    opened = SocketFile(path)
    path.unlink()
    path.write_text("notes")
    opened.close()
    assert path.read_text() == "notes"


def test_of_many_that_open_at_once_over_a_stale_socket_one_listens(path, tmp_path):
    for _ in range(20):
        left_behind(path)
        with ThreadPoolExecutor(8) as threads:
            opened = list(threads.map(outcome_of, [path] * 8))
        (winner,) = [one for one in opened if isinstance(one, SocketFile)]
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(str(path))
        winner.close()
        assert list(tmp_path.iterdir()) == []


def outcome_of(path):
    try:
        return SocketFile(path)
    except InspectionUnavailable as error:
        return error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_neither_keeps_the_socket_nor_removes_it(path):
    opened = SocketFile(path)
    reader = socket.socket(socket.AF_UNIX)
    reader.settimeout(10)
    reader.connect(str(path))
    served, _ = opened.socket.accept()
    socket_file.close_in_forks(served)
    until, end = os.pipe()
    forked, tell = os.pipe()
    child = os.fork()
    if child == 0:  # it lives longer than what is its parent's here
        try:
            opened.close()
            os.write(tell, b".")
            os.close(end)
            os.read(until, 1)
        finally:
            os._exit(0)
    os.close(until)
    try:
        assert os.read(forked, 1) == b"."
        assert path.exists()
        served.close()
        assert reader.recv(1) == b"", "the connection has ended, too"
        opened.socket.close()  # as at a kill: the file stays
        SocketFile(path).close()
    finally:
        for descriptor in (end, forked, tell):
            os.close(descriptor)
        os.waitpid(child, 0)
        reader.close()
