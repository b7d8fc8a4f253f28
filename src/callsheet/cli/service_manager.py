"""Tell systemd what a service does: that it is ready, reads its settings again, or stops.

A message is one datagram of lines NAME=VALUE to the socket that NOTIFY_SOCKET names; see
sd_notify(3). Where no service manager has set the variable, nothing is sent.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["notify_ready", "notify_reloading", "notify_stopping"]

_VARIABLE = "NOTIFY_SOCKET"


def notify_ready(status: str, environ: Mapping[str, str] = os.environ) -> None:
    """Say that the service does its work now: it has started, or has read its settings again.

    Args:
        status: one line for ``systemctl status``.
        environ: the environment, which names the socket.
    """
    _notify(environ, "READY=1", f"STATUS={status}")


def notify_reloading(environ: Mapping[str, str] = os.environ) -> None:
    """Say that the service begins to read its settings again; `notify_ready` follows.

    Args:
        environ: the environment, which names the socket.
    """
    _notify(environ, "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def notify_stopping(status: str, environ: Mapping[str, str] = os.environ) -> None:
    """Say that the service begins to end.

    Args:
        status: one line for ``systemctl status``.
        environ: the environment, which names the socket.
    """
    _notify(environ, "STOPPING=1", f"STATUS={status}")


def _notify(environ: Mapping[str, str], *lines: str) -> None:
    """Send a message. A service manager that does not take it changes nothing for the service."""
    path = environ.get(_VARIABLE, "")
    if not path.startswith(("/", "@")):
        return
    address = f"\0{path[1:]}" if path[0] == "@" else path  # an abstract address of Linux
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        sender.connect(address)
        sender.send("\n".join(lines).encode())
