"""What a Python user would otherwise pick, measured where it is installed."""

from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec

import attrs

__all__ = ["Neighbour", "TellCost", "find_neighbours"]


@attrs.frozen
class TellCost:
    """Seconds for one message.

    Args:
        sending_s: while the actor is busy.
        draining_s: once it is not any more.
    """

    sending_s: float
    draining_s: float

    @property
    def sum_s(self) -> float:
        """From the sender to the end of the handler."""
        return self.sending_s + self.draining_s


@attrs.frozen
class Neighbour:
    """Another library.

    Args:
        name: with its version.
        ask: seconds for each ask, of so many askers and so many asks in all.
        tell: seconds for each of so many messages.
    """

    name: str
    ask: Callable[[int, int], float]
    tell: Callable[[int], TellCost]


def find_neighbours() -> tuple[list[Neighbour], list[str]]:
    """Those that are installed and run here, and what is to be said of them and of the others."""
    found: list[Neighbour] = []
    notes: list[str] = []
    if find_spec("pykka") is None:
        notes.append("Pykka is not installed: nothing is compared with it.")
    else:
        from runtime_bench.pykka_way import ask, tell  # noqa: PLC0415  # only if it is there

        found.append(Neighbour(f"Pykka {metadata.version('pykka')}", ask, tell))
        notes.append(
            "Pykka runs actors in threads. Many in flight are many futures of one thread there, "
            "which is its fastest way; its mailboxes have no bound. CPU time flatters it: what its "
            "threads wait for each other is not in it."
        )
    if find_spec("triotp") is None:
        notes.append(
            "TriOTP is not installed: nothing is compared with it. Its releases so far demand Trio "
            "0.19; installed without its demands it runs on current ones."
        )
        return found, notes
    try:
        from runtime_bench.triotp_way import call, cast  # noqa: PLC0415  # only if it is there

        call(1, 1)
    except Exception as error:  # noqa: BLE001  # whatever it is, it does not run here
        notes.append(f"TriOTP is installed and does not run on this Trio: {error!r}.")
    else:
        found.append(Neighbour(f"TriOTP {metadata.version('triotp')}", call, cast))
        notes.append("TriOTP's mailboxes hold nothing: its tells cannot run ahead of the handler.")
    return found, notes
