"""The screen of `callsheet top`: what it says, and that it fits each terminal."""

import attrs
import pytest
from rich.cells import cell_len
from sample_readings import PROGRAM, READINGS, busy

from callsheet.actors import InspectedProgram, Reading
from callsheet.top.screen import rows_beyond, screen
from callsheet.top.section import age, soon, usd
from callsheet.top.tables import section_of
from callsheet.top.view import SECTIONS, SORTS, View
from callsheet.top.watching import Watched

SIZES = [
    (80, 24),
    (20, 6),
    (149, 26),  # the widest one without a second column
    (150, 26),
    (1, 1),
    *(
        pytest.param(size, marks=pytest.mark.slow)
        for size in ((120, 40), (200, 50), (40, 10), (300, 100))
    ),
]


def watched(reading):
    found = Watched()
    found.add(PROGRAM, reading)
    return found


def text_of(reading, view=View(), width=80, height=24):  # noqa: B008  # it is frozen
    lines = screen(watched(reading), view, width=width, height=height, now=0.0)
    return "\n".join(line.plain for line in lines)


def rows_of(reading, name, sort=None):
    section = section_of(name, reading, sort or SORTS[name][0])
    return [tuple(filter(None, row.cells)) for row in section.rows]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_each_section_fits_each_terminal(reading, size):
    width, height = size
    for name in SECTIONS:
        for view in (View(name), View(name, first=10**6), View(name, has_help=True)):
            lines = screen(watched(reading), view, width=width, height=height, now=0.0)
            assert len(lines) == height
            for line in lines:
                assert cell_len(line.plain) <= width
                assert line.plain.isprintable()
            assert rows_beyond(watched(reading), view, width=width, height=height) >= 0


def test_the_calls_are_shown_with_the_instants_of_their_turns():
    words = text_of(busy())
    assert "service.py (process 4711)" in words
    assert "in flight 8 of 8   waiting 1,000" in words
    assert "8 in flight, 1,000 waiting (the next 100 are listed)  rows 1-18 of 108" in words
    assert rows_of(busy(), "Calls")[7:12] == [
        ("nightly-7", "in flight", "0.7 s", "nightly", "gpt-5-nano", "ships", "outline"),
        ("nightly-0", "waiting", "0.0 s", "now", "nightly", "gpt-5-nano", "ships", "outline"),
        (
            "interactive-0",
            "waiting",
            "0.0 s",
            "now",
            "interactive",
            "gpt-5-nano",
            "ships",
            "outline",
        ),
        ("nightly-1", "waiting", "0.1 s", "in 0.2 s", "nightly", "gpt-5-nano", "ships", "outline"),
        (
            "interactive-1",
            "waiting",
            "0.1 s",
            "in 0.2 s",
            "interactive",
            "gpt-5-nano",
            "ships",
            "outline",
        ),
    ]


def test_what_a_narrow_terminal_leaves_out_is_the_least_important():
    wide, narrow = (text_of(busy(), width=width) for width in (120, 44))
    assert "ships" in wide
    assert "ships" not in narrow
    for words in ("nightly-0", "waiting", "in 0.2 s"):
        assert words in narrow


def test_limits_are_shown_in_words():
    assert rows_of(busy(), "Limits") == [
        ("pause after refusals", "gpt-5-nano", "in 2.4 s"),
        ("8 in flight", "all calls", "8", "100 %", "set"),
        (
            "200,000 input tokens a minute",
            "gpt-5-nano",
            "1,234",
            "40 %",
            "learned, others 12.5/s",
        ),
    ]
    assert rows_of(READINGS["unlimited"], "Limits") == [
        ("calls in flight: no limit", "all calls", "3", "set")
    ]


def test_the_costs_are_shown_with_what_is_not_known():
    section = section_of("Spend", busy(), "cost")
    assert section.summary == (
        "$12.35 in the ledger, 2 of unknown cost (at most $0.1000), "
        "3 maybe billed (at most $0.2500), $0.5000 reserved, $1.50 saved"
    )
    assert rows_of(busy(), "Spend")[-1] == ("budget team-a: $37.50 left", "$12.50")
    assert section_of("Spend", Reading(at=0.0), "cost").summary == "unknown"


def test_the_tree_is_indented_and_a_deep_one_is_bounded():
    names = [row[0] for row in rows_of(busy(), "Tree")]
    assert names == ["app", "  limiter", "  fragile", "  pool"]
    words = text_of(READINGS["deep"], View("Tree", first=40))
    assert "level-57" in words


def test_lanes_without_a_name_and_endpoints_that_are_out_are_named():
    assert ("(no lane)", "4", "500", "in 5.5 s") in rows_of(READINGS["strange"], "Lanes")
    assert rows_of(busy(), "Endpoints") == [
        ("api.example", "out", "in 3.0 s", "2"),
        ("b.example", "well", "4", "1"),
    ]


def test_a_terminal_gets_no_escape_sequences_and_no_markup_of_names():
    words = text_of(READINGS["strange"], View("Lanes"))
    assert "\x1b" not in words
    assert "red [bold]" in words


@pytest.mark.parametrize(
    ("name", "sort", "first"),
    [
        ("Lanes", "name", "interactive"),
        ("Lanes", "turn", "nightly"),
        ("Limits", "use", "pause after refusals"),
        ("Tree", "restarts", "app/fragile"),
        ("Tree", "waiting", "app/limiter"),
        ("Calls", "time", "nightly-49"),
        ("Calls", "lane", "interactive-0"),
    ],
)
def test_rows_are_sorted_as_the_user_wants(name, sort, first):
    assert rows_of(busy(), name, sort)[0][0] == first


def test_the_state_of_the_program_is_told():
    seen = watched(busy())
    shown = {"now": 0.0, "width": 80, "height": 24}
    assert screen(seen, View(), **shown)[0].plain.endswith(" live")
    assert screen(seen, View(is_paused=True), **shown)[0].plain.endswith(" paused")
    seen.asked_at = -7.0
    assert screen(seen, View(), **shown)[0].plain.endswith(" no reply for 7.0 s")
    seen.problem = "the program at app.sock has ended"
    lines = [line.plain for line in screen(seen, View(), **shown)]
    assert lines[0].endswith(" no connection")
    assert lines[1] == "the program at app.sock has ended"
    assert lines[-1].startswith("waiting for a program to open the socket")
    assert "no reply: limits, turns" in text_of(READINGS["silent"])


def test_before_the_first_reading_there_is_a_screen():
    lines = screen(Watched(), View(), width=80, height=24, now=0.0)
    assert "waiting for the first reading" in lines[1].plain


def test_calls_a_second_are_counted_over_ten_seconds_and_anew_after_a_restart():
    seen = Watched()
    for at in range(30):
        seen.add(PROGRAM, Reading(at=at, done=at * at))
        assert at or seen.calls_per_s is None
    assert seen.calls_per_s == pytest.approx((29**2 - 19**2) / 10)
    seen.add(attrs.evolve(PROGRAM, pid=2), Reading(at=1.0, done=5000))
    assert seen.calls_per_s is None
    seen.add(InspectedProgram(callsheet=1, pid=2, program="service.py"), Reading(at=2.0, done=5003))
    assert seen.calls_per_s == 3


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "unknown"),
        (0.04, "now"),
        (2.44, "in 2.4 s"),
        (9.96, "in 10 s"),
        (125, "in 2 min 05 s"),
    ],
)
def test_an_instant_is_told_in_words(value, words):
    assert soon(value) == words


def test_ages_and_amounts_are_told_in_words():
    assert [age(None), age(0.0), age(12.4)] == ["", "0.0 s", "12 s"]
    assert [usd(None), usd("0"), usd("-1.5"), usd("1234.5")] == [
        "unknown",
        "$0",
        "-$1.50",
        "$1,234.50",
    ]
