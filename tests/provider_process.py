"""Run the built-in provider in its own process."""

import subprocess
import sys
from contextlib import contextmanager


def start_provider(*options):
    """Start the provider; return the process and its base URL."""
    command = [sys.executable, "-m", "callsheet", "simulate", "--port", "0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return process, process.stdout.readline().strip()


@contextmanager
def provider_process(*options):
    process, base_url = start_provider(*options)
    with process:
        try:
            yield base_url
        finally:
            process.terminate()
