"""The built-in provider as a process of its own."""

import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def provider_process(*options):
    command = [sys.executable, "-m", "callsheet", "simulate", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
