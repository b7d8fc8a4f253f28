"""The keys of `callsheet top`: what a terminal sends, and what each key changes."""

import pytest

from callsheet.top.keys import keys_in
from callsheet.top.view import SECTIONS, SORTS, View


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B\x1bOC\x1bOD", ["up", "down", "right", "left"]),
        (b"\t\x1b[Z\x1b[5~\x1b[6~", ["tab", "backtab", "pageup", "pagedown"]),
        (b"\x1b[H\x1b[4~\x1b", ["home", "end", "escape"]),
        (b"\x1b[1;5A", ["up"]),
        (b"\x1b[20~s", ["s"]),
        ("é3".encode(), ["é", "3"]),
        (b"\xff", ["\ufffd"]),
        (b"", []),
    ],
)
def test_what_a_terminal_sends_is_named(sent, keys):
    assert list(keys_in(sent)) == keys


def after(*keys, rows=50, view=None):
    found = view or View()
    for key in keys:
        found = found.after(key, rows)
    return found


def test_sections_are_chosen_in_a_circle_or_by_number():
    assert after("tab").section == SECTIONS[1]
    assert after("left").section == SECTIONS[-1]
    assert after(*["right"] * len(SECTIONS)).section == SECTIONS[0]
    assert after("4").section == SECTIONS[3]
    assert after("9", "0").section == SECTIONS[0]


def test_rows_are_moved_through_within_their_number():
    assert after("down", "down").first == 2
    assert after("up").first == 0
    assert after("pagedown", "pagedown").first == 20
    assert after("end").first == 50
    assert after("end", "down").first == 50
    assert after("end", "home").first == 0
    assert after("down", rows=-3).first == 0
    assert after("down", "tab").first == 0, "another section starts at its first row"


def test_each_section_keeps_its_order():
    view = after("s")
    assert view.sort_of("Calls") == SORTS["Calls"][1]
    assert after("tab", "s", "tab", "backtab", "backtab", view=view) == View(
        sorts=(("Calls", 1), ("Lanes", 1))
    )
    assert after(*["s"] * len(SORTS["Calls"])).sort_of("Calls") == SORTS["Calls"][0]


def test_pause_help_and_quit():
    assert after("p").is_paused
    assert not after("p", " ").is_paused
    assert after("?").has_help
    assert not after("?", "escape").has_help
    assert not after("h", "h").has_help
    assert after("q").has_quit


def test_unknown_keys_change_nothing():
    for key in ("x", "é", "\ufffd", "²"):
        assert after(key) == View()
