"""The events of a run as a file of JSON lines."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from callsheet.actors.rate_limit.explanation import BucketState, LimiterSnapshot
from callsheet.actors.responses import Usage
from callsheet.bulk.progress import Progress, RowEnded
from callsheet.bulk.watching.event_log import EventLog
from callsheet.bulk.watching.watch import open_watch

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def stands(now, **more):
    return Progress(started_at=100.0, now=now, **more)


def limiter(limit):
    bucket = BucketState(
        scope="",
        dimension="requests",
        limit=limit,
        per_s=60.0,
        used=1.0,
        depth=9.0,
        source="learned",
    )
    return LimiterSnapshot(
        in_flight=0, max_in_flight=9, waiting=0, next_wake_s=None, buckets=(bucket,), scopes=()
    )


def written(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def test_a_run_is_written_down_from_its_start_to_its_end(path):
    with EventLog(path, clock=lambda: NOON) as log:
        log.sample(stands(100.0, total=2))
        log.sample(stands(100.5, total=2, limits=limiter(60.0)))
        log.observe(
            RowEnded(
                at=101.25,
                number=1,
                custom_id="a",
                seconds=0.75,
                attempts=2,
                route="live",
                usage=Usage(10, 5),
                cost_usd=Decimal("0.001"),
            )
        )
        log.sample(stands(102.0, limits=limiter(60.0), is_paused=True))
        log.sample(stands(103.0, limits=limiter(30.0), is_draining=True))
        log.sample(stands(104.0, limits=limiter(30.0), is_draining=True, answered=1))
    events = written(path)
    assert [(event["event"], event["at"]) for event in events] == [
        ("start", 0.0),
        ("limits", 0.5),
        ("row", 1.25),
        ("pause", 2.0),
        ("limits", 3.0),
        ("resume", 3.0),
        ("drain", 3.0),
        ("end", 4.0),
    ]
    assert events[0] == {"event": "start", "at": 0.0, "time": NOON.isoformat(), "total": 2}
    assert events[2] == {
        "event": "row",
        "at": 1.25,
        "number": 1,
        "custom_id": "a",
        "seconds": 0.75,
        "attempts": 2,
        "route": "live",
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": "0.001",
        "error": None,
        "is_reused": False,
    }
    assert events[-1]["answered"] == 1


def test_the_text_of_an_error_is_not_written(path):
    """It may quote the prompt, or the key."""
    with EventLog(path) as log:
        log.observe(
            RowEnded(
                at=0.0, number=1, custom_id="a", error="BadRequest", message="no 'My diary', sk-x"
            )
        )
    assert written(path)[0]["error"] == "BadRequest"
    assert "diary" not in path.read_text()


def test_any_custom_id_stays_one_line_of_json(path):
    hostile = '"},\n{"\ud800\u2028\x00'
    with EventLog(path) as log:
        log.observe(RowEnded(at=0.0, number=1, custom_id=hostile, cost_usd=None))
    assert written(path)[0]["custom_id"] == hostile
    assert written(path)[0]["cost_usd"] is None


def test_a_second_run_continues_where_the_first_was_killed(path):
    path.write_text('{"event": "start"}\n{"event": "ro')
    with EventLog(path) as log:
        log.sample(stands(100.0))
    lines = path.read_text().splitlines()
    assert lines[1] == '{"event": "ro'
    assert [json.loads(line)["event"] for line in lines[2:]] == ["start", "end"]


async def test_what_was_written_can_be_read_within_a_second(path, autojump_clock):
    with EventLog(path) as log:
        begun = trio.current_time()

        def progress():
            return Progress(started_at=begun, now=trio.current_time())

        async with open_watch(progress, None, observers=[log.sample]):
            for number in range(1, 6):
                await trio.sleep(0.3)
                log.observe(RowEnded(at=trio.current_time(), number=number, custom_id="a"))
            await trio.sleep(1.01)
            assert [event.get("number") for event in written(path)] == [None, 1, 2, 3, 4, 5]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_reported_once_and_does_not_stop_the_run():
    told = []
    with EventLog(Path("/dev/full"), on_error=told.append) as log:
        log.sample(stands(100.0))
        for number in range(5000):
            log.observe(RowEnded(at=100.0 + number, number=number, custom_id="a"))
        log.sample(stands(6000.0))
    why = "No space left on device; free space on the disk"
    assert told == [f"no more events are written to /dev/full: {why}"]
    assert log.trouble == told[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_disk_that_is_full_at_the_end_is_reported_too():
    log = EventLog(Path("/dev/full"))
    log._flushed_at = 1e9
    log.observe(RowEnded(at=100.0, number=1, custom_id="a"))
    log.close()
    log.close()
    assert log.trouble is not None


def test_a_file_that_cannot_be_opened_is_refused_before_the_run(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        EventLog(tmp_path / "nowhere" / "events.jsonl")
