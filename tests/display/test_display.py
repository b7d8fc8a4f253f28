"""The display of a run, on a terminal and in a pipe."""

import io
import re
import unicodedata
from decimal import Decimal

import pytest
import trio
from callstream import done, event, post_events, retried
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, ConsoleDimensions

from callsheet.display import LiveDisplay, PlainDisplay, open_display
from callsheet.display.live import board
from callsheet.trace.timeline import Timeline
from callsheet.wording import dollars, printable, seconds

STEPS = (
    "headline",
    "keywords",
    "image_prompt",
    "social_blurb",
    "intro",
    "outline",
    "sections",
    "conclusion",
    "meta_description",
)
EVIL = "[red]x[/red] :smile: \x1b[31mred\x1b]0;title\x07\r\n\x9b2J\u202eback\ud800"


def drawn(events, *, now, posts=None, width=100, height=40):
    """Return the lines of the display after some events."""
    timeline = Timeline()
    for happened in events:
        timeline.observe(happened)
    console = Console(file=io.StringIO(), width=width, height=height)
    size = ConsoleDimensions(width, height)
    posts = {"p1": "Why backpressure matters"} if posts is None else posts
    console.print(board(timeline, posts, STEPS, now=now, size=size))
    return console.file.getvalue().splitlines()


def row(lines, name):
    (line,) = [line for line in lines if re.search(rf" {name} ", line + " ")]
    return " ".join(line.split()[2:])


def terminal(*, width=100, height=40):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, _environ={})


# --- the tree -------------------------------------------------------------------------------


def test_before_the_first_event_every_step_waits():
    lines = drawn([], now=5.0)
    assert lines[0] == "Why backpressure matters  0/9  0.00 s"
    assert row(lines, "headline") == "waiting"
    assert sum("waiting" in line for line in lines) == 9
    assert "0/9 calls  $0  0.00 s" in lines[-1]


def test_each_state_of_a_call_is_shown_with_its_seconds_and_tokens():
    events = [
        *done("p1/headline", 0.0, 1.5),
        event("asked", 1.5, "p1/keywords"),
        event("queued", 1.5, "p1/intro"),
        event("sent", 1.5, "p1/outline", attempt=1),
        *retried("p1/conclusion", 1.0, 3.0)[:3],
        event("shared", 2.0, "p1/social_blurb"),
        event("cancelled", 2.0, "p1/image_prompt"),
    ]
    lines = drawn(events, now=2.5)
    assert row(lines, "headline") == "done 1.50 s 58 tokens"
    assert row(lines, "keywords") == "waiting 1.00 s"
    assert row(lines, "intro") == "queued 1.00 s"
    assert row(lines, "outline") == "in flight 1.00 s"
    assert row(lines, "conclusion") == "retrying 1.50 s 429 Too Many Requests"
    assert row(lines, "social_blurb").startswith("shared")
    assert row(lines, "image_prompt").startswith("cancelled")
    assert row(lines, "meta_description") == "waiting"
    assert "3/9 calls  $0.000050  2.50 s" in lines[-1]


def test_a_step_of_several_calls_becomes_as_many_rows():
    lines = drawn(post_events(), now=9.0)
    assert lines[0].endswith("11/11  8.35 s")
    assert [n for n in (1, 2, 3) if any(f"sections {n}" in line for line in lines)] == [1, 2, 3]
    assert "11/11 calls" in lines[-1]


def test_steps_that_a_failed_post_never_came_to_are_skipped():
    events = [
        event("sent", 0.0, "p1/headline", attempt=1),
        event("failed", 1.0, "p1/headline", attempt=1, error="401 wrong key"),
    ]
    lines = drawn(events, now=4.0)
    assert row(lines, "headline") == "failed 1.00 s 401 wrong key"
    assert row(lines, "intro") == "skipped"
    assert lines[0].endswith("1/1  1.00 s")


def test_an_unknown_price_is_shown_as_unknown():
    lines = drawn(done("p1/headline", 0.0, 1.0, cost=None), now=1.0)
    assert "cost unknown" in lines[-1]


def test_where_the_tree_does_not_fit_only_what_runs_is_shown():
    posts = {"p1": "First", "p2": "Second", "p3": "Third"}
    events = [*post_events("p1"), *done("p2/headline", 9.0, 12.0, post="p2")[:-1]]
    lines = drawn(events, now=10.0, posts=posts, height=15)
    assert lines[0] == "Second  0/9  1.00 s"
    assert "headline" in lines[1]
    assert lines[2] == "1 done, 1 waiting"
    assert len(lines) == 4


def test_where_that_does_not_fit_either_a_post_is_one_line():
    posts = {f"p{n}": f"Topic {n}" for n in range(60)}
    events = [
        e
        for n in range(40)
        for call in ("keywords", "headline")
        for e in done(f"p{n}/{call}", 0.0, 9.0, post=f"p{n}")[:-1]
    ]
    events += [event("failed", 1.0, f"p0/{call}", post="p0") for call in ("keywords", "headline")]
    lines = drawn(events, now=1.0, posts=posts, height=24)
    assert re.fullmatch(r"Topic 1 +0/9 +1\.00 s  headline, keywords", lines[0])
    assert lines[-2] == "0 done, 20 waiting, 1 failed, 18 more running"


def test_a_call_that_waits_for_a_retry_shows_its_error_in_a_crowd_too():
    posts = {f"p{n}": f"Topic {n}" for n in range(60)}
    events = [e for n in range(40) for e in done(f"p{n}/keywords", 0.0, 9.0, post=f"p{n}")[:-1]]
    events.append(event("retrying", 1.0, "p7/keywords", post="p7", error="cannot connect"))
    lines = drawn(events, now=1.0, posts=posts, height=24)
    assert lines[-3] == "retrying: cannot connect"
    assert len(lines) == 24 - 1


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    posts=st.integers(0, 30),
    begun=st.integers(0, 30),
    width=st.integers(10, 120),
    height=st.integers(6, 60),
    title=st.text(max_size=150),
)
def test_the_board_never_gets_larger_than_the_screen(posts, begun, width, height, title):
    events = [e for n in range(min(posts, begun)) for e in post_events(f"p{n}")[: 5 * (n % 12) + 1]]
    titles = {f"p{n}": title for n in range(posts)}
    lines = drawn(events, now=3.0, posts=titles, width=width, height=height)
    assert len(lines) < height


# --- live -----------------------------------------------------------------------------------


async def test_the_seconds_of_a_call_in_flight_advance_without_an_event(autojump_clock):
    console = terminal()
    async with open_display(console, {"p1": "A topic"}, STEPS) as observe:
        observe(event("sent", trio.current_time(), "p1/headline", attempt=1))
        await trio.sleep(1.02)
        frames = console.file.getvalue()
    for shown in ("0.00 s", "0.12 s", "0.50 s", "1.00 s"):
        assert shown in frames


async def test_an_event_is_shown_before_the_next_tick(autojump_clock):
    console = terminal()
    async with open_display(console, {"p1": "A topic"}, STEPS) as observe:
        await trio.sleep(0.51)  # ticks are at 0.5 and 0.625
        assert "in flight" not in console.file.getvalue()
        observe(event("sent", trio.current_time(), "p1/headline", attempt=1))
        await trio.sleep(0.01)
        assert "in flight" in console.file.getvalue()


async def test_a_burst_of_events_is_drawn_a_few_times_only(autojump_clock):
    console = terminal()
    async with open_display(console, {"p1": "A topic"}, STEPS) as observe:
        for n in range(1000):
            observe(event("asked", trio.current_time(), f"p1/{n}"))
            await trio.sleep(0.001)
    assert console.file.getvalue().count("A topic") < 25


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
    return [line for line in lines if line.strip()], output.rfind("\x1b[?25h")


async def assert_tidy(console):
    output = console.file.getvalue()
    lines, shown = left_behind(output)
    assert "A topic" in output
    assert lines == []
    assert shown > output.rfind("\x1b[?25l") >= 0  # the cursor is visible again


async def test_the_terminal_is_left_as_it_was(autojump_clock):
    console = terminal()
    async with open_display(console, {"p1": "A topic"}, STEPS) as observe:
        for happened in post_events(start=trio.current_time()):
            observe(happened)
            await trio.sleep(0.05)
    await assert_tidy(console)


async def test_the_terminal_is_left_as_it_was_by_a_run_that_is_cancelled(autojump_clock):
    console = terminal()
    with trio.move_on_after(1) as scope:
        async with open_display(console, {"p1": "A topic"}, STEPS):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await assert_tidy(console)


async def test_an_error_of_the_run_comes_out_as_it_is_and_the_terminal_is_left_as_it_was(
    autojump_clock,
):
    console = terminal()
    with pytest.raises(LookupError, match="lost"):
        async with open_display(console, {"p1": "A topic"}, STEPS):
            await trio.sleep(1)
            raise LookupError("lost")
    await assert_tidy(console)


async def test_the_display_may_run_on_a_clock_of_its_own(autojump_clock):
    display = LiveDisplay(terminal(), {"p1": "A topic"}, STEPS, clock=lambda: 7.0)
    display.observe(event("sent", 4.5, "p1/headline", attempt=1))
    console = Console(file=io.StringIO(), width=100)
    console.print(display.draw())
    assert "2.50 s" in console.file.getvalue()


# --- plain ----------------------------------------------------------------------------------


def plain(events, posts=None):
    console = Console(file=io.StringIO(), width=40)
    display = PlainDisplay(console, {"p1": "Why backpressure matters"} if posts is None else posts)
    for happened in events:
        display.observe(happened)
    return console.file.getvalue()


def test_a_pipe_gets_a_line_for_each_call_that_ends_or_pauses_for_long_and_the_first_retry():
    events = [
        *done("p1/headline", 10.0, 11.92),
        *retried("p1/intro", 11.92, 13.92),
        *retried("p1/conclusion", 13.0, 13.96),
        event("sent", 14.0, "p1/outline", attempt=1),
        event("retrying", 14.1, "p1/outline", attempt=1, error="503 overloaded", delay=20.0),
        event("failed", 15.0, "p1/outline", attempt=1, error="500 server error"),
        event("shared", 16.0, "p1/keywords"),
        event("cancelled", 16.0, "p1/image_prompt"),
        *done("alone", 16.0, 17.0, post=None),
    ]
    assert plain(events).splitlines() == [
        "[ 1.92s] Why backpressure matters: headline done in 1.92 s, 58 tokens",
        "[ 2.42s] Why backpressure matters: intro retrying in 0.50 s: 429 Too Many Requests",
        "[ 3.92s] Why backpressure matters: intro done in 2.00 s, 58 tokens",
        "[ 3.96s] Why backpressure matters: conclusion done in 0.96 s, 58 tokens",
        "[ 4.10s] Why backpressure matters: outline retrying in 20.00 s: 503 overloaded",
        "[ 5.00s] Why backpressure matters: outline failed after 1.00 s: 500 server error",
        "[ 6.00s] Why backpressure matters: keywords shared in 0.00 s",
        "[ 7.00s] alone done in 1.00 s, 58 tokens",
    ]


def test_what_others_wrote_is_neither_markup_nor_a_command_to_the_terminal():
    events = [
        event("sent", 0.0, "c1", step=EVIL),
        event("failed", 1.0, "c1", step=EVIL, error=EVIL),
    ]
    tame = "[red]x[/red] :smile: red back"
    assert plain(events, {"p1": EVIL}) == (f"[ 1.00s] {tame}: {tame} failed after 1.00 s: {tame}\n")
    board_text = "\n".join(drawn(events, now=1.0, posts={"p1": EVIL}, width=200))
    assert board_text.count(tame) >= 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", board_text)


async def test_a_pipe_and_a_dumb_terminal_get_plain_lines():
    pipe = Console(file=io.StringIO())
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    for console in (pipe, dumb):
        async with open_display(console, {"p1": "A topic"}, STEPS) as observe:
            for happened in done("p1/headline", 0.0, 1.0):
                observe(happened)
        assert console.file.getvalue() == "[ 1.00s] A topic: headline done in 1.00 s, 58 tokens\n"


# --- wording --------------------------------------------------------------------------------


@given(st.text(st.characters(codec=None)))
def test_printable_text_is_one_line_without_any_control(text):
    shown = printable(text)
    assert printable(shown) == shown
    assert not any(unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} for sign in shown)
    shown.encode()


def test_ordinary_text_of_any_script_is_left_alone():
    for text in ("Why [it] matters: 50 %", "Größe", "日本語", "👩\u200d💻"):
        assert printable(text) == text


def test_sums_of_money_and_time_in_words():
    sums = [None, "0", "0.00005", "0.0275", "0.5", "12.346", "1234.5"]
    assert [dollars(None if s is None else Decimal(s)) for s in sums] == [
        "unknown",
        "$0",
        "$0.000050",
        "$0.0275",
        "$0.5000",
        "$12.35",
        "$1,234.50",
    ]
    assert [seconds(s) for s in (0.0, 1.924, 59.99, 59.996, 125.4)] == [
        "0.00 s",
        "1.92 s",
        "59.99 s",
        "1 min 00 s",
        "2 min 05 s",
    ]
