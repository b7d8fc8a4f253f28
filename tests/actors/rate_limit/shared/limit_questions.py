"""Random questions about shared limits, for the core and the script that does the same."""

import itertools
import random

from callsheet.actors.rate_limit.shared import (
    Correction,
    LaneDemand,
    LeaseAsk,
    LimitAsk,
    PlacesAsk,
    SharedRate,
    SharedRefusal,
)

WAITS_S = (0.0, 0.001, 0.05, 0.2, 1.0, 10.0, 121.0, 4000.0, -5.0, -3600.0)


def _question(rng, worker, number, epoch, seen):
    limits = [f"limit {at}" for at in range(rng.randint(1, 3))]
    scopes = rng.sample(["", "one", "two"], rng.randint(1, 2))
    lanes = {
        (scope, f"lane {rng.randrange(200)}"): LaneDemand(
            scope,
            "",
            rng.choice([0.3, 1.0, 2.0]),
            rng.choice([0.0, 0.01, 0.1, 5.0, rng.random()]),
            10.0 * rng.random(),
            rng.choice([0, 0, 1]),
        )
        for scope in scopes
        for _ in range(rng.choice([0, 1, 3, 70]))
    }
    return LimitAsk(
        worker=worker,
        number=number,
        epoch=epoch,
        seen=seen,
        rates=tuple(
            SharedRate(
                limit,
                rng.choice([1.0, 10.0, 100.0]),
                rng.choice([1.0, 9.0, 99.0]),
                3.0 * rng.random(),
                rng.choice([0.0, 0.0, 2.0]),
            )
            for limit in limits
        ),
        leases=tuple(
            LeaseAsk(
                scope,
                {limit: rng.choice([0.0, 1.0, 40.0 * rng.random()]) for limit in limits},
                {limit: rng.choice([0.0, 1.0, 200.0]) for limit in limits},
            )
            for scope in scopes
            if rng.random() < 0.8
        ),
        corrections=tuple(
            Correction(
                rng.choice([*limits, "unknown"]),
                rng.uniform(-20.0, 20.0),
                5.0 * rng.random(),
                rng.random() < 0.5,
            )
            for _ in range(rng.choice([0, 0, 1, 2]))
        ),
        lanes=tuple(
            LaneDemand(scope, lane, one.weight, one.seconds, one.age_s, one.priority)
            for (scope, lane), one in lanes.items()
        ),
        places=tuple(
            PlacesAsk(scope, rng.choice([1.0, 3.0, 7.5, 40.0]), rng.randrange(4), rng.randrange(12))
            for scope in scopes
            if rng.random() < 0.5
        ),
        refusals=tuple(
            SharedRefusal(scope, rng.choice(["too_fast", "too_many"]), 5.0 * rng.random(), 0.1)
            for scope in scopes
            if rng.random() < 0.1
        ),
        leaves=rng.random() < 0.03,
    )


class RandomQuestions:
    """Questions of several processes: with deaths, repeats, late ones and another epoch.

    Args:
        seed: makes the same questions again.
    """

    def __init__(self, seed):
        self._rng = random.Random(seed)
        self._workers = [f"w{at}" for at in range(self._rng.choice([1, 2, 5]))]
        self._numbers = {worker: itertools.count(1) for worker in self._workers}
        self._sent = {}  # {worker: its questions}
        self._heard = {}  # {worker: its last grant}
        self._now = self._rng.choice([0.0, 1000.0, 1.7e9])

    def next(self):
        """Return a question, and the time."""
        rng = self._rng
        self._now += rng.choice(WAITS_S[:5]) if rng.random() < 0.7 else rng.choice(WAITS_S)
        worker = rng.choice(self._workers)
        sent = self._sent.setdefault(worker, [])
        if sent and rng.random() < 0.15:
            return rng.choice(sent[-3:]), self._now
        heard = self._heard.get(worker)
        epoch, seen = ("", 0) if heard is None else (heard.epoch, heard.seen)
        if rng.random() < 0.05:
            epoch = "another"
        sent.append(_question(rng, worker, next(self._numbers[worker]), epoch, seen))
        return sent[-1], self._now

    def hear(self, ask, grant):
        """Give the process its grant, unless that is lost."""
        if self._rng.random() < 0.9:
            self._heard[ask.worker] = grant
