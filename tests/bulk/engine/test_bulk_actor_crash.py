"""A bug crashes one actor of a run: no row is lost, and none is paid for twice (L7, R2)."""

import httpx
import pytest
import trio
from bulk_rows import ids, ids_of, row, rows, stage

from callsheet.actors import Limits, Troupe
from callsheet.bulk.engine import outcomes, reader
from callsheet.bulk.engine.dispatch import Dispatch
from callsheet.bulk.errors import BulkStopped
from callsheet.bulk.files.archive import Archive
from callsheet.bulk.files.output import RunOutput
from callsheet.runtime import RestartIntensityExceeded

pytestmark = pytest.mark.usefixtures("journal_on_the_spot")

ROWS = 40
FEW = {"limits": Limits(in_flight=10)}


def crash_at(monkeypatch, owner, name, call, *, for_good=False):
    """Have a function raise an error at its nth call."""
    function, calls = getattr(owner, name), 0

    def fail(*args, **more):
        nonlocal calls
        calls += 1
        if calls == call or (for_good and calls > call):
            raise ZeroDivisionError("a bug")
        return function(*args, **more)

    monkeypatch.setattr(owner, name, fail)


CRASHES = {
    "reader": (reader, "take", 2),
    "dispatcher": (Dispatch, "next", 15),
    "dispatcher adds rows": (Dispatch, "add", 2),
    "dispatcher sends a row": (Troupe, "submit_nowait", 15),
    "store looks rows up": (Archive, "find", 2),
    "store writes": (Archive, "keep", 5),
    "writer": (RunOutput, "write", 3),
}


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("ordered", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_a_crash_ends_the_run_with_one_line_and_the_next_run_goes_on(
    autojump_clock, output, monkeypatch, crash, ordered
):
    monkeypatch.setattr("callsheet.bulk.engine.dispatcher.READ_AT_ONCE", 15)
    async with stage() as it:
        with monkeypatch.context() as patch:
            crash_at(patch, *CRASHES[crash])
            with pytest.raises(BulkStopped) as caught:
                await it.run(rows(ROWS), output, ordered=ordered, troupe=FEW)
        ending, sent = caught.value.ending, it.requests
        assert ending.kind == "crashed"
        assert ending.reason.endswith(": a bug; this is a bug in Callsheet")
        assert "ZeroDivisionError" in ending.reason
        assert "\n" not in str(ending)
        assert sent < ROWS
        await it.run(rows(ROWS), output, ordered=ordered)
        assert it.requests == ROWS, "each response was stored, and paid for once"
    assert sorted(ids_of(output)) == sorted(ids(*range(1, ROWS + 1)))


async def test_calls_with_a_declared_result_outlive_a_crash_as_well(
    autojump_clock, output, monkeypatch
):
    """They have a task each, since a response that is not valid is requested once more."""
    asked = []

    async def handle(request):
        asked.append(request)
        await trio.sleep(5)
        choice = {"index": 0, "message": {"content": '{"value": 5}'}, "finish_reason": "stop"}
        return httpx.Response(200, json={"model": "gpt-4o-mini", "choices": [choice]})

    numbers = [row(number, max_tokens=50, returns=int) for number in range(1, 11)]
    troupe = {"transport": httpx.MockTransport(handle), "limits": Limits(in_flight=5)}
    async with stage() as it:
        with monkeypatch.context() as patch:
            crash_at(patch, Dispatch, "next", 6)
            with pytest.raises(BulkStopped, match="run/dispatcher crashed"):
                await it.run(numbers, output, troupe=troupe)
        assert 0 < len(asked) == len(ids_of(output)) < 10
        await it.run(numbers, output, troupe=troupe)
        assert len(asked) == 10
    assert ids_of(output) == ids(*range(1, 11))


async def test_a_bug_where_a_response_arrives_costs_this_row_only(
    autojump_clock, output, monkeypatch
):
    """The error of a callback is no mere log record: it crashes the dispatcher."""
    async with stage() as it:
        with monkeypatch.context() as patch:
            crash_at(patch, outcomes, "answer_line", 20)
            with pytest.raises(BulkStopped, match="run/dispatcher crashed with ZeroDivisionError"):
                await it.run(rows(ROWS), output, troupe=FEW)
        assert it.requests < ROWS
        await it.run(rows(ROWS), output)
        assert it.requests == ROWS + 1
    assert ids_of(output) == ids(*range(1, ROWS + 1))


async def test_a_store_that_crashes_again_and_again_ends_the_run(
    autojump_clock, output, monkeypatch
):
    async with stage() as it:
        with monkeypatch.context() as patch:
            crash_at(patch, Archive, "keep", 3, for_good=True)
            with trio.fail_after(600), pytest.raises(RestartIntensityExceeded, match="run/store"):
                await it.run(rows(ROWS), output, troupe=FEW)
        sent = it.requests
        async with it.open(rows(ROWS), output) as run:
            await run.wait()
        assert run.lost_before >= sent - run.progress().reused
    assert ids_of(output) == ids(*range(1, ROWS + 1))


async def test_an_observer_that_fails_ends_the_run_and_costs_no_row(autojump_clock, output):
    """R17: the other observers are called for every row."""
    told = []

    def fail(ended):
        if ended.number == 12:
            raise KeyError("the observer's own bug")

    async with stage() as it:
        with pytest.raises(BulkStopped, match="an observer of the rows failed with KeyError"):
            await it.run(rows(ROWS), output, observers=[fail, told.append], troupe=FEW)
        assert len(told) == it.requests == len(ids_of(output)) < ROWS
        await it.run(rows(ROWS), output)
        assert it.requests == ROWS
