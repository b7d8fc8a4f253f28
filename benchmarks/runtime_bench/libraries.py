"""Other actor libraries for Python, measured where they are installed."""

from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec

import attrs

__all__ = ["Library", "TellCost", "find_libraries"]


@attrs.frozen
class TellCost:
    """Seconds per message.

    Args:
        sending_s: to send it while the actor is busy.
        draining_s: to handle it afterwards.
    """

    sending_s: float
    draining_s: float

    @property
    def sum_s(self) -> float:
        """From the sender to the end of the handler."""
        return self.sending_s + self.draining_s


@attrs.frozen
class Library:
    """Another actor library.

    Args:
        name: name and version.
        ask: returns the seconds per ask, given the number of callers and of asks in total.
        tell: returns the seconds per message, given the number of messages.
    """

    name: str
    ask: Callable[[int, int], float]
    tell: Callable[[int], TellCost]


def find_libraries() -> tuple[list[Library], list[str]]:
    """Return the libraries that are installed and run here, and notes on them and the others."""
    found: list[Library] = []
    notes: list[str] = []
    if find_spec("pykka") is None:
        notes.append("Pykka is not installed, so it is not measured.")
    else:
        from runtime_bench.pykka_way import ask, tell  # noqa: PLC0415  # only if installed

        found.append(Library(f"Pykka {metadata.version('pykka')}", ask, tell))
        notes.append(
            "Pykka runs actors in threads. Its concurrent asks are futures of one thread, which is "
            "its fastest way. Its mailboxes are unbounded. CPU time leaves out the time in which "
            "its threads wait for each other."
        )
    if find_spec("triotp") is None:
        notes.append(
            "TriOTP is not installed, so it is not measured. Its releases require Trio 0.19; "
            "installed without its requirements, it runs on current versions."
        )
        return found, notes
    try:
        from runtime_bench.triotp_way import call, cast  # noqa: PLC0415  # only if installed

        call(1, 1)
    except Exception as error:  # noqa: BLE001  # any error means that it does not run here
        notes.append(f"TriOTP is installed and does not run on this Trio: {error!r}.")
    else:
        found.append(Library(f"TriOTP {metadata.version('triotp')}", call, cast))
        notes.append("TriOTP's mailboxes have no buffer: a sender cannot run ahead of the handler.")
    return found, notes
