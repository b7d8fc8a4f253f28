"""Pykka: actors in threads, futures for answers."""

import threading

import attrs
import pykka

from bench_kit.sampling import cpu_s, settle
from runtime_bench.echo import ECHO, Echo, check
from runtime_bench.neighbours import TellCost

__all__ = ["ask", "tell"]

_TIMEOUT_S = 10.0
_WARM_UP = 1_000


@attrs.frozen
class Busy:
    """Keep the actor busy until `release`, having told so by `began`."""

    began: threading.Event
    release: threading.Event


class PykkaEchoer(pykka.ThreadingActor):
    """Answers, hears, or is kept busy."""

    def on_receive(self, message: object) -> object:
        """One message."""
        match message:
            case Echo(number):
                return number
            case Busy(began, release):
                began.set()
                return release.wait(_TIMEOUT_S)
            case _:
                raise TypeError(f"no handler for {message!r}")


def ask(askers: int, asks: int) -> float:
    """Seconds for an ask with so many in flight, as futures of one thread."""
    ref = PykkaEchoer.start()
    try:
        _ask(ref, askers, max(askers, _WARM_UP))
        settle()
        start = cpu_s()
        _ask(ref, askers, asks)
        return (cpu_s() - start) / (asks // askers * askers)
    finally:
        ref.stop()


def _ask(ref: pykka.ActorRef[PykkaEchoer], askers: int, asks: int) -> None:
    answers: list[object] = []
    for _ in range(asks // askers):
        futures = [ref.ask(ECHO, block=False) for _ in range(askers)]
        answers = [future.get(timeout=_TIMEOUT_S) for future in futures]
    check(answers[-1])


def tell(messages: int) -> TellCost:
    """Seconds for each message told while the actor is busy, and for handling it."""
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
