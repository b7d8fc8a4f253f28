"""All programs that share a server: their reports, one reading of them, and its screen."""

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from rich.cells import cell_len
from sample_readings import READINGS, busy
from valkey_server import valkey_server

from callsheet import Request, TroupeSettings, open_builtin_provider, open_troupe
from callsheet.actors import (
    InspectedProgram,
    LimitReading,
    PauseReading,
    ProgramReport,
    Reading,
    RunReading,
    ServerUrl,
    SpendReading,
    StorageUnavailable,
    read_report,
    to_report,
)
from callsheet.actors.inspection import PublishingActor, shortened
from callsheet.bulk.shared.queue import QueuedRow
from callsheet.bulk.shared.valkey import ValkeyQueue
from callsheet.runtime import open_runtime
from callsheet.top import display
from callsheet.top.display import read_once
from callsheet.top.screen import rows_beyond, screen
from callsheet.top.source import NoReading
from callsheet.top.view import SHARED_SECTIONS, SORTS, View
from callsheet.top.watching import Watched
from callsheet.top.workers import reading_of_all

SERVER = InspectedProgram(callsheet=1, pid=0, program="redis://cache:6379/0")
RUNS = (
    RunReading(
        name="rows", state="running", holder="a 1", waiting=900, taken=20, answered=3, workers=2
    ),
    RunReading(name="old", state="ended"),
    RunReading(name="x" * 100, state="paused"),
)


def report_of(host="a", pid=1, troupe="", ledger="", calls_per_s=0.0, **reading):
    return ProgramReport(
        callsheet=1,
        host=host,
        pid=pid,
        program="worker.py",
        troupe=troupe,
        ledger=ledger,
        calls_per_s=calls_per_s,
        reading=Reading(**{"at": 5.0} | reading),
    )


def spend_of(usd):
    return SpendReading(
        source="ledger",
        known_usd=usd,
        reserved_usd="0",
        maybe_usd="0",
        maybe=0,
        unknown_usd="0",
        unpriced=0,
        saved_usd="0",
        models=(),
    )


def limit_of(dimension, used, limit=100.0, per_s=None, use=None):
    return LimitReading(
        subject="",
        dimension=dimension,
        limit=limit,
        per_s=per_s,
        used=used,
        use=used / limit if use is None else use,
        source="set",
    )


# ------------------------------------------------------------------------------ one reading


def test_each_process_has_one_line_and_their_calls_are_added():
    reports = [
        report_of("b", 2, in_flight=3, waiting=4, done=10, max_in_flight=8, calls_per_s=2.5),
        report_of("a", 9, "main", in_flight=1, max_in_flight=4),
        report_of("a", 9, "spare", in_flight=2, pauses=[PauseReading(subject="m", seconds=3.0)]),
    ]
    reading = reading_of_all(reports, RUNS, 7.0)
    assert [(one.host, one.pid, one.in_flight) for one in reading.workers] == [
        ("a", 9, 3),
        ("b", 2, 3),
    ]
    assert (reading.workers[0].max_in_flight, reading.workers[0].pause_s) == (None, 3.0)
    assert (reading.workers[1].max_in_flight, reading.workers[1].calls_per_s) == (8, 2.5)
    assert (reading.in_flight, reading.waiting, reading.done, reading.at) == (6, 4, 10, 7.0)
    assert reading.runs == RUNS
    assert reading_of_all([], (), 7.0) == Reading(at=7.0)


def test_a_limit_is_shown_once_with_the_calls_in_flight_of_all():
    reports = [
        report_of("a", 1, limits=[limit_of("in_flight", 30), limit_of("requests", 5, per_s=60.0)]),
        report_of("b", 2, limits=[limit_of("in_flight", 40), limit_of("requests", 9, per_s=60.0)]),
        report_of("b", 3, "spare", limits=[limit_of("in_flight", 1)]),
    ]
    limits = reading_of_all(reports, (), 0.0).limits
    assert [(one.subject, one.dimension, one.used, one.use) for one in limits] == [
        ("", "in_flight", 70, 0.7),
        ("", "requests", 9, 0.09),
        ("spare", "in_flight", 1, 0.01),
    ]


def test_a_ledger_that_programs_of_a_machine_share_counts_once():
    reports = [
        report_of("a", 1, ledger="/books", spend=spend_of("5")),
        report_of("a", 2, ledger="/books", spend=spend_of("5.25")),
        report_of("b", 3, ledger="/books", spend=spend_of("1")),
        report_of("b", 4, spend=spend_of("0.5")),
        report_of("b", 5, spend=spend_of("0.25")),
        report_of("b", 6),
    ]
    reading = reading_of_all(reports, (), 0.0)
    assert reading.spend.known_usd == "7.00"
    assert [one.cost_usd for one in reading.workers] == ["5", "5.25", "1", "0.5", "0.25", None]


# ------------------------------------------------------------------------------ the screen


def watched(reading):
    found = Watched()
    found.add(SERVER, reading)
    return found


def text_of(reading, width=80, height=24, **view):
    shown = View(**{"section": "Workers", "sections": SHARED_SECTIONS} | view)
    lines = screen(watched(reading), shown, width=width, height=height, now=0.0)
    return "\n".join(line.plain for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50), (20, 6)])
def test_each_section_of_workers_fits_each_terminal(size):
    width, height = size
    reports = [report_of(f"h{at}", at) for at in range(60)]
    reports += [
        attrs.evolve(report_of(name, 7), reading=reading) for name, reading in READINGS.items()
    ]
    reading = reading_of_all(reports, RUNS, 1.0)
    for section in SHARED_SECTIONS:
        for sort in range(len(SORTS[section])):
            view = View(section, sorts=((section, sort),), sections=SHARED_SECTIONS)
            lines = screen(watched(reading), view, width=width, height=height, now=0.0)
            assert len(lines) == height
            for line in lines:
                assert cell_len(line.plain) <= width
                assert line.plain.isprintable()
            assert rows_beyond(watched(reading), view, width=width, height=height) >= 0


def test_the_screen_has_a_line_for_each_worker_and_each_run():
    reports = [report_of("first", 11, in_flight=3, waiting=4, calls_per_s=2.5, done=70)]
    reports += [report_of("second", 12), report_of("second", 13)]
    reading = reading_of_all(reports, RUNS, 1.0)
    words = text_of(reading, 120, 40)
    assert "callsheet top  redis://cache:6379/0  " in words
    assert "process 0" not in words
    assert "[1 Workers]  2 Runs  3 Lanes" in words
    assert "Workers  3 processes on 2 machines" in words
    (line,) = [line for line in words.splitlines() if line.startswith("first")]
    assert line.split() == ["first", "11", "worker.py", "3", "4", "2.5", "70"]
    assert "Runs  3, 2 not ended" in words
    runs = text_of(reading, section="Runs")
    (line,) = [line for line in runs.splitlines() if line.startswith("rows")]
    assert line.split() == ["rows", "running", "2", "900", "20", "3", "a", "1"]
    assert "no program shares anything there" in text_of(Reading(at=1.0))


def test_a_key_chooses_a_section_of_the_workers():
    view = View("Workers", sections=SHARED_SECTIONS)
    assert view.after("2", 0).section == "Runs"
    assert view.after("left", 0).section == "Cache"
    assert view.after("9", 0).section == "Workers"


# ------------------------------------------------------------------------------ reports


def test_a_report_has_no_single_calls_and_is_short():
    reading = busy()
    short = shortened(reading)
    assert (short.actors, short.calls) == ((), ())
    assert (short.in_flight, short.waiting, short.limits) == (
        reading.in_flight,
        reading.waiting,
        reading.limits,
    )
    many = attrs.evolve(reading, lanes=tuple(reading.lanes) * 500)
    assert len(shortened(many).lanes) == 50
    assert shortened(many).left_out["lanes"] == len(many.lanes) - 50
    report = attrs.evolve(report_of(), reading=shortened(many))
    assert len(to_report(report)) < 20_000
    assert read_report(to_report(report)).reading.in_flight == reading.in_flight


class Board:
    """A board in memory, which may be away."""

    name = "a board"

    def __init__(self):
        self.found = {}
        self.times = []
        self.is_away = False

    @asynccontextmanager
    async def open(self):
        yield

    async def report(self, program, body):
        self.times.append(trio.current_time())
        if self.is_away:
            raise StorageUnavailable(self.name, "away")
        self.found[program] = read_report(body)

    async def withdraw(self, program):
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable(self.name, "away")
        del self.found[program]


async def test_a_program_reports_every_two_seconds_and_withdraws_at_its_end(autojump_clock):
    board, done = Board(), iter(range(0, 1000, 10))

    async def read():
        return Reading(at=trio.current_time(), done=next(done))

    def actor():
        return PublishingActor(board, report_of(), "key", read)

    started = trio.current_time()
    async with open_runtime() as runtime:
        await runtime.spawn("reports", actor)
        await trio.sleep(1.0)
        assert board.found["key"].calls_per_s == 0.0
        await trio.sleep(2.0)
        assert board.found["key"].calls_per_s == pytest.approx(5.0)
        board.is_away = True
        await trio.sleep(6.0)
        board.is_away = False
        await trio.sleep(2.0)
        assert board.found["key"].reading.done == 50
        assert [at - started for at in board.times] == pytest.approx([0, 2, 4, 6, 8, 10])
    assert board.found == {}


# ------------------------------------------------------------------------------ a server


async def test_the_programs_at_a_server_are_read_by_its_url():
    with valkey_server(appendonly="yes") as server:
        queue = ValkeyQueue(ServerUrl.parse(server.url), "rows")
        async with open_builtin_provider() as endpoint, queue.open():
            await queue.hold("a 1", b"", lease_s=30.0)
            await queue.put("a 1", [QueuedRow("1", b""), QueuedRow("2", b"")])
            settings = TroupeSettings(endpoint=endpoint, shared=server.url)
            async with open_troupe(settings) as one, open_troupe(settings):
                await one.complete(Request.of("Say hello.", model="gpt-5-nano", max_tokens=5))
                while len(server.cli("ZRANGE", "callsheet:{programs}", "0", "-1").split()) < 2:  # noqa: ASYNC110  # the server has it
                    await trio.sleep(0.01)
                reading = await read_once(server.url)
                (key, *_) = server.cli("KEYS", "callsheet:{programs}:*").split()
                assert 0 < int(server.cli("PTTL", key)) <= 10_000
            with trio.fail_after(5):  # they are withdrawn; a report expires after 8 s or more
                while (await read_once(server.url)).workers:  # noqa: ASYNC110  # the server has it
                    await trio.sleep(0.01)
        assert len({one.pid for one in reading.workers}) == 1  # both are of this process
        (run,) = reading.runs
        assert (run.name, run.holder, run.waiting) == ("rows", "a 1", 2)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("valkey://", "names no host"),
        ("redis://u:secret-word@h:x", "malformed"),
        ("unix:///nowhere/s", "the shared server unix:///nowhere/s cannot be used"),
    ],
)
async def test_a_server_that_is_none_is_refused_without_its_password(where, text):
    with pytest.raises(NoReading, match=text) as caught:
        await read_once(where)
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            "redis://:hunter2@cache/0",
            "server redis://cache:6379/0 has not given its reports",
        ),
        ("http://ada:hunter2@gate:4000", "the program at http://"),
        ("app.sock", "the program at app.sock has given no reading within 10 s; it is stopped"),
    ],
)
async def test_what_does_not_answer_in_time_is_named_without_its_password(
    autojump_clock, monkeypatch, where, words
):
    @asynccontextmanager
    async def open_slowly(*_):
        await trio.sleep_forever()
        yield

    monkeypatch.setattr(display, "open_source", open_slowly)
    with pytest.raises(NoReading, match="busy") as error:
        await read_once(where)
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)
