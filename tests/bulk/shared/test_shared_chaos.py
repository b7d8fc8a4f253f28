"""A shared run survives what can happen to its processes: some rounds of benchmarks/chaos.py."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from valkey_server import needs_server

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from chaos_bench.place import CLOCK_LIBRARY, can_fill_disk
from chaos_bench.plan import FAULTS, make_plan
from chaos_bench.rounds import run_round
from shared_bench.replay import lateness_s, replay

ROWS = 3_000


def test_plans_of_neighbours_have_every_fault_and_follow_from_the_seed():
    plans = [make_plan(seed) for seed in range(len(FAULTS))]
    assert {event.fault for plan in plans for event in plan.events} == set(FAULTS)
    assert plans == [make_plan(seed) for seed in range(len(FAULTS))]
    assert all(plan.events == tuple(sorted(plan.events, key=lambda e: e.at_s)) for plan in plans)


def test_the_replayed_limit_refuses_what_is_beyond_it():
    rate = 10.0
    at_the_limit = [0.0] * 10 + [number / rate for number in range(1, 101)]
    assert replay(at_the_limit, rate).refused == 0
    assert replay([*at_the_limit, 5.0], rate).refused == 1
    assert replay([0.0] * 11, rate).accepted == 10
    early = [*at_the_limit[:50], at_the_limit[50] - 0.005, *at_the_limit[51:]]
    assert (replay(early, rate).refused, replay(early, rate).nearly) == (1, 1)


def test_lateness_is_what_a_call_is_behind_the_schedule_near_it():
    rate = 10.0
    instants = [number / rate for number in range(50)]
    instants[20] += 0.03
    late = lateness_s(instants, rate)
    assert late[20] == pytest.approx(0.03)
    assert max(late[:20] + late[21:]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(FAULTS)))
def test_no_row_and_no_money_is_lost_whatever_happens_to_processes(seed):
    needs_server()
    folder = Path(tempfile.mkdtemp(prefix="ch", dir="/tmp"))  # a short path
    try:
        small_disk = can_fill_disk(folder)
        left_out = {"fill disk": not small_disk, "jump clock": not CLOCK_LIBRARY}
        possible = tuple(fault for fault in FAULTS if not left_out.get(fault))
        outcome = run_round(make_plan(seed, possible), ROWS, folder, small_disk=small_disk)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert outcome.problems == ()
