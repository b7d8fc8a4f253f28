"""Start `callsheet` in a process of its own, without the work of importing it each time.

To start Python and import the command takes most of a second of work, and the tests start it more
than a hundred times. Here one process per worker imports it, the template, and each started
process is a fork of that. It has its own pid, signals, files, environment and exit status.

The tests of the start itself (tests/cli/test_entry.py, tests/test_clone.py) run Python anew.
"""

import atexit
import contextlib
import functools
import gc
import inspect
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

LARGEST = 1 << 20  # bytes of the arguments and the environment
MOST_FDS = 256
READ_AT_START = ("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONWARNINGS")


class NewProcess(subprocess.Popen):
    """`callsheet` with its arguments, as a child of this process in which Python starts anew.

    Args:
        arguments: of the command line, after its name.
        more: as for `subprocess.Popen`.
    """

    def __init__(self, *arguments, **more):
        super().__init__([sys.executable, "-m", "callsheet", *map(str, arguments)], **more)


class ForkedProcess(subprocess.Popen):
    """`callsheet` with its arguments, as a fork of the template.

    It is no child of this process, and what Python reads at its start has no effect on it.

    Args:
        arguments: of the command line, after its name.
        more: as for `subprocess.Popen`.
    """

    def __init__(self, *arguments, **more):
        super().__init__(["callsheet", *map(str, arguments)], **more)

    def _execute_child(self, *given):
        """Ask the template for a fork, as the base class starts a program."""
        asked = SIGNATURE.bind(self, *given).arguments
        streams = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        environ = dict(os.environ if asked["env"] is None else asked["env"])
        assert asked["preexec_fn"] is None
        assert all(environ.get(name) == os.environ.get(name) for name in READ_AT_START)
        numbers = [0, 1, 2, *asked["pass_fds"]]
        files = [own if fd == -1 else fd for own, fd in enumerate(streams)] + numbers[3:]
        message = {
            "arguments": asked["args"],
            "cwd": os.fspath(asked["cwd"] or Path.cwd()),
            "environ": environ,
            "numbers": numbers,
            "is_leader": asked["start_new_session"],
        }
        self._status, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with status:
            whole = json.dumps(message).encode()
            socket.send_fds(template(), [whole], [*files, status.fileno()])
        self.pid = int(self._status.recv(64))
        self._child_created = True
        self._close_pipe_fds(*(asked[name] for name in PIPES))

    def _try_wait(self, wait_flags):
        """Return the pid and the status at the end of the process, and before it two zeros."""
        flags = socket.MSG_DONTWAIT if wait_flags & os.WNOHANG else 0
        try:
            status = int(self._status.recv(64, flags))
        except BlockingIOError:
            return 0, 0
        self._status.close()
        return self.pid, status

    def _internal_poll(self, _deadstate=None):
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


CallsheetProcess = ForkedProcess if sys.platform == "linux" else NewProcess
SIGNATURE = inspect.signature(subprocess.Popen._execute_child)
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def run_callsheet(*arguments, **more):
    """Run the command to its end, as `subprocess.run` does; both outputs are text in pipes.

    Args:
        arguments: of the command line, after its name.
        more: as for `subprocess.Popen`.
    """
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    with CallsheetProcess(*arguments, **given) as process:
        try:
            words = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, *words)


@functools.cache
def template():
    """Start the template of this worker; return the socket that it listens to."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    with theirs:
        fd = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, __file__, str(fd)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[fd],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def end():
        control.close()
        process.wait()

    atexit.register(end)
    return control


def be_forked(control):
    """Fork at each message, until the other end is closed; return in each fork its message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this
    while True:
        whole, fds, _, _ = socket.recv_fds(control, LARGEST, 16)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # so that what they used counts for the tests
                pass
        if not whole:
            os._exit(0)
        message = json.loads(whole)
        import_command(message["arguments"][1])
        if os.fork() == 0:
            become_keeper_or_process(fds[-1])
            break
        for fd in fds:
            os.close(fd)
    control.close()
    become(message, fds)
    return message["arguments"]


@functools.cache
def import_command(name):
    """Import what a command needs, so that later forks have it too."""
    import_module(f"callsheet.cli.{name}" if name.isidentifier() else "callsheet.cli")
    actors = import_module("callsheet.actors")
    for module in pkgutil.walk_packages(actors.__path__, "callsheet.actors."):
        import_module(module.name)  # functions import some of them
    import_module("callsheet.actors.compose.recipe").default_recipe()  # which is cached
    gc.collect()
    gc.freeze()


def become_keeper_or_process(status):
    """Fork once more; return in that process. Here, send its status at its end."""
    if (pid := os.fork()) == 0:
        return
    with socket.socket(fileno=status) as to_tests:
        os.closerange(0, status)
        os.closerange(status + 1, MOST_FDS)
        _, ended = os.waitpid(pid, 0)
        to_tests.send(str(ended).encode())
    os._exit(0)


def become(message, fds):
    """Take over what the started process is given."""
    above = [os.dup2(fd, MOST_FDS + place) for place, fd in enumerate(fds)]
    os.closerange(3, MOST_FDS)
    for number, fd in zip(message["numbers"], above[:-1], strict=True):
        os.dup2(fd, number)
    if message["is_leader"]:
        os.setsid()
    os.chdir(message["cwd"])
    os.environ.clear()
    os.environ.update(message["environ"])
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream.isatty())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.write(above[-1], str(os.getpid()).encode())  # the caller goes on
    os.closerange(MOST_FDS, max(above) + 1)


if __name__ == "__main__":
    sys.argv = be_forked(socket.socket(fileno=int(sys.argv[1])))
    sys.path.pop(0)  # the folder of the tests
    runpy.run_module("callsheet", run_name="__main__", alter_sys=True)
