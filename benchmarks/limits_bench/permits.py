"""Measure the cost of a permit: without a wait, and with few or very many waiting calls."""

import attrs

from bench_kit.sampling import cpu_s, settle
from callsheet.actors.rate_limit.core import Limiter
from callsheet.actors.rate_limit.limits import Cost, Limits, PermitRequest

__all__ = ["cost_of_free_us", "cost_of_waiting_us"]

_MANY = 20_000
_GO = 5_000


@attrs.define(eq=False)
class _Waiter:
    done: bool = False


def cost_of_free_us() -> float:
    """Return the microseconds from request to release of a permit without a wait; two limits."""
    limiter: Limiter[_Waiter] = Limiter(Limits(rpm=1e9, tpm=1e12, in_flight=1_000), 0.0)
    ask, now = PermitRequest("model", Cost(tokens=500.0)), 0.0
    settle()
    start = cpu_s()
    for _ in range(_MANY):
        now += 1e-3
        reservation = limiter.try_admit(ask, now)
        if reservation is None:
            raise RuntimeError("the permit should be available")
        limiter.release(reservation, now)
    return (cpu_s() - start) / _MANY * 1e6


def cost_of_waiting_us(waiting: int) -> float:
    """Return the microseconds of a permit while other calls wait in fifty lanes.

    Args:
        waiting: number of waiting calls.
    """
    limiter: Limiter[_Waiter] = Limiter(Limits(rpm=60_000.0, in_flight=10**6), 0.0)
    lanes = [f"lane {number}" for number in range(50)]
    asks = [PermitRequest("model", Cost(tokens=500.0), lane) for lane in lanes]
    now = 0.0
    for number in range(waiting):
        limiter.push(_Waiter(), asks[number % 50], now)
    while limiter.pop(now) is not None:
        pass  # grants the permits that are available at once
    settle()
    start = cpu_s()
    for number in range(_GO):
        limiter.push(_Waiter(), asks[number % 50], now)
        now = limiter.next_at(now)
        grant = limiter.pop(now)
        if grant is None:
            raise RuntimeError("a permit should be available")
        limiter.release(grant.reservation, now)
    return (cpu_s() - start) / _GO * 1e6
