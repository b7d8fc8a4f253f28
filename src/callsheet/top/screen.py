"""Draw a program for a terminal of any size: what is chosen has most of the room. Pure (R14)."""

from collections.abc import Iterator, Sequence

import attrs
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ..wording import printable, rate
from .section import Column, ScreenRow, Section, age, usd
from .tables import section_of
from .view import HELP, SORTS, View
from .watching import Watched

_STYLES = {"": "", "dim": "dim", "good": "green", "busy": "yellow", "bad": "bold red"}
_WIDE = 150  # columns from which there are two columns of sections
_HIGH = 26  # lines of sections from which the others are shown below the chosen one
_LEAST_LINES = 4  # of a section: its title, its columns and two rows
_MOST_OF_COLUMN = 44  # characters of a column, but for the flexible one
_LEAST_FLEXIBLE = 12
_AROUND = 4  # lines above and below the sections
_MAX_INDENT = 24  # columns of a tree; what is deeper is at this depth
_GAP = 2
_HELP_WIDTH = max(len(keys) for keys, _ in HELP) + _GAP
_SLOW_S = 3.0  # without a reply, the screen says so


def screen(watched: Watched, view: View, *, width: int, height: int, now: float) -> list[Text]:
    """Draw the whole screen: as many lines as it has, each of which fits.

    Args:
        watched: the readings of the program.
        view: what the user has chosen.
        width: the columns of the terminal.
        height: the lines of the terminal.
        now: the current time, in seconds on the clock of `Watched.asked_at`.
    """
    lines = [
        _title(watched, view, width, now),
        _totals(watched),
        _tabs(view, width),
        *_body(watched, view, width, max(0, height - _AROUND)),
        _footer(view, is_waiting=bool(watched.problem)),
    ]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def rows_beyond(watched: Watched, view: View, *, width: int, height: int) -> int:
    """Return how many rows of the chosen section are not seen when it starts at the first.

    Args:
        watched: the readings of the program.
        view: what the user has chosen.
        width: the columns of the terminal.
        height: the lines of the terminal.
    """
    if watched.reading is None:
        return 0
    section = section_of(view.section, watched.reading, view.sort_of(view.section))
    chosen = next(iter(_panes(view, width, max(0, height - _AROUND))))
    return max(0, len(section.rows) - max(1, chosen.height - 2))


# ---------------------------------------------------------------- around the sections


def _title(watched: Watched, view: View, width: int, now: float) -> Text:
    program = watched.program
    name = "callsheet top"
    if program is not None:
        name += f"  {printable(program.program) or 'a program'}"
        name += f" (process {program.pid})" if program.pid else ""  # else it is a server
    state, style = _state(watched, view, now)
    name = _clipped(name, max(1, width - cell_len(state) - 1))
    gap = " " * max(1, width - cell_len(name) - cell_len(state))
    return Text.assemble((name, "bold"), gap, (state, style))


def _state(watched: Watched, view: View, now: float) -> tuple[str, str]:
    if watched.problem:
        return "no connection", "bold red"
    if view.is_paused:
        return "paused", "bold yellow"
    waited = 0.0 if watched.asked_at is None else now - watched.asked_at
    return (f"no reply for {age(waited)}", "bold yellow") if waited > _SLOW_S else ("live", "green")


def _totals(watched: Watched) -> Text:
    reading = watched.reading
    if watched.problem:
        return Text(printable(watched.problem), "bold red")
    if reading is None:
        return Text("waiting for the first reading", "dim")
    most = "" if reading.max_in_flight is None else f" of {reading.max_in_flight:,}"
    per_s = watched.calls_per_s
    parts = [
        f"in flight {reading.in_flight:,}{most}",
        f"waiting {reading.waiting:,}",
        f"{rate(per_s)} calls/s",
    ]
    if reading.spend is not None:
        parts.append(f"cost {usd(reading.spend.known_usd)}")
    failed = sum(one.failed for one in reading.errors)
    parts += [f"failed {failed:,}"] if failed else []
    words = Text("   ".join(parts))
    if reading.missing:
        words.append(f"   no reply: {', '.join(reading.missing)}", "bold yellow")
    return words


def _tabs(view: View, width: int) -> Text:
    """Draw the names of the sections; only their numbers where there is no room."""
    labels = [f"{number} {name}" for number, name in enumerate(view.sections, 1)]
    if sum(map(len, labels)) + len(labels) + _GAP > width:
        labels = [
            label if label.endswith(view.section) else label.partition(" ")[0] for label in labels
        ]
    gap = " " * (_GAP if sum(map(len, labels)) + _GAP * (len(labels) + 1) <= width else 1)
    tabs = Text()
    for label in labels:
        is_chosen = label.endswith(view.section)
        tabs.append(f"[{label}]" if is_chosen else label, "bold reverse" if is_chosen else "")
        tabs.append(gap)
    return tabs


def _footer(view: View, *, is_waiting: bool) -> Text:
    if is_waiting:
        what = "the server" if "Workers" in view.sections else "a program to open the socket"
        return Text(f"waiting for {what}   q quit", "dim")
    order = view.sort_of(view.section)
    keys = ["q quit", "p go on" if view.is_paused else "p pause", "tab section", "up/down rows"]
    if len(SORTS[view.section]) > 1:
        keys.append(f"s sort: {order}")
    return Text("   ".join([*keys, "? help"]), "dim")


# ---------------------------------------------------------------- the sections


@attrs.frozen
class _Pane:
    """Where a section is drawn.

    Args:
        width: the number of its columns.
        height: the number of its lines.
        others: how many of the other sections share it; 0 for the chosen section.
    """

    width: int
    height: int
    others: int = 0


def _panes(view: View, width: int, height: int) -> Iterator[_Pane]:
    """Yield the room of the chosen section, then that of the others, if there is any."""
    others = len(view.sections) - 1
    if width >= _WIDE:
        left = (width - _GAP) * 11 // 20
        yield _Pane(left, height)
        yield _Pane(width - _GAP - left, height, others)
    elif height >= _HIGH:
        chosen = height // 2
        yield _Pane(width, chosen)
        yield _Pane(width, height - chosen, others)
    else:
        yield _Pane(width, height)


def _body(watched: Watched, view: View, width: int, height: int) -> list[Text]:
    if view.has_help:
        return _filled([Text(f"  {keys:<{_HELP_WIDTH}}{what}") for keys, what in HELP], height)
    reading = watched.reading
    if reading is None:
        return _filled([], height)
    sections = {name: section_of(name, reading, view.sort_of(name)) for name in view.sections}
    chosen, *rest = _panes(view, width, height)
    lines = _drawn(sections[view.section], chosen, view.first, is_chosen=True)
    if not rest:
        return lines
    others = [sections[name] for name in view.sections if name != view.section]
    more = _stacked(others, rest[0])
    if chosen.height + rest[0].height == height:
        return [*lines, *more]
    return [_beside(one, other, chosen.width) for one, other in zip(lines, more, strict=True)]


def _stacked(sections: Sequence[Section], pane: _Pane) -> list[Text]:
    """Draw sections below each other; those that do not fit are left out."""
    lines: list[Text] = []
    for at, section in enumerate(sections):
        left, after = pane.height - len(lines), len(sections) - at - 1
        if left < _LEAST_LINES:
            break
        fair = max(_LEAST_LINES, left // (after + 1))
        wanted = len(section.rows) + 3 if section.rows else 3  # the last line stays empty
        size = min(left, wanted, fair + max(0, left - fair * (after + 1)))
        lines += _drawn(section, _Pane(pane.width, size), 0, is_chosen=False)
    return _filled(lines, pane.height)


def _drawn(section: Section, pane: _Pane, first: int, *, is_chosen: bool) -> list[Text]:
    """Draw one section: its title, the titles of its columns, and the rows that fit."""
    room = max(0, pane.height - 2)
    rows = section.rows
    first = max(0, min(first, len(rows) - room))
    shown = rows[first : first + room]
    seen = f"  rows {first + 1:,}-{first + len(shown):,} of {len(rows):,}"
    title = Text.assemble(
        (section.name, "bold reverse" if is_chosen else "bold"),
        f"  {printable(section.summary)}",
        (seen if len(shown) < len(rows) and is_chosen else "", "dim"),
    )
    lines = [title]
    if rows:
        widths = _widths(section.columns, rows, pane.width)
        titles = ScreenRow(tuple(column.title for column in section.columns), "dim")
        lines += [_line(row, section.columns, widths) for row in (titles, *shown)]
    else:
        lines.append(Text(section.nothing, "dim"))
    for line in lines:
        line.truncate(pane.width, overflow="ellipsis")
    return _filled(lines, pane.height)


def _widths(columns: Sequence[Column], rows: Sequence[ScreenRow], width: int) -> list[int]:
    """Return the width of each column; 0 for one that is left out because there is no room."""
    wanted = [
        max(cell_len(column.title), *(cell_len(_cell(row.cells[at])) for row in rows))
        for at, column in enumerate(columns)
    ]
    has_text = [any(row.cells[at] for row in rows) for at in range(len(columns))]
    widths = [
        0 if not filled and column.rank else min(size, _MOST_OF_COLUMN)
        for column, size, filled in zip(columns, wanted, has_text, strict=True)
    ]
    flexible = next(at for at, column in enumerate(columns) if column.is_flexible)
    widths[flexible] = min(wanted[flexible], max(_LEAST_FLEXIBLE, width // 3))
    for rank in range(max(column.rank for column in columns), 0, -1):
        if _total(widths) <= width:
            break
        for at, column in enumerate(columns):
            widths[at] = 0 if column.rank == rank else widths[at]
    left = width - _total(widths)
    widths[flexible] = max(1, min(wanted[flexible], widths[flexible] + left))
    return widths


def _total(widths: Sequence[int]) -> int:
    shown = [one for one in widths if one]
    return sum(shown) + _GAP * (len(shown) - 1)


def _line(row: ScreenRow, columns: Sequence[Column], widths: Sequence[int]) -> Text:
    cells: list[str] = []
    for cell, column, width in zip(row.cells, columns, widths, strict=True):
        if not width:
            continue
        text = _clipped(_cell(cell), width)
        room = " " * (width - cell_len(text))
        cells.append(room + text if column.is_number else text + room)
    return Text((" " * _GAP).join(cells).rstrip(), _STYLES[row.style])


def _cell(text: str) -> str:
    """Return a text that is safe to print, with its indentation in a tree, which is bounded."""
    indent = len(text) - len(text.lstrip(" "))
    return " " * min(indent, _MAX_INDENT) + printable(text)


def _clipped(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _beside(left: Text, right: Text, width: int) -> Text:
    gap = " " * max(0, width - left.cell_len + _GAP)
    return Text.assemble(left, gap, right)


def _filled(lines: list[Text], height: int) -> list[Text]:
    """Return exactly so many lines."""
    return [*lines[:height], *(Text() for _ in range(height - len(lines)))]
