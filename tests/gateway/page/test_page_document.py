"""The document of the page: readings of several troupes, within bounds, and their history (R14)."""

import json
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.actors import (
    ActorReading,
    Amount,
    CallReading,
    CostStatistics,
    CostTotals,
    ErrorReading,
    LaneReading,
    LimitReading,
    Reading,
)
from callsheet.gateway.page import CallRecorder
from callsheet.gateway.page.document import DocumentMaker, PageClock, PageDocument, to_json
from callsheet.gateway.page.history import SLOTS, ReadingHistory, SlotSeries, Traffic

LIMIT = LimitReading(
    subject="", dimension="requests", limit=60.0, per_s=60.0, used=1.0, use=0.5, source="set"
)
CRASH = ErrorReading(
    kind="KeyError", text="a", retried=0, failed=0, seconds=1.0, call="", actor="x", crashed=1
)


def reading(*, calls=0, lanes=1, limits=1, actors=2, **more):
    states = ("in flight", "waiting")
    return Reading(
        at=100.0,
        in_flight=calls,
        waiting=calls,
        actors=[ActorReading(path=f"a/{n}", kind="A", state="running") for n in range(actors)],
        lanes=[LaneReading(name=f"lane {n}", in_flight=1, waiting=1) for n in range(lanes)],
        calls=[
            CallReading(
                call=f"{state} {n}",
                post=None,
                step=None,
                lane="",
                model="m",
                state=state,
                seconds=1.0,
            )
            for state in states
            for n in range(calls)
        ],
        limits=[attrs.evolve(LIMIT, subject=f"model {n}") for n in range(limits)],
        errors=[CRASH],
        **more,
    )


def clock(now=100.0):
    return PageClock(now=now, unix_s=1_800_000_000.0, started_at=40.0, every_s=1.0)


def made(readings, costs=None, now=100.0):
    return DocumentMaker(CallRecorder()).make(readings, costs, clock(now))


def test_each_troupe_has_its_reading_and_the_program_one_tree():
    document = made({"main": reading(), "spare": reading(lanes=3)})
    assert [troupe.name for troupe in document.troupes] == ["main", "spare"]
    assert [len(troupe.reading.lanes) for troupe in document.troupes] == [1, 3]
    assert [len(troupe.reading.actors) for troupe in document.troupes] == [0, 0]
    assert [actor.path for actor in document.actors] == ["a/0", "a/1"]
    assert document.errors == [CRASH]
    assert (document.uptime_s, document.unix_s) == (60.0, 1_800_000_000.0)


def test_a_gateway_without_troupes_has_a_document():
    document = made({})
    assert (document.troupes, document.actors, document.left_out) == ([], (), {})


@pytest.mark.slow
def test_lists_are_bounded_over_all_troupes_and_say_what_they_lack():
    readings = {
        f"endpoint {n}": reading(
            calls=300, lanes=300, limits=100, actors=2000, left_out={"calls": 7, "actors": 5}
        )
        for n in range(60)
    }
    document = made(readings)
    lists = {
        name: sum(len(getattr(troupe.reading, name)) for troupe in document.troupes)
        for name in ("calls", "lanes", "limits")
    }
    assert (len(document.troupes), len(document.actors)) == (50, 500)
    assert lists == {"calls": 400, "lanes": 400, "limits": 200}
    left_out = document.left_out
    assert (left_out["troupes"], left_out["actors"]) == (10, 1500)
    assert left_out["calls"] == 50 * (600 + 7) - 400
    assert len(to_json(document)) < 2_000_000


def test_of_many_calls_those_in_flight_do_not_crowd_out_those_that_wait():
    (troupe,) = made({"main": reading(calls=300)}).troupes
    states = [call.state for call in troupe.reading.calls]
    assert (states.count("in flight"), states.count("waiting")) == (200, 200)


def test_the_json_has_the_members_of_the_class():
    document = json.loads(to_json(made({"main": reading()})))
    assert set(document) == {field.name for field in attrs.fields(PageDocument)}
    assert document["format"] == 1
    assert document["troupes"][0]["history"]["use"][0][-1] == 0.5


def totals(usd, calls=1, unpriced=0):
    amount = Amount(usd=Decimal(usd), calls=calls, unpriced_calls=unpriced, input_tokens=10)
    return CostTotals(spent=amount)


def test_the_spend_is_that_of_the_ledger_by_tenant_model_and_day():
    days = {f"2026-{month:02}-{day:02}": totals("1") for month in (9, 10) for day in range(1, 31)}
    tenants = {f"team {n}": totals(str(n)) for n in range(150)}
    by = {"tenant": tenants, "model": {"gpt-5-nano": totals("3", unpriced=1)}, "day": days}
    costs = CostStatistics(totals=totals("7.50", 9), by=by, budgets=(), open_calls=0)
    spend = made({"main": reading()}, costs).spend
    assert (spend.source, spend.known_usd, spend.reserved_usd) == ("ledger", "7.50", "0")
    assert (spend.tenants[0].name, spend.tenants[0].known_usd) == ("team 149", "149")
    assert (len(spend.tenants), spend.tenants[-1].name) == (101, "others")
    assert spend.tenants[-1].known_usd == str(sum(range(50)))
    assert (spend.days[0].name, len(spend.days)) == ("2026-10-30", 31)
    assert spend.models[0].unpriced == 1


# ------------------------------------------------------------------------------ history


def test_a_limit_has_a_history_by_what_it_limits_whatever_its_amount():
    history = ReadingHistory()
    for second, use in enumerate((0.1, 0.9, 0.3, 0.2, 0.4, 0.6)):
        limit = attrs.evolve(LIMIT, use=use, limit=60.0 + second)
        history.add({"main": Reading(at=0.0, limits=[limit], waiting=second)}, float(second))
    found = history.of("main", [LIMIT, attrs.evolve(LIMIT, source="learned")], 5.0)
    assert found.use[0][-2:] == (0.9, 0.6)  # the highest of each five seconds
    assert found.use[0][:-2] == (None,) * (SLOTS - 2)
    assert found.use[1] == ()
    assert found.waiting[-2:] == (4.0, 5.0)


def test_a_limit_that_is_not_seen_any_more_is_forgotten():
    history = ReadingHistory()
    history.add({"main": reading(limits=3)}, 0.0)
    history.add({"spare": reading(limits=1)}, 5.0 * SLOTS)
    assert len(history._series) == 3  # calls in flight, those that wait, and one limit


def test_series_are_bounded():
    history = ReadingHistory()
    for number in range(30):
        history.add({f"endpoint {number}": reading(limits=100)}, 0.0)
    assert len(history._series) == 1000
    assert history.of("endpoint 29", [LIMIT], 0.0).in_flight == ()


TIMES = st.lists(st.floats(0, 5000), max_size=60).map(sorted)


@given(TIMES, st.floats(0, 2000))
def test_a_series_shows_the_latest_slots_and_keeps_no_others(times, later):
    """R14."""
    series = SlotSeries(5.0)
    for number, at in enumerate(times):
        series.put(float(number), at)
    now = (times[-1] if times else 0.0) + later
    values = series.values(now)
    last = int(now // 5)
    expected = {}
    for number, at in enumerate(times):
        expected[int(at // 5)] = float(number)
    assert len(values) == SLOTS
    assert list(values) == [expected.get(slot) for slot in range(last - SLOTS + 1, last + 1)]
    assert len(series._values) <= SLOTS


@given(TIMES, st.floats(0, 5000))
def test_traffic_of_the_last_hour_is_all_there(times, later):
    """R14: also after a silence of any length."""
    traffic = Traffic()
    for at in times:
        traffic.at(at).answered += 1
    now = (times[-1] if times else 0.0) + later
    first = (int(now // 30) - SLOTS + 1) * 30
    assert sum(traffic.reading(now).answered) == sum(at >= first for at in times)
    assert len(traffic._slots) <= SLOTS
