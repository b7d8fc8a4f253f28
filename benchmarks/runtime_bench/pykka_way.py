"""Measure Pykka: actors in threads, and futures for replies."""

import threading

import attrs
import pykka

from bench_kit.sampling import cpu_s, settle
from runtime_bench.echo import ECHO, Echo, check
from runtime_bench.libraries import TellCost

__all__ = ["ask", "tell"]

_TIMEOUT_S = 10.0
_WARM_UP = 1_000


@attrs.frozen
class Busy:
    """Sets `began`, then keeps the actor busy until `release`."""

    began: threading.Event
    release: threading.Event


class PykkaEchoer(pykka.ThreadingActor):
    """Replies to `Echo`, or is kept busy by `Busy`."""

    def on_receive(self, message: object) -> object:
        """Handle one message."""
        match message:
            case Echo(number):
                return number
            case Busy(began, release):
                began.set()
                return release.wait(_TIMEOUT_S)
            case _:
                raise TypeError(f"no handler for {message!r}")


def ask(callers: int, asks: int) -> float:
    """Return the seconds per ask, with concurrent asks as futures of one thread."""
    ref = PykkaEchoer.start()
    try:
        _ask(ref, callers, max(callers, _WARM_UP))
        settle()
        start = cpu_s()
        _ask(ref, callers, asks)
        return (cpu_s() - start) / (asks // callers * callers)
    finally:
        ref.stop()


def _ask(ref: pykka.ActorRef[PykkaEchoer], callers: int, asks: int) -> None:
    answers: list[object] = []
    for _ in range(asks // callers):
        futures = [ref.ask(ECHO, block=False) for _ in range(callers)]
        answers = [future.get(timeout=_TIMEOUT_S) for future in futures]
    check(answers[-1])


def tell(messages: int) -> TellCost:
    """Return the seconds per message, to send it to a busy actor and to handle it."""
    ref = PykkaEchoer.start()
    try:
        for count in (messages // 10, messages):  # the first is the warm-up
            began, release = threading.Event(), threading.Event()
            ref.tell(Busy(began, release))
            began.wait(_TIMEOUT_S)
            settle()
            start = cpu_s()
            for _ in range(count):
                ref.tell(ECHO)
            sent = cpu_s()
            release.set()
            ref.ask(ECHO, timeout=_TIMEOUT_S)
            end = cpu_s()
    finally:
        ref.stop()
    return TellCost((sent - start) / messages, (end - sent) / messages)
