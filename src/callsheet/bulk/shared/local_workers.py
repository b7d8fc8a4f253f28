"""Workers of a shared run on this machine, as processes of this one, and a server for them.

    async with open_local_server() as url:
        ...  # the holder opens the queue at `url`
        async with open_local_workers(url, run, 3) as workers:
            ...  # until the run has ended

Nothing outlives this process: the server and the workers end when a pipe to them is closed, which
the operating system does even after kill -9.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

import trio

from ...actors import ServerAway, ServerUrl, open_valkey
from ...config import SHARED_URL_VARIABLE
from ...runtime import open_collapsing_nursery

_SERVERS = ("valkey-server", "redis-server")
_READY_S = 10.0
_LOOK_S = 0.05
_LEAVE_S = 15.0  # for workers, when the run has ended
_TERM_S = 5.0
_MOST_STARTS = 5  # of one worker
_AGAIN_S = 1.0
_LINES = 5  # of what a worker has said last
WORKS_ON = "Working on "  # begins the line that a worker prints once it has joined the run
_SHORT_FOLDERS = ("/tmp",)  # noqa: S108  # the path of a socket has few bytes

# Ends the server and removes its folder when stdin ends.
_KEEPER = """
"$@" & server=$!
read -r _
kill -9 "$server"; wait "$server" 2>/dev/null
rm -rf -- "$0"
"""


class NoServer(Exception):
    """No server can be started on this machine; the text has the reason and the remedy."""


def find_server() -> str:
    """Return the path of a Valkey or Redis server that is installed on this machine.

    Raises:
        NoServer: there is none.
    """
    for name in _SERVERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise NoServer(
        "several workers on one machine share a Valkey or Redis server, and none is installed; "
        "install valkey-server or redis-server, or name a server with --shared URL"
    )


@asynccontextmanager
async def open_local_server() -> AsyncGenerator[str]:
    """Start a server that only this user can reach; yield its URL.

    It listens on a Unix socket in a folder of its own, and keeps a log of its commands. Server and
    folder are removed at the end, however this process ends.

    Raises:
        NoServer: none is installed, or it does not start.
    """
    program = find_server()
    folder = _short_folder()
    command = [
        *(program, "--port", "0", "--unixsocket", str(folder / "s"), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction", "--logfile", str(folder / "log")),
    ]
    try:
        keeper = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", _KEEPER, str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the holder, which drains first
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise NoServer(f"{program} cannot be started: {error.strerror}") from None
    try:
        await _until_ready(program, folder)
        yield f"unix://{folder / 's'}"
    finally:
        with trio.CancelScope(shield=True):
            if keeper.stdin is not None:
                await keeper.stdin.aclose()
            with trio.move_on_after(_TERM_S):
                await keeper.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _short_folder() -> Path:
    """Make a folder (mode 0700) whose path leaves room for the name of a socket."""
    for place in (None, *_SHORT_FOLDERS):
        folder = Path(tempfile.mkdtemp(prefix="callsheet-", dir=place))
        with contextlib.suppress(ValueError):
            ServerUrl.parse(f"unix://{folder / 's'}")
            return folder
        folder.rmdir()
    raise NoServer(
        "the path of the folder for temporary files is too long for a socket; set TMPDIR=/tmp"
    )


async def _until_ready(program: str, folder: Path) -> None:
    with trio.move_on_after(_READY_S):
        async with open_valkey(ServerUrl.parse(f"unix://{folder / 's'}")) as client:
            while True:
                with contextlib.suppress(ServerAway):
                    await client.command("PING")
                    return
                await trio.sleep(_LOOK_S)
    lines = _last_lines(folder / "log")
    raise NoServer(f"{program} does not start{lines}; name a server with --shared URL")


def _last_lines(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        lines = path.read_text("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
    return ""


@final
class LocalWorkers:
    """The worker processes of one run.

    Args:
        arguments: the command of a worker.
        environ: the environment of a worker.
        count: how many there are.
        told: called with a sentence for the user.

    Attributes:
        restarts: how many times a worker was started again.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        count: int,
        told: Callable[[str], None],
    ) -> None:
        self.restarts = 0
        self._environ = environ
        self._arguments = arguments
        self._count = count
        self._told = told
        self._processes: dict[int, trio.Process] = {}  # by number
        self._joined: set[int] = set()  # numbers of those that have seen the run
        self._over = trio.Event()  # no worker is started any more

    def __repr__(self) -> str:
        return (
            f"<LocalWorkers {len(self._processes)} of {self._count} run, "
            f"{len(self._joined)} joined>"
        )

    @property
    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [process.pid for process in self._processes.values()]

    async def keep_running(self) -> None:
        """Start the workers; start one again that dies before the run has ended."""
        async with open_collapsing_nursery() as nursery:
            for number in range(1, self._count + 1):
                nursery.start_soon(self._keep_one, number)

    async def _keep_one(self, number: int) -> None:
        for start in range(_MOST_STARTS):
            if self._over.is_set():
                return
            status, said = await self._run(number)
            if self._over.is_set() or status == 0:
                return  # it has seen the end of the run
            reason = f" ({said[-1]})" if said else ""
            if status > 0 or start + 1 == _MOST_STARTS:  # it has said why, or was told to end
                self._told(f"Worker {number} has ended with status {status}{reason}.")
                return
            self.restarts += 1
            self._told(f"Worker {number} has died{reason}; it is started again.")
            with trio.move_on_after(_AGAIN_S * 2**start):
                await self._over.wait()

    async def _run(self, number: int) -> tuple[int, list[str]]:
        process = await trio.lowlevel.open_process(
            list(self._arguments),
            stdin=subprocess.PIPE,  # its end is the end of this process
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=self._environ,
        )
        self._processes[number] = process
        try:
            if self._over.is_set():  # while the process was made
                process.terminate()
            said: deque[str] = deque(maxlen=_LINES)
            if process.stderr is not None:
                rest = b""
                async for chunk in process.stderr:
                    *lines, rest = (rest + chunk).split(b"\n")
                    if any(line.startswith(WORKS_ON.encode()) for line in lines):
                        self._joined.add(number)
                    said.extend(line.decode(errors="replace") for line in lines if line.strip())
            return await process.wait(), list(said)
        finally:
            del self._processes[number]
            self._joined.discard(number)
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            if process.stdin is not None:
                with trio.CancelScope(shield=True):
                    await process.stdin.aclose()

    def run_has_ended(self) -> None:
        """Start no worker again, and end those that have not joined the run: they have no rows."""
        self._over.set()
        self._terminate(set(self._processes) - self._joined)

    def drain(self) -> None:
        """Let all workers end after their calls in flight."""
        self._over.set()
        self._terminate(set(self._processes))

    def _terminate(self, numbers: set[int]) -> None:
        for number in numbers:
            with contextlib.suppress(OSError):
                self._processes[number].terminate()


@asynccontextmanager
async def open_local_workers(
    url: str,
    run: str,
    count: int,
    *,
    journals: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
    leave_s: float = _LEAVE_S,
) -> AsyncGenerator[LocalWorkers]:
    """Run worker processes of a run for the length of a block.

    At its end they have a while to see that the run has ended; then they are drained, and then
    killed. If an exception leaves the block, they are drained at once.

    Args:
        url: the URL of the server, as `callsheet work` takes it.
        run: the name of the run.
        count: how many workers.
        journals: the folder of their journals; None for that of the user.
        told: called with a sentence for the user.
        leave_s: seconds that they have at the end of the block.
    """
    arguments = [sys.executable, "-m", "callsheet", "work", run, "--wait", "--until-stdin-ends"]
    if journals is not None:
        arguments += ["--journal", str(journals)]
    # Every user of the machine sees the arguments of a process, and the URL may have a password.
    environ = os.environ | {SHARED_URL_VARIABLE: url, "PYTHONUNBUFFERED": "1"}
    workers = LocalWorkers(arguments, environ, count, told)
    async with open_collapsing_nursery() as nursery:

        async def run_them() -> None:
            await workers.keep_running()
            ended.set()

        ended = trio.Event()
        nursery.start_soon(run_them)
        within_s = 0.0
        try:
            yield workers
            within_s = leave_s
        finally:
            workers.run_has_ended()
            with trio.CancelScope(shield=True):
                for limit_s, act in ((within_s, workers.drain), (_TERM_S, lambda: None)):
                    with trio.move_on_after(limit_s):
                        await ended.wait()
                    if not ended.is_set():
                        act()
            nursery.cancel_scope.cancel()
