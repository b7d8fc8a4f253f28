"""A service manager learns from `callsheet serve` what it does, and can do it no harm."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from callsheet.cli.service_manager import notify_ready, notify_reloading, notify_stopping

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="datagrams to paths are of Unix")

LIMIT_S = 30


@pytest.fixture
def manager(tmp_path):
    """The socket of a service manager, and the environment that names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        path = str(tmp_path / "notify")
        receiver.bind(path)
        receiver.settimeout(LIMIT_S)
        yield receiver, {"NOTIFY_SOCKET": path}


def lines(receiver):
    return receiver.recv(4096).decode().splitlines()


def test_the_states_of_a_service(manager):
    receiver, environ = manager
    notify_ready("Serving at http://127.0.0.1:4000", environ)
    assert lines(receiver) == ["READY=1", "STATUS=Serving at http://127.0.0.1:4000"]
    notify_reloading(environ)
    reloading, since = lines(receiver)
    assert reloading == "RELOADING=1"
    assert int(since.removeprefix("MONOTONIC_USEC=")) > 0
    notify_stopping("Ends", environ)
    assert lines(receiver) == ["STOPPING=1", "STATUS=Ends"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
def test_an_abstract_address():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")  # Linux chooses one
        name = receiver.getsockname().decode()
        notify_ready("Serves", {"NOTIFY_SOCKET": f"@{name[1:]}"})
        assert lines(receiver)[0] == "READY=1"


def test_a_manager_that_takes_nothing_changes_nothing(manager, tmp_path):
    _, environ = manager
    for _ in range(1_000):  # more than its queue takes
        notify_ready("Serves", environ)
    for path in ("", "nowhere", str(tmp_path / "missing"), "@missing", "/" + "x" * 200):
        notify_ready("Serves", {"NOTIFY_SOCKET": path})
    notify_ready("Serves", {})


@pytest.mark.slow  # a process
@pytest.mark.sockets
def test_a_gateway_says_when_it_is_ready_reloads_and_stops(manager, tmp_path):
    receiver, environ = manager
    file = tmp_path / "callsheet.toml"
    file.write_text(
        '[gateway]\nlisten = "127.0.0.1:0"\n[endpoints.main]\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    with subprocess.Popen(
        [sys.executable, "-m", "callsheet", "serve", file],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = process.stdout.readline().strip()
        serving = ["READY=1", f"STATUS=Serving at {url}"]
        assert lines(receiver) == serving
        process.send_signal(signal.SIGHUP)
        assert lines(receiver)[0] == "RELOADING=1"
        assert lines(receiver) == serving
        file.write_text("wrong")
        process.send_signal(signal.SIGHUP)
        assert lines(receiver)[0] == "RELOADING=1"
        assert lines(receiver) == serving  # with the former settings
        process.terminate()
        assert lines(receiver)[0] == "STOPPING=1"
        assert process.wait(LIMIT_S) == 0
        process.stderr.read()
