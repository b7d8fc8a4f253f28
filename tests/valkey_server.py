"""A Redis or Valkey server of a test, on a Unix socket, which the test can kill and stop."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SERVER = shutil.which("valkey-server") or shutil.which("redis-server")
CLI = shutil.which("valkey-cli") or shutil.which("redis-cli")


def needs_server():
    """Skip a test where no server is installed; with CI=true that fails it (see conftest)."""
    if SERVER is None:
        pytest.skip("neither valkey-server nor redis-server is installed")


class ValkeyServer:
    """A server process; `kill` and `start` are a crash, `stop` and `go_on` a hang.

    Args:
        options: further options of the server, such as `appendonly="yes"`.
    """

    def __init__(self, **options):
        needs_server()
        self.folder = Path(tempfile.mkdtemp(prefix="cs", dir="/tmp"))  # a short path
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}"
        self._options = {"save": "", "appendonly": "no"} | options
        self._process = None
        self.start()

    @property
    def pid(self):
        return self._process.pid

    def start(self):
        options = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        self._process = subprocess.Popen(
            [
                SERVER,
                "--port",
                "0",
                "--unixsocket",
                str(self.socket),
                "--dir",
                str(self.folder),
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(500):
            if self.cli("PING").strip() == "PONG":
                return
            time.sleep(0.01)
        raise AssertionError("the server did not start")

    def cli(self, *command):
        """Send a command, and return what the client prints."""
        done = subprocess.run(
            [CLI, "-s", str(self.socket), *command], check=False, capture_output=True, text=True
        )
        return done.stdout

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)

    def clear(self):
        """Remove everything that is in it."""
        self.cli("FLUSHALL")

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def valkey_server(**options):
    server = ValkeyServer(**options)
    try:
        yield server
    finally:
        server.close()
