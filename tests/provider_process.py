"""Run the built-in provider in its own process."""

import subprocess
from contextlib import contextmanager

from callsheet_process import CallsheetProcess


def start_provider(*options):
    """Start the provider; return the process and its base URL."""
    arguments = ("simulate", "--port", "0", *options)
    process = CallsheetProcess(
        *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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
