"""The display of a bulk run, on a terminal and in a pipe."""

import io
import math
import re
from decimal import Decimal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions

from callsheet.actors.rate_limit.explanation import BucketState, LimiterSnapshot, ScopeState
from callsheet.actors.rate_limit.finder import FinderStatistics
from callsheet.bulk.progress import Progress
from callsheet.bulk.watching.outlook import History, outlook
from callsheet.bulk.watching.panel import panel
from callsheet.bulk.watching.watch import log_line, open_watch
from callsheet.wording import amount, duration, percent, rate

EVIL = "[red]x[/red] :smile: \x1b[31mred\x1b]0;title\x07\r\n\x9b2J\u202eback\ud800"
TAME = "[red]x[/red] :smile: red back"


def bucket(dimension="requests", *, used=1.0, limit=6000.0, per_s=60.0, source="set", scope=""):
    return BucketState(
        scope=scope,
        dimension=dimension,
        limit=limit,
        per_s=per_s,
        used=used,
        depth=99.0,
        source=source,
    )


def limiter(*buckets, scopes=()):
    return LimiterSnapshot(
        in_flight=64,
        max_in_flight=100,
        waiting=3,
        next_wake_s=None,
        buckets=buckets,
        scopes=tuple(scopes),
    )


def parked(parked_s):
    found = FinderStatistics(math.inf, math.inf, 0, 0)
    return ScopeState(
        name="gpt-5", in_flight=1, waiting={}, renewals=0, parked_s=parked_s, found=found
    )


def stands(now=125.0, **more):
    usual = {
        "started_at": 0.0,
        "total": 100_000,
        "read": 12_500,
        "answered": 12_345,
        "in_flight": 64,
        "unwritten": 12,
        "window": 10_000,
        "cost_usd": Decimal("1.25"),
        "limits": limiter(bucket(), bucket("tokens", used=0.0, limit=2e6, source="learned")),
    }
    return Progress(now=now, **(usual | more))


def drawn(*snapshots, width=80, height=24, is_over=False):
    """Return the lines of the panel after some snapshots."""
    history = History(snapshots[0])
    for one in snapshots[1:]:
        history.add(one)
    console = Console(file=io.StringIO(), width=width, height=height)
    size = ConsoleDimensions(width, height)
    for line in panel(history.latest, outlook(history), size, is_over=is_over):
        console.print(line)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def line_of(lines, head):
    (line,) = [line for line in lines if line.startswith(head)]
    return " ".join(line.split())


# --- the panel --------------------------------------------------------------------------------


def test_a_run_is_shown_with_its_speed_limits_spending_and_errors():
    lines = drawn(
        stands(65.0, answered=6345, cost_usd=Decimal("0.65")),
        stands(
            failed=12, bad=3, errors={"Timeout": 4, "RateLimited": 8}, slowest=(("row-7", 9.5),)
        ),
    )
    assert lines[0] == "running    12,360 of 100,000 rows  for 2 min 05 s, 14 min 35 s left"
    assert lines[1].endswith(" 12 %")
    speed = "speed 100 rows/s now, 98.9 on average; 64 of 100 calls in flight"
    assert line_of(lines, "speed") == speed
    assert line_of(lines, "requests").endswith("100 % of 6,000 a minute")
    assert line_of(lines, "tokens").endswith("0 % of 2,000,000 a minute (learned)")
    assert line_of(lines, "cost") == "cost $1.25 so far, about $10.12 in total"
    assert line_of(lines, "errors") == "errors RateLimited 8, Timeout 4, 3 invalid rows"
    assert line_of(lines, "slowest") == "slowest row-7 9.50 s"
    assert line_of(lines, "in order").startswith("in order 12 of 10,000 rows wait")


def test_rows_in_batches_are_shown_while_the_run_waits_for_them():
    found = line_of(drawn(stands(in_batches=1200)), "batches")
    assert found == "batches 1,200 rows in batches at the provider"
    assert not any("batches" in line for line in drawn(stands(in_batches=1200), is_over=True))


def test_without_a_total_the_bar_only_moves_and_missing_limits_are_shown():
    lines = drawn(stands(total=None, limits=None))
    assert lines[0] == "running    12,345 rows  for 2 min 05 s"
    assert "%" not in lines[1]
    assert line_of(lines, "limits") == "limits no limit known"
    assert line_of(lines, "cost") == "cost $1.25 so far"


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({}, "running"),
        ({"is_paused": True}, "paused"),
        ({"is_draining": True}, "draining"),
        ({"is_draining": True, "is_paused": True}, "draining"),
    ],
)
def test_what_the_run_does_stands_first(more, word):
    assert drawn(stands(**more))[0].startswith(f"{word} ")


def test_the_end_shows_whether_all_rows_have_ended():
    done = stands(answered=100_000, in_flight=0, reused=60_000)
    lines = drawn(done, is_over=True)
    assert (
        lines[0] == "done       100,000 of 100,000 rows (60,000 from earlier runs)  in 2 min 05 s"
    )
    assert lines[1].endswith("100 %")
    assert not any(line.startswith(("requests", "limits", "in order")) for line in lines)
    assert line_of(lines, "cost") == "cost $1.25"
    assert line_of(lines, "speed") == "speed 320 rows/s on average"
    assert drawn(stands(), is_over=True)[0].startswith("stopped ")
    piped = stands(total=None, answered=12_500, in_flight=0)
    assert drawn(piped, is_over=True)[0].startswith("done ")
    empty = stands(total=0, read=0, answered=0, in_flight=0)
    assert drawn(empty, is_over=True)[1].endswith("100 %")


def test_a_limit_for_a_day_and_one_of_a_model_are_shown_as_such():
    day = bucket(used=2500.0, limit=10_000.0, per_s=86_400.0, scope="gpt-5*")
    lines = drawn(stands(limits=limiter(day)))
    assert line_of(lines, "requests").endswith("25 % used up of 10,000 a day, gpt-5*")


def test_of_many_limits_the_fullest_are_shown():
    many = [
        bucket(used=float(n), limit=100.0, per_s=3600.0, scope=f"model-{n}") for n in range(1, 31)
    ]
    lines = drawn(stands(limits=limiter(*many)))
    assert [line.split("-")[-1] for line in lines if "model-" in line] == [
        str(n) for n in range(25, 31)
    ]
    assert "and 24 more limits" in " ".join(lines)


def test_the_reason_for_waiting_is_shown_whole_on_up_to_three_lines():
    """A firewall's page is named by its title, which stands late in the text."""
    trouble = (
        "provider.example returned 403: no reason given, only a web page (HTML) 'Attention "
        "Required! | Cloudflare'; a firewall before the API may have refused it"
    )
    lines = drawn(stands(trouble=trouble))
    at = next(at for at, line in enumerate(lines) if line.startswith("waiting"))
    shown = lines[at : at + 3]
    assert " ".join(line[11:] for line in shown) == trouble
    lines = drawn(stands(trouble="x y " * 200))
    assert sum("x y" in line for line in lines) == 3
    assert any(line.endswith("…") for line in lines)
    few = drawn(stands(trouble=trouble), height=6)
    assert sum("403" in line or "Cloudflare" in line for line in few) == 1


def test_a_pause_that_the_provider_requests_is_shown():
    lines = drawn(stands(limits=limiter(bucket(), scopes=[parked(0.0), parked(12.2)])))
    assert "the provider asks for a pause of 13 s" in " ".join(lines)
    lines = drawn(stands(limits=limiter(bucket(), scopes=[parked(0.2)])))
    assert "the provider asks for a pause of 1 s" in " ".join(lines)


def test_on_a_narrow_screen_the_words_of_a_limit_give_way_and_its_name_does_not():
    lines = drawn(stands(), width=30)
    (requests,) = [line for line in lines if line.startswith("requests   ")]
    assert requests.endswith("…")
    assert any(line.startswith("tokens     ") for line in lines)


def test_money_that_may_be_lost_and_unknown_prices_are_shown():
    run = stands(
        unpriced=5,
        maybe_billed=2,
        unknown_usd=Decimal("0.05"),
        maybe_usd=Decimal("0.02"),
    )
    lines = drawn(run)
    assert line_of(lines, "cost") == (
        "cost $1.25 so far, at least $10.13 in total; 5 of unknown cost"
    )
    assert "           in addition, unknown at most $0.0500, maybe at most $0.0200" in lines
    line = log_line(run, outlook(History(run)))
    assert "unknown at most $0.0500, maybe at most $0.0200" in line
    assert "           2 may have been billed without a response" in lines


def test_on_a_low_screen_the_most_important_lines_are_left():
    run = stands(failed=1, errors={"Timeout": 1}, slowest=(("row-7", 9.5),))
    heads = [line.split()[0] for line in drawn(run, height=7)]
    assert heads[0] == "running"
    assert heads[2:] == ["speed", "requests", "cost", "errors"]
    assert len(drawn(run, height=2)) == 1


def test_what_others_wrote_is_neither_markup_nor_a_command_to_the_terminal():
    run = stands(
        failed=1,
        errors={EVIL: 1},
        slowest=((EVIL, 9.5),),
        limits=limiter(bucket(scope=EVIL)),
    )
    text = "\n".join(drawn(run, width=200))
    assert text.count(TAME) == 2  # and once cut short
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", text)
    assert TAME in log_line(run, outlook(History(run)))


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 40),
    rows=st.tuples(st.integers(0, 10**12), st.none() | st.integers(0, 10**12)),
    name=st.text(max_size=60),
    is_over=st.booleans(),
)
def test_the_panel_never_gets_larger_than_the_screen(width, height, rows, name, is_over):
    ended, total = rows
    run = stands(
        total=total,
        answered=ended,
        failed=3,
        errors={name: 3},
        slowest=((name, 1e9),),
        limits=limiter(*(bucket(scope=f"{name}{n}") for n in range(9))),
    )
    lines = drawn(run, width=width, height=height, is_over=is_over)
    assert len(lines) <= max(1, height - 1)
    assert all(cell_len(line) <= width for line in lines)


# --- live -------------------------------------------------------------------------------------


def terminal(*, width=80, height=24):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, _environ={})


class Run:
    """A run that ends ten rows a second."""

    def __init__(self, **more):
        self.more = more

    def __call__(self):
        now = trio.current_time()
        rows = {"answered": round(10 * now), "total": 100, "read": 100, "in_flight": 1}
        return stands(now, **(rows | self.more))


def left_behind(output):
    """Return the text of a screen after the control sequences that a live display uses."""
    lines, at = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if part == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            at -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[at] = ""
        elif not part.startswith("\x1b") and part != "\r":
            lines[at] += part
    return [line.rstrip() for line in lines if line.strip()]


async def test_a_terminal_shows_the_progress_of_a_run_and_keeps_its_end(autojump_clock):
    console = terminal()
    async with open_watch(Run(), console):
        await trio.sleep(2.1)
        seen = console.file.getvalue()
        assert "0 of 100 rows" in seen
        assert "10 of 100 rows" in seen
        assert left_behind(seen)[0].startswith("running    20 of 100 rows")
        await trio.sleep(0.8)
    output = console.file.getvalue()
    lines = left_behind(output)
    assert lines[0] == "stopped    29 of 100 rows  in 3 s"
    assert sum("of 100 rows" in line for line in lines) == 1
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l") >= 0  # the cursor is visible again


async def test_a_run_that_fails_or_is_cancelled_leaves_how_it_stood_too(autojump_clock):
    console = terminal()
    with pytest.raises(LookupError, match="lost"):
        async with open_watch(Run(), console):
            await trio.sleep(1)
            raise LookupError("lost")
    assert left_behind(console.file.getvalue())[0] == "stopped    10 of 100 rows  in 1 s"
    console = terminal()
    with trio.move_on_after(1) as scope:
        async with open_watch(Run(), console):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert left_behind(console.file.getvalue())[0] == "stopped    20 of 100 rows  in 2 s"


async def test_a_terminal_that_gets_narrower_or_lower_is_drawn_to_fit(autojump_clock):
    console = terminal()
    async with open_watch(Run(), console):
        await trio.sleep(1.1)
        console.width, console.height = 40, 6
        before = len(console.file.getvalue())
        await trio.sleep(0.25)
        frame = console.file.getvalue()[before:]
    shown = left_behind(frame[frame.rindex("\x1b[2K") :])
    assert len(shown) == 5
    assert all(cell_len(line) <= 40 for line in shown)


async def test_output_during_the_run_is_shown_above_the_display(autojump_clock):
    console = terminal()
    async with open_watch(Run(), console):
        await trio.sleep(1.1)
        console.print("the disk is full")
        await trio.sleep(1)
    lines = left_behind(console.file.getvalue())
    assert lines[0] == "the disk is full"
    assert sum("of 100 rows" in line for line in lines) == 1


# --- plain ------------------------------------------------------------------------------------


async def test_a_pipe_gets_a_line_every_ten_seconds_and_at_the_end(autojump_clock, capsys):
    console = Console(file=io.StringIO(), width=40)
    async with open_watch(Run(total=1000), console):
        await trio.sleep(25.1)
    use = "10.0 rows/s, 64 in flight, requests at 100 %, tokens at 0 %"
    assert console.file.getvalue().splitlines() == [
        f"[   10.0s] running: 100 of 1,000 rows (10 %), {use}, $1.25 of $12.50, 1 min 30 s left",
        f"[   20.0s] running: 200 of 1,000 rows (20 %), {use}, $1.25 of $6.25, 1 min 20 s left",
        "[   25.1s] stopped: 251 of 1,000 rows (25 %), 10.0 rows/s on average, $1.25",
    ]
    assert capsys.readouterr().out == ""


async def test_a_pause_has_a_line_at_once(autojump_clock):
    console, run = Console(file=io.StringIO(), width=40), Run(total=1000)
    async with open_watch(run, console):
        await trio.sleep(3.1)
        run.more["is_paused"] = True
        await trio.sleep(1)
        run.more["is_paused"] = False
        await trio.sleep(1)
    said = [line.split()[:3] for line in console.file.getvalue().splitlines()]
    assert [words[-1] for words in said] == ["paused:", "running:", "stopped:"]


async def test_trouble_has_a_line_at_once_and_then_at_the_interval(autojump_clock):
    """R10: the work waits, and the reason is reported within 2 s."""
    console, run = Console(file=io.StringIO(), width=40), Run(total=1000)
    async with open_watch(run, console):
        await trio.sleep(3.1)
        run.more["trouble"] = "cannot connect"
        await trio.sleep(20)
    said = console.file.getvalue().splitlines()
    assert [line[:11] for line in said] == [
        *("[    3.2s] ", "[   13.2s] ", "[   23.1s] "),
    ]
    assert "no responses: cannot connect" in said[0]


async def test_observers_get_every_snapshot_with_or_without_a_display(autojump_clock):
    seen = []
    async with open_watch(Run(), None, every_s=0.5, observers=[seen.append]):
        await trio.sleep(1.6)
    assert [progress.now for progress in seen] == [0.0, 0.0, 0.5, 1.0, 1.5, 1.6]


# --- wording ----------------------------------------------------------------------------------


def test_figures_in_words():
    assert [duration(s) for s in (0, 11.6, 59.6, 125, 3600, 12_000, 90_000, 1e9)] == [
        "0 s", "12 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "3 h 20 min", "1 d 01 h",
        "11,574 d 01 h",
    ]  # fmt: skip
    assert [rate(r) for r in (None, 0.0, 0.0123, 0.5, 98.24, 1234.5)] == [
        "-", "0.0", "0.012", "0.5", "98.2", "1,234",
    ]  # fmt: skip
    assert [percent(s) for s in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        "0 %", "1 %", "50 %", "99 %", "100 %",
    ]  # fmt: skip
    assert [amount(a) for a in (6000.0, 12.5, 1234.5)] == ["6,000", "12.5", "1,234"]
