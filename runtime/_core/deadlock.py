"""The search for deadlocks: which of the workers that wait for each other can continue.

A worker that waits for a reply or for room can continue if one of several workers can. One that
waits for a stop or a start can continue only if all of several can. Those that can are the least
set that satisfies this: the search starts from the workers that do not wait, and adds what follows.
A worker outside this set waits for a cycle. Nothing here awaits (R14).
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

W = TypeVar("W", bound=Hashable)

Needs = tuple[Sequence[W], bool]
"""What a worker waits for, and whether it needs all of it; nothing if it can continue."""


def stuck_cycle(start: W, needs_of: Callable[[W], Needs[W]]) -> list[W] | None:
    """Return workers that wait for each other in a cycle, so that `start` can never continue.

    Each worker is examined once, and none after it is known that `start` can continue.

    Args:
        start: the worker that begins to wait.
        needs_of: returns the workers that a worker waits for, and whether it needs all of them.

    Returns:
        The cycle, with `start` first if it is part of it; None if `start` can continue.
    """
    blocked: dict[W, Sequence[W]] = {}
    missing: dict[W, int] = {}  # how many of the workers that it waits for must continue first
    waiters: dict[W, list[W]] = {start: []}
    free: set[W] = set()
    pending = [start]
    while pending:
        one = pending.pop()
        parts, needs_all = needs_of(one)
        parts = tuple(dict.fromkeys(parts))
        blocked[one] = parts
        missing[one] = len(parts) if needs_all else min(len(parts), 1)
        for part in parts:
            if part in free:
                missing[one] -= 1
            elif part in waiters:
                waiters[part].append(one)
            else:
                waiters[part] = [one]
                pending.append(part)
        released = [one] if missing[one] <= 0 else []
        while released:
            other = released.pop()
            if other is start:
                return None
            if other in free:
                continue
            free.add(other)
            for waiter in waiters[other]:
                missing[waiter] -= 1
                if missing[waiter] == 0:
                    released.append(waiter)
    return _cycle_through(start, blocked, free)


def _cycle_through(start: W, blocked: dict[W, Sequence[W]], free: set[W]) -> list[W]:
    """Return the shortest cycle of stuck workers that leads back to `start`, or any behind it."""
    came_from: dict[W, W] = {}
    pending = [start]
    for one in pending:  # it grows
        for part in blocked[one]:
            if part == start:
                cycle = [one]
                while cycle[-1] != start:
                    cycle.append(came_from[cycle[-1]])
                return cycle[::-1]
            if part not in free and part not in came_from:
                came_from[part] = one
                pending.append(part)
    path = {start: None}
    one = start
    while True:
        one = next(part for part in blocked[one] if part not in free)
        if one in path:
            steps = list(path)
            return steps[steps.index(one) :]
        path[one] = None
