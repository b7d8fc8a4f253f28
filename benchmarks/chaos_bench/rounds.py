"""Run one round: hurt the processes of a shared run as planned, then compare what all sides say."""

import heapq
import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import final

import attrs

from callsheet.actors import Usage, default_prices
from chaos_bench.hands import is_open, rows_in_hand, workers_known
from chaos_bench.place import Place
from chaos_bench.plan import Event, Plan
from chaos_bench.provider import INPUT_TOKENS, MODEL, OUTPUT_TOKENS, answer_to

__all__ = ["Outcome", "run_round"]

_LOOK_S = 0.02
_STARTS_S, _ENDS_S = 30.0, 120.0
_AGAIN_S = 0.5
_LEASE_S = 10.0
_NO_RUN = 2  # the exit status of a worker that comes when the run is over
_HELD = 2  # the exit status of a run that could not start, such as while another holds OUTPUT
_SPENT = "unpaid"  # the reason of a run that may not spend more
_STOPPED = 1  # the exit status of a run that was stopped before its end, and of its workers
_SERVER = {"kill server", "hang server", "fill disk", "fill memory"}


@attrs.frozen
class Outcome:
    """What came of a round.

    Args:
        seconds: how long it took.
        purchases: requests that the provider has taken and bills.
        in_hand: rows that workers had in hand when they were killed, or stopped beyond their lease.
        counted: calls that the summary of the run counts as possibly paid without an answer.
        refused: requests that the provider refused, because they exceeded the limit.
        most_in_a_second: the most requests within any second.
        problems: what is wrong, a sentence each; empty if all is well.
    """

    seconds: float
    purchases: int
    in_hand: int
    counted: int
    refused: int
    most_in_a_second: int
    problems: tuple[str, ...]


def run_round(
    plan: Plan, rows: int, folder: Path, *, small_disk: bool, keep: Path | None = None
) -> Outcome:
    """Run a round in an empty folder.

    Args:
        plan: what happens.
        rows: number of rows.
        folder: for all files; its path must be short.
        small_disk: whether the server's disk can be filled.
        keep: where the files of a round with a problem are copied to; None for nowhere.
    """
    moves = any(one.fault == "jump clock" for one in plan.events)
    place = Place(folder, rows, plan.fsync, small_disk=small_disk, moves_clocks=moves)
    try:
        outcome = _Round(plan, place).run()
        if outcome.problems and keep is not None:
            place.keep(keep / f"round-{plan.seed}")
        return outcome
    finally:
        place.close()


@final
class _Round:
    """One round: a heap of what happens next, and what was in hand."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self._plan, self._place = plan, place
        self._chance = Random(plan.seed)  # noqa: S311  # no secrets
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._server_until = 0.0  # when the server is well again
        self._in_hand = 0
        self._returned = False  # whether a worker was started again, perhaps after the end
        self._stopped: dict[int, tuple[float, int]] = {}  # {worker: since when, rows in hand}
        self._problems: list[str] = []
        self._total = rows_usd(place.rows)

    def run(self) -> Outcome:
        started = time.monotonic()
        bound = self._plan.max_cost
        options: tuple[str, ...] = ()
        if bound is not None:
            options = ("--max-cost", str(self._total * Decimal(str(bound))))
        self._open(*options)
        start = time.monotonic()
        for event in self._plan.events:
            self._at(start + event.at_s, partial(self._happen, event))
        status = self._drive(options)
        if bound is not None and not self._problems:
            self._check_bound(bound, status)
            self._problems += self._place.wait_for_workers(0, _STOPPED)
            self._open(joins=False)
            status = self._drive(())
        if status:
            self._problems.append(f"the run exited with {status}: {self._place.said('holder')}")
        late = (_NO_RUN,) if self._returned or bound is not None else ()
        self._problems += self._place.wait_for_workers(0, *late)
        return self._compare(time.monotonic() - started)

    def _open(self, *options: str, joins: bool = True) -> None:
        """Start the holder, and the workers when there is a run to work on.

        Args:
            options: of the holder.
            joins: whether to wait until all workers have joined, rather than let them come too late
                to a short run.
        """
        place, workers = self._place, self._plan.workers
        place.start_holder(*options)
        self._wait_until(lambda: is_open(place.server), "no run was opened")
        for number in range(1, workers + 1):
            place.start_worker(number)
        if joins:
            self._wait_until(  # a run that may spend little may be over before
                lambda: self._is_over or workers_known(place.server) > workers,
                "workers did not join",
            )

    # ---------------------------------------------------------------- what happens

    def _drive(self, options: tuple[str, ...]) -> int:
        """Let happen what is due until the run has ended, and return its exit status."""
        ends = time.monotonic() + _ENDS_S
        while time.monotonic() < ends:
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
            holder = self._place.holder
            status = None if holder is None else holder.poll()
            if status == _HELD and self._place.summary().get("reason") == _SPENT:
                status = _STOPPED  # it took over when all was spent, and sent nothing
            if status in (-signal.SIGKILL, _HELD):  # the same command takes OUTPUT over
                time.sleep(_AGAIN_S if status == _HELD else 0.0)
                self._place.start_holder(*options)
            elif status is not None:
                while self._due:  # what was stopped goes on
                    when, _, happen = heapq.heappop(self._due)
                    time.sleep(max(0.0, when - time.monotonic()))
                    happen()
                return status
            time.sleep(_LOOK_S)
        self._problems.append(f"the run did not end: {self._place.said('holder')}")
        return 0

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), happen))

    def _happen(self, event: Event) -> None:
        now = time.monotonic()
        if now < self._server_until:  # the server says what is in hand, and can fail once at a time
            self._at(self._server_until + 0.1, partial(self._happen, event))
            return
        if self._is_over:
            return
        if event.fault in _SERVER:
            self._server_until = now + event.lasts_s + 0.2
            self._hurt_server(event, now)
        elif event.fault == "kill holder":
            self._kill_holder()
        else:
            running = [
                number
                for number, worker in self._place.workers.items()
                if worker.poll() is None and number not in self._stopped
            ]
            if running:
                self._hurt_worker(self._chance.choice(running), event, now)

    @property
    def _is_over(self) -> bool:
        holder = self._place.holder
        return holder is None or holder.poll() is not None

    def _hurt_server(self, event: Event, now: float) -> None:
        server, place = self._place.server, self._place
        well = now + event.lasts_s
        match event.fault:
            case "kill server":
                server.kill()
                self._at(well, server.start)
            case "hang server":
                server.stop()
                self._at(well, server.go_on)
            case "fill disk":
                place.fill_disk()
                self._at(well, place.empty_disk)
            case _:
                server.bound_memory(1)
                self._at(well, partial(server.bound_memory, 0))

    def _kill_holder(self) -> None:
        holder = self._place.holder
        if holder is not None:
            os.kill(holder.pid, signal.SIGSTOP)
            self._in_hand += rows_in_hand(self._place.server, holder.pid)
            holder.kill()
            holder.wait()

    def _hurt_worker(self, number: int, event: Event, now: float) -> None:
        worker = self._place.workers[number]
        if event.fault == "jump clock":
            self._place.jump(number, event.hours)
            return
        os.kill(worker.pid, signal.SIGSTOP)
        in_hand = rows_in_hand(self._place.server, worker.pid)
        if event.fault == "stop worker":
            self._stopped[number] = now, in_hand
            self._at(now + event.lasts_s, partial(self._go_on, number))
            return
        self._in_hand += in_hand
        worker.kill()
        worker.wait()
        if event.returns:
            self._at(now + event.lasts_s, partial(self._return, number))

    def _return(self, number: int) -> None:
        """Start a worker again; the server must be there, because it does not wait for one."""
        if time.monotonic() < self._server_until:
            self._at(self._server_until + 0.1, partial(self._return, number))
        elif not self._is_over:
            self._returned = True
            self._place.start_worker(number)

    def _go_on(self, number: int) -> None:
        since, in_hand = self._stopped.pop(number)
        if time.monotonic() - since > _LEASE_S - 4.0:  # its last sign of life may be 3 s older
            self._in_hand += in_hand
        os.kill(self._place.workers[number].pid, signal.SIGCONT)

    # ---------------------------------------------------------------- what came of it

    def _wait_until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        ends = time.monotonic() + _STARTS_S
        while True:
            is_over = self._is_over  # before the look, which may say that the end is right
            if is_so():
                return
            if is_over or time.monotonic() > ends:
                raise RuntimeError(f"{otherwise}: {self._place.said('holder')}")
            time.sleep(_LOOK_S)

    def _check_bound(self, share: float, status: int) -> None:
        billed = rows_usd(sum(self._place.counts()["taken"].values()))
        most = self._total * Decimal(str(share))
        if billed > most:
            self._problems.append(f"{billed} USD are billed of at most {most}")
        if status != _STOPPED:
            said = self._place.said("holder")
            self._problems.append(f"a run that may not spend more exited with {status}: {said}")

    def _compare(self, seconds: float) -> Outcome:
        counts, place = self._place.counts(), self._place
        taken = {int(row): times for row, times in counts["taken"].items()}
        purchases, refused = sum(taken.values()), counts["refused"]
        counted = place.summary().get("maybe_billed", 0)
        self._problems += _wrong_rows(place)
        extra = purchases - place.rows
        if extra > self._in_hand:
            self._problems.append(f"{extra} rows were paid twice, {self._in_hand} were in hand")
        if refused:
            self._problems.append(f"the provider refused {refused} requests")
        if extra > counted:
            self._problems.append(f"{extra} rows were paid twice, the summary counts {counted}")
        return Outcome(
            seconds,
            purchases,
            self._in_hand,
            counted,
            refused,
            counts["most_in_a_second"],
            tuple(self._problems),
        )


def rows_usd(rows: int) -> Decimal:
    """Return what the provider bills for so many rows, in USD."""
    usage = Usage(INPUT_TOKENS * rows, OUTPUT_TOKENS * rows)
    return default_prices().cost(MODEL, usage) or Decimal(0)


def _wrong_rows(place: Place) -> list[str]:
    """Return what is wrong with OUTPUT: each row is to be in it once, with its own answer."""
    found, wrong = Counter[str](), 0
    if not place.output.exists():
        return ["there is no OUTPUT"]
    for row in place.output.read_text("utf-8").splitlines():
        line = json.loads(row)
        name = line["custom_id"]
        found[name] += 1
        body = line["response"]["body"] if line["response"] else None
        text = body["choices"][0]["message"]["content"] if body else ""
        wrong += bool(text != answer_to(int(name.removeprefix("r"))))
    missing = place.rows - len(found)
    twice = sum(times > 1 for times in found.values())
    return [
        f"{count} rows of OUTPUT {what}"
        for count, what in ((missing, "are missing"), (twice, "are twice"), (wrong, "are wrong"))
        if count
    ]
