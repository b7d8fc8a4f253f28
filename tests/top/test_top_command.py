"""`callsheet top` as a process on a real terminal, with a real program."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from callsheet_process import CallsheetProcess, NewProcess, run_callsheet

from callsheet.actors.typed.matching import matches_schema

pytestmark = pytest.mark.sockets

ROOT = Path(__file__).parents[2]
PROGRAM = """
import trio
from callsheet import Endpoint, TroupeSettings, open_troupe

async def main():
    settings = TroupeSettings(endpoint=Endpoint("http://127.0.0.1:1/v1"), inspect="app.sock")
    async with open_troupe(settings):
        print("ready", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen


class Program:
    """A program with an inspection socket."""

    def __init__(self, folder):
        # The path is relative to a folder that may have a long name.
        patch = "from pathlib import Path; Path.absolute = lambda path: path\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", patch + PROGRAM],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout.readline() == b"ready\n"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a program with the inspection socket `app.sock` runs."""
    found = tmp_path_factory.mktemp("program")
    program = Program(found)
    yield found
    program.end()


class Terminal:
    """`callsheet top` on a terminal."""

    def __init__(self, folder, *arguments, start=CallsheetProcess, **environment):
        self.controller, terminal = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(terminal)
        self.process = start(
            *("top", *arguments),
            cwd=folder,
            env={**clean_environment(), "TERM": "xterm-256color", **environment},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        self.terminal = terminal
        self.seen = b""

    def resize(self, width, height):
        fcntl.ioctl(self.controller, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def send(self, keys):
        os.write(self.controller, keys)

    def read_until(self, words):
        """Return what was written before the words."""
        until = time.monotonic() + 60
        while words not in self.seen:
            ready, _, _ = select.select([self.controller], [], [], until - time.monotonic())
            assert ready, self.seen[-3000:]
            self.seen += os.read(self.controller, 65536)
        before, _, self.seen = self.seen.partition(words)
        return before

    def end(self):
        """Return the exit status, and check that the terminal is as it was."""
        self.read_until(LEAVES)
        status = self.process.wait(timeout=30)
        assert termios.tcgetattr(self.terminal) == self.before
        return status

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        os.close(self.controller)


def clean_environment():
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")
    return {name: value for name, value in os.environ.items() if name not in hidden}


@pytest.fixture
def on_terminal():
    opened = []

    def run(folder, *arguments, **more):
        opened.append(Terminal(folder, *arguments, **more))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


def run(folder, *arguments):
    return run_callsheet(
        *("top", *arguments), cwd=folder, env=clean_environment(), stdin=subprocess.DEVNULL
    )


def test_one_reading_is_printed_as_json(folder):
    result = run(folder, "app.sock", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    schema = json.loads((ROOT / "docs/schemas/reading.schema.json").read_text())
    assert matches_schema(json.loads(result.stdout), schema)
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("arguments", [("app.sock",), ("app.sock", "--json")])
def test_without_a_program_or_a_terminal_there_is_a_sentence(tmp_path, arguments):
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    words = "there is no socket at app.sock" if len(arguments) > 1 else "--json prints one reading"
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_screen_follows_keys_sizes_and_the_end_of_the_program(tmp_path, on_terminal):
    program = Program(tmp_path)
    top = on_terminal(tmp_path, "app.sock")
    top.read_until(b"no call is in flight or waits")
    top.send(b"4")
    top.read_until(b"RateLimiterActor")
    top.send(b"\t\x1b[B\x1b[5~s?")
    top.read_until(b"show or hide this help")
    top.send(b"?")
    top.read_until(b"sort: calls")
    top.resize(200, 50)
    top.process.send_signal(signal.SIGWINCH)
    top.read_until(b"Endpoints")
    program.end()
    top.read_until(b"has ended")
    again = Program(tmp_path)
    try:
        top.read_until(f"process {again.process.pid}".encode())
        top.read_until(b"live")
    finally:
        again.end()
    top.send(b"q")
    assert top.end() == 0


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(it, marks=pytest.mark.slow) for it in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(folder, on_terminal, number):
    top = on_terminal(folder, "app.sock")
    top.read_until(b"live")
    top.process.send_signal(number)
    assert top.end() == 0
    assert b"Traceback" not in top.seen


def test_a_user_may_stop_it_and_continue(folder, on_terminal):
    top = on_terminal(
        folder, "app.sock", start=NewProcess
    )  # only a parent can see that it is stopped
    top.read_until(b"live")
    top.process.send_signal(signal.SIGTSTP)
    top.read_until(LEAVES)
    _, status = os.waitpid(top.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert termios.tcgetattr(top.terminal) == top.before
    top.process.send_signal(signal.SIGCONT)
    top.read_until(ENTERS)
    top.read_until(b"live")
    top.send(b"q")
    assert top.end() == 0


def test_no_colour_is_used_where_the_user_wants_none(folder, on_terminal):
    top = on_terminal(folder, "app.sock", NO_COLOR="1")
    seen = top.read_until(b"live") + top.read_until(b"help")
    assert b"\x1b[3" not in seen.replace(b"\x1b[39m", b"")
    top.send(b"q")
    assert top.end() == 0


@pytest.mark.slow
def test_a_terminal_without_these_characters_gets_others(folder, on_terminal):
    top = on_terminal(folder, "app.sock", start=NewProcess, PYTHONIOENCODING="ascii")
    top.resize(20, 6)
    top.process.send_signal(signal.SIGWINCH)
    top.read_until(b"live")
    top.send(b"q")
    assert top.end() == 0


def test_a_dumb_terminal_is_told_what_to_use(folder, on_terminal):
    top = on_terminal(folder, "app.sock", TERM="dumb")
    top.read_until(b"--json prints one reading")
    assert top.process.wait(timeout=30) == 2
