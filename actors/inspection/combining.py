"""One reading of several troupes: those of a gateway, or of all workers. Pure (R14)."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import reduce
from typing import TypeVar

import attrs

from .readings import (
    CallReading,
    ErrorReading,
    LaneReading,
    LimitReading,
    ModelSpend,
    PauseReading,
    Reading,
    SpendReading,
)

_MOST = 200  # entries of a sequence
_LAST = float("inf")

N = TypeVar("N", bound="attrs.AttrsInstance")


def combined_reading(
    readings: Mapping[str, Reading], *, is_one_ledger: bool, is_one_runtime: bool = True
) -> Reading:
    """Return one reading of several troupes.

    A limit, and a pause, is named after its troupe: "main: gpt-5-nano". The tree of actors is that
    of the first reading, as all of one runtime have the same.

    Args:
        readings: the reading of each troupe, by its name; at least one.
        is_one_ledger: whether all troupes record their costs in one file, so that each of them
            reports the costs of all.
        is_one_runtime: whether one runtime has all troupes, so that each of the readings has the
            crashes of all actors.
    """
    several = tuple(readings.values())
    if len(several) == 1:
        return several[0]
    left_out: dict[str, int] = {}
    for one in several:
        for part, count in one.left_out.items():
            left_out[part] = left_out.get(part, 0) + count
    left_out["actors"] = several[0].left_out.get("actors", 0)
    calls, left_out["calls"] = _calls(several, left_out.get("calls", 0))
    bounds = [one.max_in_flight for one in several]
    return Reading(
        at=max(one.at for one in several),
        in_flight=sum(one.in_flight for one in several),
        max_in_flight=None if None in bounds else sum(filter(None, bounds)),
        waiting=sum(one.waiting for one in several),
        done=sum(one.done for one in several),
        actors=several[0].actors,
        lanes=_lanes(several),
        calls=calls,
        limits=[_of(name, limit) for name, one in readings.items() for limit in one.limits],
        pauses=[_of(name, pause) for name, one in readings.items() for pause in one.pauses],
        endpoints=list({end.name: end for one in several for end in one.endpoints}.values()),
        errors=_errors(several, readings[next(iter(readings))] if is_one_runtime else None),
        spend=_spend([one.spend for one in several], is_one_ledger=is_one_ledger),
        cache=_sum(one.cache for one in several),
        sharing=_sum(one.sharing for one in several),
        batches=_sum(one.batches for one in several),
        left_out={part: count for part, count in left_out.items() if count},
        missing=[f"{name}: {stage}" for name, one in readings.items() for stage in one.missing],
    )


R = TypeVar("R", LimitReading, PauseReading)


def _of(troupe: str, entry: R) -> R:
    return attrs.evolve(entry, subject=f"{troupe}: {entry.subject}" if entry.subject else troupe)


def _lanes(readings: Iterable[Reading]) -> list[LaneReading]:
    found: dict[str, LaneReading] = {}
    for lane in (lane for one in readings for lane in one.lanes):
        same = found.get(lane.name)
        if same is not None:
            turns = [turn for turn in (lane.next_s, same.next_s) if turn is not None]
            lane = LaneReading(  # noqa: PLW2901  # the sum takes its place
                name=lane.name,
                in_flight=lane.in_flight + same.in_flight,
                waiting=lane.waiting + same.waiting,
                next_s=min(turns, default=None),
            )
        found[lane.name] = lane
    return sorted(found.values(), key=lambda lane: (-lane.waiting - lane.in_flight, lane.name))


def _calls(readings: Iterable[Reading], left_out: int) -> tuple[list[CallReading], int]:
    """Return the calls in flight, the oldest first, those that wait, and how many are left out."""
    calls = [call for one in readings for call in one.calls]
    in_flight = sorted(
        (call for call in calls if call.state == "in flight"), key=lambda call: -call.seconds
    )
    waiting = sorted(
        (call for call in calls if call.state != "in flight"),
        key=lambda call: _LAST if call.turn_s is None else call.turn_s,
    )
    shown = [*in_flight[: _MOST // 2], *waiting[: _MOST // 2]]
    return shown, left_out + len(calls) - len(shown)


def _errors(readings: Sequence[Reading], crashed: Reading | None) -> list[ErrorReading]:
    """Return the errors of all calls, and the crashes, which are in one reading or in each."""
    has_crashes = readings if crashed is None else [crashed]
    crashes = [error for one in has_crashes for error in one.errors if error.actor]
    of_calls = [error for one in readings for error in one.errors if not error.actor]
    return sorted((*crashes, *of_calls), key=lambda error: error.seconds)[:_MOST]


def _spend(spends: Iterable[SpendReading | None], *, is_one_ledger: bool) -> SpendReading | None:
    known = [spend for spend in spends if spend is not None]
    if not known or (is_one_ledger and known[0].source == "ledger"):
        return known[0] if known else None
    models: dict[str, ModelSpend] = {}
    for model in (model for one in known for model in one.models):
        same = models.get(model.model)
        models[model.model] = model if same is None else _added(same, model)
    by_cost = sorted(models.values(), key=lambda model: -Decimal(model.known_usd))
    budgets = [budget for one in known for budget in one.budgets]
    plain = (attrs.evolve(one, models=(), budgets=()) for one in known)
    return attrs.evolve(reduce(_added, plain), models=by_cost[:_MOST], budgets=budgets)


def _sum(values: Iterable[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return reduce(_added, known) if known else None


def _added(one: N, other: N) -> N:
    """Return two values added field by field: numbers, and amounts of USD, which are texts."""
    return type(one)(
        **{
            field: _total(field, getattr(one, field), getattr(other, field))
            for field in _fields(one)
        }
    )


def _fields(value: "attrs.AttrsInstance") -> list[str]:
    return [field.name for field in attrs.fields(type(value))]


def _total(field: str, one: object, other: object) -> object:
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    if field.endswith("_usd"):
        is_known = isinstance(one, str) and isinstance(other, str)
        return str(Decimal(str(one)) + Decimal(str(other))) if is_known else None
    return one
