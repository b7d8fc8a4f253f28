"""What happens in a round, as it follows from a seed: which process is hurt, when and how."""

import random
from typing import Literal

import attrs

__all__ = ["FAULTS", "Event", "Fault", "Plan", "make_plan"]

Fault = Literal[
    "kill worker",
    "stop worker",
    "kill holder",
    "kill server",
    "hang server",
    "fill disk",
    "fill memory",
    "jump clock",
]
"""kill: by signal 9. stop, hang: by SIGSTOP, and on by SIGCONT. jump: by an hour, forth or back."""

FAULTS: tuple[Fault, ...] = (
    "kill worker",
    "stop worker",
    "kill holder",
    "kill server",
    "hang server",
    "fill disk",
    "fill memory",
    "jump clock",
)
_FIRST_S, _LAST_S = 0.2, 5.0  # after all workers have joined
_APART_S = 0.4
_MAX_COST, _BOUND_EVERY = 0.5, 5  # the share of the cost, and in how many rounds one is bounded
_LONG, _RETURNS = 0.3, 0.5  # the shares of stops that are long, and of workers that come back
_SHORT_S, _LONG_S = (0.5, 3.0), (11.0, 12.0)  # shorter and longer than a lease of 10 s


@attrs.frozen
class Event:
    """One fault.

    Args:
        at_s: seconds after all workers have joined.
        fault: what happens.
        lasts_s: seconds until a server is started again, a process goes on, and so on.
        returns: whether a worker that was killed is started again.
        hours: by how much a clock jumps.
    """

    at_s: float
    fault: Fault
    lasts_s: float = 0.0
    returns: bool = False
    hours: int = 1


@attrs.frozen
class Plan:
    """One round.

    Args:
        seed: the seed that it follows from.
        workers: number of `callsheet work` beside the holder.
        fsync: the server's `appendfsync`.
        max_cost: the share of the cost of all rows that a first run may spend; None for no bound.
        events: the faults in their order.
    """

    seed: int
    workers: int
    fsync: Literal["always", "everysec"]
    max_cost: float | None
    events: tuple[Event, ...]

    def __str__(self) -> str:
        said = ", ".join(f"{one.fault} at {one.at_s:.1f} s" for one in self.events)
        bound = "" if self.max_cost is None else f", max cost {self.max_cost:.0%}"
        return f"{self.workers} workers, fsync {self.fsync}{bound}: {said}"


def make_plan(seed: int, possible: tuple[Fault, ...] = FAULTS) -> Plan:
    """Return the plan of a round.

    Args:
        seed: makes the plan; eight neighbours have each fault at least once.
        possible: the faults that can be made on this machine.
    """
    chance = random.Random(seed)  # noqa: S311  # no secrets
    chosen: list[Fault] = [
        possible[seed % len(possible)],
        *chance.choices(possible, k=chance.randint(1, 2)),
    ]
    times: list[float] = []
    while len(times) < len(chosen):
        at = chance.uniform(_FIRST_S, _LAST_S)
        if all(abs(at - other) > _APART_S for other in times):
            times.append(at)
    chance.shuffle(chosen)
    events = [_event(chance, fault, at) for fault, at in zip(chosen, sorted(times), strict=True)]
    return Plan(
        seed,
        chance.randint(2, 3),
        chance.choice(("always", "everysec")),
        _MAX_COST if seed % _BOUND_EVERY == 0 else None,
        tuple(events),
    )


def _event(chance: random.Random, fault: Fault, at: float) -> Event:
    is_long = fault == "stop worker" and chance.random() < _LONG
    lasts = chance.uniform(*(_LONG_S if is_long else _SHORT_S))
    return Event(at, fault, lasts, chance.random() < _RETURNS, chance.choice((-1, 1)))
