"""What every test gets: the same start, a time limit, a quiet log, and examples.

The usual run tries the same examples each time. `-m slow` tries random ones, and so does
`HYPOTHESIS_PROFILE=random pytest`; `HYPOTHESIS_PROFILE=thorough pytest` tries ten times as many.
"""

import contextlib
import faulthandler
import gc
import math
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import structlog
import trio
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from callsheet.actors.storage.database import Database

settings.register_profile("usual", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("random", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=600, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE")

SLOW_FACTOR = 30  # for a test that is marked as slow, and with thorough examples
INHERITED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # not SIGPIPE: Python itself ignores that
stderr = pytest.StashKey[int]()
watchdog = pytest.StashKey["Watchdog"]()


def pytest_addoption(parser):
    parser.addini(
        "limit_s", "seconds after which a test that has not ended is ended", default="120"
    )


def pytest_configure(config):
    """Start as from a terminal, because `nohup`, `&` and cron pass on other signals and files."""
    if (null := os.open(os.devnull, os.O_RDONLY)) != 0:  # or else 0 was closed, and is in use now
        os.close(null)
    for name in INHERITED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
    config.stash[stderr] = os.dup(2)  # not captured yet
    is_usual = config.getoption("markexpr") == "not slow"
    profile = PROFILE or ("usual" if is_usual else "random")
    settings.load_profile(profile)
    if profile == "usual":
        draw_no_constants_of_modules()
    if sys.dont_write_bytecode:
        keep_bytecode(config)


def draw_no_constants_of_modules():
    """Keep Hypothesis from trying the constants of the modules of this project that are loaded.

    Which ones are loaded depends on the other tests, so that the examples would differ. To read
    them takes each worker 16 seconds. Random examples have them.
    """
    providers._get_local_constants = lambda: providers._local_constants


def keep_bytecode(config):
    """Compile each module once where the environment leaves no bytecode in its folder.

    Otherwise each worker and each process of a test compiles what it imports, Trio included.
    """
    if not hasattr(config, "cache"):
        return
    with contextlib.suppress(OSError):  # a read-only folder: it takes longer
        sys.pycache_prefix = str(config.cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Run one more worker than there are cores: some tests wait for processes and sockets.

    A further one costs more than it gains, because each of them collects all tests.
    """
    workers = yield
    return workers if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else workers + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection():
    """Collect without the garbage collector, which would find next to nothing."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """Keep the garbage collector from looking at all modules and tests again and again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    limit_s = float(session.config.getini("limit_s"))
    with Watchdog(limit_s, session.config.stash[stderr]) as session.config.stash[watchdog]:
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """End the process of a test that hangs, after printing what its tasks and threads do."""
    is_long = item.get_closest_marker("slow") or PROFILE == "thorough"
    with item.config.stash[watchdog].watching(item.nodeid, SLOW_FACTOR if is_long else 1):
        return (yield)


class Watchdog:
    """One thread for all tests: to start one for each takes longer than many a test."""

    def __init__(self, limit_s: float, to: int):
        self._limit_s = limit_s
        self._to = to
        self._watched = ("", math.inf, math.inf)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def watching(self, test: str, factor: int):
        limit_s = factor * self._limit_s
        self._watched = (test, limit_s, time.monotonic() + limit_s)
        try:
            yield
        finally:
            self._watched = ("", math.inf, math.inf)

    def _run(self) -> None:
        hung_s = self._limit_s + 10
        while True:
            # A test that never releases the interpreter lock stops this thread, and not that of
            # the fault handler, which ends such a test unless it is set anew.
            faulthandler.dump_traceback_later(hung_s, exit=True, file=self._to)
            if self._ended.wait(0.5):
                return
            test, limit_s, until = self._watched
            if time.monotonic() > until:
                end_hanging(test, limit_s, self._to)
            hung_s = (limit_s if test else self._limit_s) + 10


def end_hanging(test: str, limit_s: float, to: int) -> None:
    lines = [f"\n\n{test} has not ended within {limit_s:g} s\n"]
    for task in gc.get_objects():
        if isinstance(task, trio.lowlevel.Task) and task.coro.cr_frame is not None:
            stack = traceback.StackSummary.extract(task.iter_await_frames())
            lines += [f"\nTask {task.name}:\n", *stack.format()]
    os.write(to, "".join([*lines, "\n"]).encode())
    faulthandler.dump_traceback(to)
    os._exit(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail a test that is skipped in CI, which has to install what the test needs."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} is skipped, and CI=true allows no skip: {call.excinfo.value}"
        )
    return report


@pytest.fixture(scope="session", autouse=True)
def no_bytecode_of_temporary_modules(tmp_path_factory):
    """Delete the bytecode of modules that tests have written: the next run has other paths."""
    yield
    if sys.pycache_prefix is not None:
        written = tmp_path_factory.getbasetemp().parts[1:]
        shutil.rmtree(Path(sys.pycache_prefix, *written), ignore_errors=True)


@pytest.fixture(autouse=True)
def log():
    """The events logged during the test, as dictionaries."""
    structlog.reset_defaults()  # a test of the command line may have set it up in its own way
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path_factory):
    """No test depends on the environment it runs in, or uses the user's ledger and prices."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("CALLSHEET_LEDGER", str(folder / "ledger.db"))
    monkeypatch.delenv("CALLSHEET_PRICES", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "no-data"))


@pytest.fixture(autouse=True)
def no_wait_for_the_disk(request, monkeypatch):
    """Commits of this process do not wait for the disk, which no test cuts off from its power."""
    if request.node.get_closest_marker("synced"):
        return
    prepare = Database._prepare
    monkeypatch.setattr(
        Database, "_prepare", lambda database, owner, _: prepare(database, owner, "off")
    )
