"""What a permit costs: where nothing binds, and with few or very many that wait."""

import attrs

from bench_kit.sampling import cpu_s, settle
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, Limits
from callsheet.actors.rate_limit.scope import PermitRequest

__all__ = ["cost_of_free_us", "cost_of_waiting_us"]

_MANY = 20_000
_GO = 5_000


@attrs.define(eq=False)
class _Waiter:
    done: bool = False


def cost_of_free_us() -> float:
    """Microseconds of a permit that waits for nothing, from asking to release; two limits set."""
    limiter: Limiter[_Waiter] = Limiter(Limits(rpm=1e9, tpm=1e12, in_flight=1_000), 0.0)
    ask, now = PermitRequest("model", Cost(tokens=500.0)), 0.0
    settle()
    start = cpu_s()
    for _ in range(_MANY):
        now += 1e-3
        reservation = limiter.try_admit(ask, now)
        if reservation is None:
            raise RuntimeError("nothing should be in the way")
        limiter.release(reservation, now)
    return (cpu_s() - start) / _MANY * 1e6


def cost_of_waiting_us(waiting: int) -> float:
    """Microseconds of a permit while so many wait in fifty lanes: one comes, one goes, one ends."""
    limiter: Limiter[_Waiter] = Limiter(Limits(rpm=60_000.0, in_flight=10**6), 0.0)
    lanes = [f"lane {number}" for number in range(50)]
    asks = [PermitRequest("model", Cost(tokens=500.0), lane) for lane in lanes]
    now = 0.0
    for number in range(waiting):
        limiter.push(_Waiter(), asks[number % 50], now)
    while limiter.pop(now) is not None:
        pass  # what may go at once
    settle()
    start = cpu_s()
    for number in range(_GO):
        limiter.push(_Waiter(), asks[number % 50], now)
        now = limiter.next_at(now)
        grant = limiter.pop(now)
        if grant is None:
            raise RuntimeError("somebody should go")
        limiter.release(grant.reservation, now)
    return (cpu_s() - start) / _GO * 1e6
