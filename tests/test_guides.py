"""The README, the tutorial and the how-to guides work when they are followed literally.

A page is a session in one empty folder. A block below a line that ends with the name of a file, as
in "Save this as `hello.py`:", is that file. A block of `sh` is typed. A block of `text` below it is
what it prints, where "..." stands for anything, and times and ports may be others.

In the usual run, `callsheet` and `python` run in this process, on a clock that jumps while nothing
happens, up to the first server of a page. With `-m slow`, a page with servers runs whole, as
processes; in the usual run the rest of it is only read. Commands that install something are not
run.
"""

import ast
import contextlib
import io
import math
import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import attrs
import click
import pytest
import trio
from trio.testing import MockClock
from valkey_server import needs_server, valkey_server

from callsheet import simulator
from callsheet.actors import VENDORS
from callsheet.cli import main as callsheet
from callsheet.simulator.settings import ProviderSettings

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
PAGES = [ROOT / "README.md", *GUIDES]
# The words that begin a command which is not run.
INSTALL = ("pip", "uv", ".", "mkdir", "cd")
BACKGROUND = re.compile(r"^(callsheet (simulate|serve|work)|uvicorn|valkey-server)\b(?!.*--check)")
CONFIGURED = re.compile(r"^CALLSHEET_|_API_KEY$|_BASE_URL$")
PORTS = re.compile(r"127\.0\.0\.1:(\d+)|--port (\d{4,})")
GATEWAY = "4000"
VALKEY = "unix:///tmp/valkey.sock"
LIMIT_S = 120
QUIET = ("-p", "no:cacheprovider", "-p", "no:faulthandler", "-c", os.devnull)

FENCE = re.compile(
    r"^(?:[^\n]*`(?P<file>[\w./-]+)`:\n\n)?(?P<mark>```)(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
VARYING = re.compile(r"\b\d+(\.\d+)? ?(s|ms|rows/s)\b|(?<=127\.0\.0\.1:)\d+|(?<=process )\d+")


@attrs.frozen
class Step:
    """One block of a page, and the file or the output that it is."""

    line: int
    language: str
    text: str
    file: str = ""
    prints: str = ""

    @property
    def commands(self) -> list[str]:
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if not line.startswith("#")]


def steps(page):
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("mark")) + 2
        step = Step(line, match["language"], match["text"], match["file"] or "")
        if step.language == "text" and not step.file and found and found[-1].language == "sh":
            found[-1] = attrs.evolve(found[-1], prints=step.text)
        else:
            found.append(step)
    return found


def is_server(step):
    return step.language == "sh" and any(map(BACKGROUND.match, step.commands))


def alone(page):
    """Return the steps of a page before the first one that starts a server."""
    return list(takewhile(lambda step: not is_server(step), steps(page)))


LONG = [page for page in PAGES if any(map(is_server, steps(page)))]


def name(page):
    return page.stem


def plain(text):
    """Return a text without what another run may print in another way."""
    return "".join(f"{line.rstrip()}\n" for line in VARYING.sub("N", text).strip().splitlines())


def pattern(documented):
    """Return what a documented output stands for: a line of "..." is any number of lines."""
    lines = (re.escape(line).replace(r"\.\.\.", ".*?") for line in plain(documented).splitlines())
    return "".join(r"(?:.*\n)*?" if line == ".*?" else rf"{line}\n" for line in lines)


def expect(step, printed, where):
    if step.prints:
        assert re.fullmatch(pattern(step.prints), plain(printed)), (
            f"{where} documents\n{step.prints}\nand this is printed:\n{printed}"
        )


# ---------------------------------------------------------------------------------- what is typed


def test_there_are_pages_and_most_of_them_run_in_the_usual_run():
    assert len(PAGES) == 15
    assert len(LONG) < 7


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_a_page_can_be_read(page):
    for step in steps(page):
        where = f"{page.name}:{step.line}"
        if step.language == "python":
            tree = ast.parse(step.text, where)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("callsheet"):
                    module = import_module(str(node.module))
                    for one in node.names:
                        assert hasattr(module, one.name), f"{where}: no {one.name}"
        elif step.language == "sh":
            for line in step.commands:
                words = shlex.split(line, comments=True)
                if words[:1] == ["callsheet"]:
                    parse(
                        callsheet, "callsheet", list(takewhile(lambda word: word != ">", words[1:]))
                    )


def parse(command, called, arguments, parent=None):
    """Let click parse a command line; files that it names need not exist."""
    try:
        context = command.make_context(called, list(arguments), parent=parent)
    except (click.BadParameter, click.exceptions.Exit):
        return  # a file that is not there; --help and --version
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if rest:
            called, found, after = command.resolve_command(context, rest)
            parse(found, called, after, context)


# ---------------------------------------------------------------------------------- in this process


class JumpingClock:
    """A clock that jumps when nothing happens, neither on a socket nor in a thread."""

    idle_s = 0.004  # longer than loopback takes

    def __init__(self, run_in_thread):
        self.trio = MockClock(autojump_threshold=self.idle_s)
        self._run_in_thread = run_in_thread
        self._busy = 0

    async def run_in_thread(self, *args, **options):
        self._busy += 1
        self.trio.autojump_threshold = math.inf
        try:
            return await self._run_in_thread(*args, **options)
        finally:
            self._busy -= 1
            self.trio.autojump_threshold = math.inf if self._busy else self.idle_s


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A session in an empty folder: a function that runs a command and returns what it prints."""
    for vendor in VENDORS.values():
        for variable in (*vendor.key_variables, *vendor.url_variables):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    run, run_in_thread = trio.run, trio.to_thread.run_sync

    def run_jumping(main, *args, **options):
        clock = JumpingClock(run_in_thread)
        monkeypatch.setattr(trio.to_thread, "run_sync", clock.run_in_thread)
        return run(main, *args, **{"clock": clock.trio} | options)

    def type_line(line):
        words = shlex.split(line, comments=True)
        if not words or words[0] in INSTALL:
            return ""
        if words[0] == "export":
            for word in words[1:]:
                monkeypatch.setenv(*word.split("=", 1))
            return ""
        if words[0] == "cat":
            return "".join(Path(file).read_text() for file in words[1:])
        out = io.StringIO()
        is_door = words[0] == "python" and "callsheet.sync" in Path(words[1]).read_text()
        is_door |= words[0] == "python" and "callsheet.aio" in Path(words[1]).read_text()
        with monkeypatch.context() as patch, contextlib.redirect_stdout(out):
            if is_door:  # two clocks
                fast = partial(ProviderSettings, time_scale=0.02)
                patch.setattr(simulator, "ProviderSettings", fast)
            else:
                patch.setattr(trio, "run", run_jumping)
            with contextlib.redirect_stderr(out):
                execute(words, patch)
        return out.getvalue()

    yield type_line
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]


def execute(words, patch):
    if words[0] == "callsheet":
        words, file = (words[: words.index(">")], words[-1]) if ">" in words else (words, "")
        out = io.StringIO()
        with contextlib.redirect_stdout(out) if file else contextlib.nullcontext():
            try:
                status = callsheet.main(words[1:], prog_name="callsheet", standalone_mode=False)
            except SystemExit as ended:
                status = ended.code
        if file:
            Path(file).write_text(out.getvalue())
        assert status in (0, None), f"{words} has the status {status}"
    elif words[0] == "pytest":
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        assert pytest.main([*QUIET, "--rootdir", ".", *words[1:]]) == 0
    else:
        assert words[0] == "python", f"{words[0]} is not a command that a guide may type"
        patch.setattr(sys, "argv", words[1:])
        runpy.run_path(words[1], run_name="__main__")


@pytest.mark.sockets
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_works_as_it_is_typed(page, session):
    for step in alone(page):
        if step.file:
            Path(step.file).parent.mkdir(parents=True, exist_ok=True)
            Path(step.file).write_text(step.text)
        elif step.language == "sh":
            printed = "".join(session(line) for line in step.commands)
            expect(step, printed, f"{page.name}:{step.line}")


# ------------------------------------------------------------------------------------ as processes


class Shell:
    """Runs commands as processes. Servers run until the page ends."""

    def __init__(self, folder, ports, valkey):
        self.folder = folder
        self.ports = ports  # {port of the page: free port}
        self.valkey = valkey
        self.servers = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not CONFIGURED.search(name)},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_DATA_HOME": str(folder / "data"),
        }

    def type_block(self, step):
        return "".join(self._type_line(self.translated(line)) for line in step.commands)

    def translated(self, text):
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text.replace(VALKEY, self.valkey)

    def _type_line(self, line):
        words = shlex.split(line, comments=True)
        if not words or words[0] in INSTALL or words[0] == "valkey-server":
            return ""
        if words[0] in ("export", "unset"):
            pairs = self._run(f"{line} && env -0").split("\0")
            self.environment = dict(pair.split("=", 1) for pair in pairs if pair)
            return ""
        line = re.sub(r"^callsheet ", f"{sys.executable} -m callsheet ", line)
        if BACKGROUND.match(" ".join(words)):
            path = self.folder / f"server-{len(self.servers)}.log"
            with path.open("w") as log:
                process = subprocess.Popen(
                    f"exec {line}", shell=True, cwd=self.folder, env=self.environment,
                    stdout=log, stderr=subprocess.STDOUT,
                )  # fmt: skip
            self.servers.append(process)
            is_gateway = words[1] == "serve"  # its file says where it listens
            address = f"--port {self.ports[GATEWAY]}" if is_gateway else line
            self._wait(process, PORTS.search(address), path)
            return ""
        return self._run(line)

    def _run(self, line):
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.environment, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
        )  # fmt: skip
        logs = "\n".join(path.read_text() for path in self.folder.glob("server-*.log"))
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{logs}"
        return done.stdout

    def _wait(self, process, address, log):
        until = time.monotonic() + 60
        port = int(address[1] or address[2]) if address else 0
        while port and time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        assert not port, f"nothing listens on {port}: {log.read_text()}"

    def close(self):
        for process in self.servers:
            process.send_signal(signal.SIGINT)
        for process in self.servers:
            process.wait(LIMIT_S)


def free_ports(ports):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in ports]
    found = {port: str(one.getsockname()[1]) for port, one in zip(ports, sockets, strict=True)}
    for one in sockets:
        one.close()
    return found


@pytest.mark.slow
@pytest.mark.sockets
@pytest.mark.parametrize("page", LONG, ids=name)
def test_a_page_with_servers_works_as_it_is_typed(page, tmp_path):
    with contextlib.ExitStack() as stack:
        valkey = ""
        if VALKEY in page.read_text():
            needs_server()
            valkey = stack.enter_context(valkey_server(appendonly="yes")).url
        ports = {one or other for one, other in PORTS.findall(page.read_text())} | {GATEWAY}
        shell = Shell(tmp_path, free_ports(sorted(ports)), valkey)
        stack.callback(shell.close)
        for step in steps(page):
            if step.file:
                (tmp_path / step.file).write_text(shell.translated(step.text))
            elif step.language == "sh":
                expect(step, shell.type_block(step), f"{page.name}:{step.line}")


# ------------------------------------------------------------------------------------------ types


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_programs_of_a_page_have_types(page, tmp_path, tmp_path_factory):
    cache = tmp_path_factory.getbasetemp() / "mypy"  # of all pages
    programs = [step for step in steps(page) if step.file.endswith(".py")]
    for step in programs:
        (tmp_path / step.file).write_text(step.text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", cache, "."],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": f"{ROOT / 'src'}:{ROOT / 'typings'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
