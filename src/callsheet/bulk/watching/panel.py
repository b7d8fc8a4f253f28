"""Draw a bulk run for a terminal while it lasts. Pure (R14).

The panel is computed from the progress. It is never larger than the screen. Each line has a rank;
if not all lines fit, those with the highest ranks are left out.
"""

import math
import textwrap
from collections.abc import Iterator

from rich.console import ConsoleDimensions, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ...wording import dollars, duration, percent, printable, rate, seconds
from ..progress import Progress
from ..spending import BudgetRoom
from .outlook import LimitUse, Outlook, limit_text

_WIDEST = 100
_HEAD = 11  # columns of the name of a line
_SHORT = {"input_tokens": "tokens in", "output_tokens": "tokens out", "usd": "USD"}
_BAR, _SHORTEST = 24, 4  # columns of a bar
_MOST_LIMITS = 6
_MOST_KINDS = 4
_MOST_SLOW = 3
_MOST_WAITING = 3  # lines of the reason for waiting
_ID = 20  # columns of a custom id
_STYLES = {"running": "green", "done": "bold green", "paused": "bold yellow"}
_NEARLY_ALL = 0.95
_NEARLY_FULL = 0.8  # a place is free until the response of its last call is on disk

_Line = tuple[int, RenderableType]  # (rank, what to draw)


def panel(
    progress: Progress, look: Outlook, size: ConsoleDimensions, *, is_over: bool = False
) -> list[RenderableType]:
    """Draw the progress of a run: each renderable is one line.

    Args:
        progress: the current progress.
        look: the rates and estimates.
        size: the columns and lines of the screen; one line stays free for the cursor.
        is_over: True if the run has ended.
    """
    width = max(1, min(_WIDEST, size.width - 1))
    lines: list[_Line] = [
        (0, _title(progress, look, is_over=is_over)),
        (1, _bar(progress, width, is_over=is_over)),
        (2, _line("speed", _speed_text(progress, look, is_over=is_over))),
        *_concurrency(progress, look, is_over=is_over),
        *_workers(progress, is_over=is_over),
        *_batches(progress, is_over=is_over),
        *_limits(progress, look.limits, width, is_over=is_over),
        (3, _line("cost", cost_text(progress, look, is_over=is_over))),
        *_budget(progress, look, width, is_over=is_over),
        *_troubles(progress, width, is_over=is_over),
        *_slowest(progress),
        *_waiting(progress, is_over=is_over),
    ]
    room = max(1, size.height - 1)
    kept = sorted(sorted(range(len(lines)), key=lambda at: lines[at][0])[:room])
    return [_cut(lines[at][1], width) for at in kept]


def run_state(progress: Progress, *, is_over: bool = False) -> str:
    """Return the state of a run as a word."""
    if is_over:
        known = progress.ended if progress.total is None else progress.total
        is_done = progress.ended >= max(known, progress.read) and not progress.in_flight
        return "done" if is_done else "stopped"
    if progress.is_draining:
        return "draining"
    return "paused" if progress.is_paused else "running"


def rows_text(progress: Progress) -> str:
    """Format the number of ended rows: "12,345 of 100,000 rows"."""
    of = "" if progress.total is None else f" of {progress.total:,}"
    return f"{progress.ended:,}{of} rows"


def cost_text(progress: Progress, look: Outlook, *, is_over: bool) -> str:
    """Format the cost so far, and the estimated cost of the whole run."""
    words = f"{dollars(progress.cost_usd)}{'' if is_over else ' so far'}"
    if not is_over and look.projected_usd is not None:
        least = "at least" if progress.unpriced else "about"
        words += f", {least} {dollars(look.projected_usd)} in total"
    return f"{words}; {progress.unpriced:,} of unknown cost" if progress.unpriced else words


def budget_text(progress: Progress) -> str:
    """Format what is spent of the budget, "$1.20 of $25.00"; "" if the run has none."""
    if progress.budget_usd is None:
        return ""
    return f"{dollars(progress.spent_usd)} of {dollars(progress.budget_usd)}"


def held_by_budget(progress: Progress) -> BudgetRoom | None:
    """Return the room of the budget if it allows fewer calls in flight than the limits; else None.

    Args:
        progress: the current progress.
    """
    room, limits = progress.budget_room, progress.limits
    is_held = room is not None and (limits is None or room.calls < limits.max_in_flight)
    return room if is_held else None


def room_text(progress: Progress) -> str:
    """Format how many calls the budget allows in flight; "" if it holds none back."""
    room = held_by_budget(progress)
    return "" if room is None else f"room for {_calls(room.calls)} in flight"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def is_held_by_concurrency(progress: Progress, look: Outlook) -> bool:
    """Return whether rows wait for nothing but the number of calls in flight.

    Args:
        progress: the current progress.
        look: the rates and estimates.
    """
    limits = None if progress.shared is not None else progress.limits
    if limits is None or progress.is_draining or progress.is_paused or progress.trouble:
        return False
    waiting = progress.read - progress.ended - progress.in_flight - progress.retrying
    is_full = progress.in_flight >= _NEARLY_FULL * limits.max_in_flight
    is_limited = any(use.share >= _NEARLY_ALL for use in look.limits)
    is_parked = any(scope.parked_s > 0 for scope in limits.scopes)
    others = is_limited or is_parked or held_by_budget(progress) is not None
    return waiting > 0 and is_full and not others


def overdraft_text(progress: Progress, look: Outlook) -> str:
    """Format what the run would cost with all rows, if its budget is too small; else ""."""
    if progress.budget_usd is None or look.projected_usd is None:
        return ""
    usd = progress.spent_usd + look.projected_usd - progress.cost_usd
    return f"all rows need about {dollars(usd)}" if usd > progress.budget_usd else ""


def bounds(progress: Progress) -> list[str]:
    """Format the most that is not known to have been billed, of this run and earlier ones (L13)."""
    named = (("unknown", progress.unknown_usd), ("maybe", progress.maybe_usd))
    return [f"{name} at most {dollars(usd)}" for name, usd in named if usd]


def errors_text(progress: Progress) -> str:
    """Format the number of failed rows by kind of error; "" if none failed."""
    kinds = sorted(
        ((kind, count) for kind, count in progress.errors.items() if count),
        key=lambda pair: (-pair[1], pair[0]),
    )
    words = [f"{printable(kind)} {count:,}" for kind, count in kinds[:_MOST_KINDS]]
    if rest := sum(count for _, count in kinds[_MOST_KINDS:]):
        words.append(f"others {rest:,}")
    if not words and progress.failed:
        words.append(f"{progress.failed:,} failed")
    if progress.bad:
        words.append(invalid_rows(progress))
    return ", ".join(words)


def reused_rows(progress: Progress, *, is_over: bool = False) -> str:
    """Format the number of reused responses: "1,486 from earlier runs"; "" for none.

    Args:
        progress: the progress of the run.
        is_over: True if the run has ended; then the text says whether rows were not read, because
            they may have responses, too.
    """
    if not progress.reused:
        return ""
    words = f"{progress.reused:,} from earlier runs"
    if is_over and not progress.is_read:
        words += f" in the {progress.read:,} rows read"
    return words


def invalid_rows(progress: Progress) -> str:
    """Format the number of invalid rows: "1 invalid row"."""
    return f"{progress.bad:,} invalid row{'s' if progress.bad != 1 else ''}"


def _title(progress: Progress, look: Outlook, *, is_over: bool) -> Text:
    word = run_state(progress, is_over=is_over)
    passed = duration(progress.now - progress.started_at)
    parts = [(f"{word:<{_HEAD}}", _STYLES.get(word, "bold red")), (rows_text(progress), "bold")]
    if progress.reused:
        parts.append((f" ({reused_rows(progress)})", ""))
    parts.append((f"  {'in' if is_over else 'for'} {passed}", ""))
    if not is_over and look.eta_s is not None:
        parts.append((f", {duration(look.eta_s)} left", "cyan"))
    return Text.assemble(*parts)


def _bar(progress: Progress, width: int, *, is_over: bool) -> RenderableType:
    words, total, completed = "", progress.total, progress.ended
    if total is None and is_over:
        total = completed
    if total is not None:
        words = f"{percent(min(1.0, completed / total) if total else 1.0):>5}"
        if not total:  # an empty input is complete
            total = completed = 1
    room = max(1, width - len(words) - 1)
    bar = ProgressBar(
        total=total,
        completed=completed,
        pulse=total is None,
        width=room,
        animation_time=progress.now,
    )
    return _row((room, bar), words=Text(words))


def _speed_text(progress: Progress, look: Outlook, *, is_over: bool) -> str:
    if is_over:  # no current rate, and calls in flight were cancelled
        return f"{rate(look.mean_rate)} rows/s on average"
    words = f"{rate(look.rate)} rows/s now, {rate(look.mean_rate)} on average"
    limits = progress.limits
    if limits is None:
        return f"{words}; {progress.in_flight:,} rows dispatched"
    return f"{words}; {limits.in_flight:,} of {limits.max_in_flight:,} calls in flight"


def _concurrency(progress: Progress, look: Outlook, *, is_over: bool) -> Iterator[_Line]:
    """Yield a line of its own: at the end of another one, 80 columns would cut it off."""
    if not is_over and is_held_by_concurrency(progress, look):
        yield 4, _line("", "more calls need a higher --max-concurrency", "yellow")


def workers_text(progress: Progress) -> str:
    """Format how many workers a shared run has, "3 workers, 120 rows wait"; "" for another run."""
    shared = progress.shared
    if shared is None:
        return ""
    workers = "1 worker" if shared.workers == 1 else f"{shared.workers:,} workers"
    words = f"{workers}, {progress.in_flight:,} rows in hand, {shared.waiting:,} wait"
    return f"{words}; the server does not respond" if shared.is_away else words


def _workers(progress: Progress, *, is_over: bool) -> Iterator[_Line]:
    if progress.shared is not None and not is_over:
        style = "bold yellow" if progress.shared.is_away else ""
        yield 4, _line("workers", workers_text(progress), style)


def _batches(progress: Progress, *, is_over: bool) -> Iterator[_Line]:
    if progress.in_batches and not is_over:
        yield 4, _line("batches", batches_text(progress))


def batches_text(progress: Progress) -> str:
    """Format how many rows the provider has in batches; "" if it has none."""
    count = progress.in_batches
    rows = "1 row" if count == 1 else f"{count:,} rows"
    return f"{rows} in batches at the provider" if count else ""


def _limits(
    progress: Progress, uses: tuple[LimitUse, ...], width: int, *, is_over: bool
) -> Iterator[_Line]:
    if is_over:  # the current use means nothing after the end
        return
    if not uses:
        yield 5, _line("limits", "no limit known", "dim")
    fullest = sorted(range(len(uses)), key=lambda at: -uses[at].share)
    shown = sorted(fullest[:_MOST_LIMITS])
    for at in shown:
        rank = 4 if at == fullest[0] else 7
        yield rank, _limit(uses[at], width)
    if len(uses) > len(shown):
        yield 11, _line("", f"and {len(uses) - len(shown):,} more limits", "dim")
    scopes = () if progress.limits is None else progress.limits.scopes
    if (parked_s := max((scope.parked_s for scope in scopes), default=0.0)) > 0:
        wait = duration(math.ceil(parked_s))  # rounded up, so that less than a second is not "0 s"
        yield 6, _line("", f"the provider asks for a pause of {wait}", "yellow")


def _budget(progress: Progress, look: Outlook, width: int, *, is_over: bool) -> Iterator[_Line]:
    if not progress.budget_usd:  # a budget of 0 sends nothing
        return
    share = min(1.0, float(progress.spent_usd / progress.budget_usd))
    missing = "" if is_over else overdraft_text(progress, look)
    room = "" if is_over else room_text(progress)
    spent = f"{budget_text(progress)}{' spent' if is_over else ''}"
    words = "; ".join(text for text in (spent, room, missing) if text)
    is_tight = bool(missing) or share >= _NEARLY_ALL
    yield 3, _gauge("budget", share, words, width, "yellow" if is_tight else "cyan")


def _limit(use: LimitUse, width: int) -> RenderableType:
    scope = f", {printable(use.scope)}" if use.scope else ""
    style = "yellow" if use.share >= _NEARLY_ALL else "cyan"
    name = _SHORT.get(use.dimension, use.dimension)
    return _gauge(name, use.share, f"{limit_text(use)}{scope}", width, style)


def _gauge(name: str, share: float, text: str, width: int, style: str) -> RenderableType:
    """Draw a bar between a name and a text."""
    head = Text(f"{name:<{_HEAD - 1}}", style="dim")
    words = Text(text)
    room = max(_SHORTEST, min(_BAR, (width - _HEAD) // 3, width - _HEAD - len(text) - 1))
    # Otherwise Rich would shorten the name rather than the text.
    words.truncate(max(1, width - _HEAD - room - 1), overflow="ellipsis")
    bar = ProgressBar(
        total=1.0,
        completed=share,
        width=room,
        complete_style=style,
        finished_style=style,
    )
    return _row((_HEAD - 1, head), (room, bar), words=words)


def _troubles(progress: Progress, width: int, *, is_over: bool) -> Iterator[_Line]:
    if progress.trouble and not is_over:
        reason = textwrap.wrap(
            printable(progress.trouble),
            max(1, width - _HEAD),
            max_lines=_MOST_WAITING,
            placeholder="…",
        )
        for number, line in enumerate(reason):
            head, rank = ("", 6) if number else ("waiting", 3)
            yield rank, _line(head, line, "bold yellow")
    if progress.maybe_billed:
        yield (
            5,
            _line(
                "", f"{progress.maybe_billed:,} may have been billed without a response", "yellow"
            ),
        )
    if most := bounds(progress):
        yield 5, _line("", f"in addition, {', '.join(most)}", "yellow")
    if words := errors_text(progress):
        yield 4, _line("errors", words, "red")


def _slowest(progress: Progress) -> Iterator[_Line]:
    words: list[str] = []
    for custom_id, took in progress.slowest[:_MOST_SLOW]:
        name = Text(printable(custom_id))
        name.truncate(_ID, overflow="ellipsis")
        words.append(f"{name.plain} {seconds(took)}")
    if words:
        yield 8, _line("slowest", ", ".join(words))


def _waiting(progress: Progress, *, is_over: bool) -> Iterator[_Line]:
    if progress.window and not is_over:
        is_full = progress.unwritten >= progress.window
        words = f"{progress.unwritten:,} of {progress.window:,} rows wait for an earlier row"
        yield 9, _line("in order", words, "yellow" if is_full else "")


def _line(head: str, words: str, style: str = "") -> Text:
    return Text.assemble((f"{head:<{_HEAD}}", "dim"), (words, style))


def _row(*parts: tuple[int, RenderableType], words: Text) -> Table:
    """Lay out parts of fixed width in one line, followed by text that is truncated."""
    row = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for columns, _ in parts:
        row.add_column(width=columns, no_wrap=True)
    row.add_column(no_wrap=True, overflow="ellipsis")
    row.add_row(*(part for _, part in parts), words)
    return row


def _cut(line: RenderableType, width: int) -> RenderableType:
    """Truncate a line to the width; markup is not parsed."""
    if isinstance(line, Text):
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return line
