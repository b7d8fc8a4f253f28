"""The display shows what is spent of `--max-cost` (L13)."""

import io
from decimal import Decimal

import attrs
from rich.console import Console, ConsoleDimensions

from callsheet.actors import LimiterSnapshot
from callsheet.bulk.progress import Progress
from callsheet.bulk.spending import BudgetRoom
from callsheet.bulk.watching.outlook import History, outlook
from callsheet.bulk.watching.panel import panel
from callsheet.bulk.watching.run_summary import summary
from callsheet.bulk.watching.series import Series
from callsheet.bulk.watching.watch import log_line


def stands(**more):
    usual = {
        "started_at": 0.0,
        "now": 100.0,
        "total": 1000,
        "read": 200,
        "answered": 100,
        "cost_usd": Decimal(1),
        "spent_usd": Decimal("3.5"),
        "budget_usd": Decimal(25),
    }
    return Progress(**(usual | more))


def drawn(progress, *, width=80, is_over=False):
    console = Console(file=io.StringIO(), width=width, height=24)
    size = ConsoleDimensions(width, 24)
    for line in panel(progress, outlook(History(progress)), size, is_over=is_over):
        console.print(line)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def budget_line(lines):
    (line,) = [line for line in lines if line.startswith("budget")]
    return line


def log(progress, *, is_over=False):
    return log_line(progress, outlook(History(progress)), is_over=is_over)


def test_the_budget_counts_earlier_runs_and_what_is_not_known():
    line = budget_line(drawn(stands()))
    assert line.endswith(" $3.50 of $25.00")
    assert "budget $3.50 of $25.00" in log(stands())


def test_a_run_without_a_budget_shows_none():
    progress = stands(budget_usd=None)
    assert not [line for line in drawn(progress) if "budget" in line]
    assert "budget" not in log(progress)


def test_a_budget_that_is_too_small_for_all_rows_is_shown_before_it_is_spent():
    progress = stands(budget_usd=Decimal(10))
    needed = "all rows need about $12.50"
    assert budget_line(drawn(progress)).endswith(f" $3.50 of $10.00; {needed}")
    assert f"budget $3.50 of $10.00 ({needed})" in log(progress)
    assert needed not in budget_line(drawn(progress, is_over=True))


def test_it_fits_on_a_narrow_screen():
    progress = stands(budget_usd=Decimal(10))
    assert all(len(line) < 40 for line in drawn(progress, width=40))


def test_the_end_of_a_run_tells_what_is_spent():
    progress = stands(answered=1000, read=1000)
    assert budget_line(drawn(progress, is_over=True)).endswith("$3.50 of $25.00 spent")
    console = Console(file=io.StringIO(), width=80)
    console.print(summary(Series(0.0), progress))
    assert "budget    $3.50 of $25.00 spent" in console.file.getvalue()


def test_a_budget_of_nothing_is_no_division_by_it():
    assert not [line for line in drawn(stands(budget_usd=Decimal(0))) if "budget" in line]


def test_a_budget_that_holds_calls_back_says_how_many_it_allows():
    room = BudgetRoom(1, Decimal("0.5"))
    progress = stands(budget_room=room)
    assert budget_line(drawn(progress)).endswith("$3.50 of $25.00; room for 1 call in flight")
    assert "budget $3.50 of $25.00 (room for 1 call in flight)" in log(progress)
    assert "room" not in budget_line(drawn(progress, is_over=True))
    assert "room" not in log(progress, is_over=True)


def limiter(most):
    return LimiterSnapshot(
        in_flight=most, max_in_flight=most, waiting=0, next_wake_s=None, buckets=(), scopes=()
    )


def test_a_budget_with_room_for_all_that_the_limits_allow_holds_nothing():
    limits = limiter(3)
    room = BudgetRoom(3, Decimal("0.5"))
    assert "room" not in log(stands(budget_room=room, limits=limits))
    assert "room for 2 calls" in log(stands(budget_room=BudgetRoom(2, Decimal(1)), limits=limits))


def test_concurrency_holds_a_run_whose_rows_wait_for_nothing_else():
    full = limiter(100)
    usual = {"read": 400, "in_flight": 98, "limits": attrs.evolve(full, in_flight=98)}
    words = "98 in flight, the limit of --max-concurrency, "
    assert words in log(stands(**usual))
    _, _, speed, concurrency, *_ = drawn(stands(**usual), width=80)
    assert speed.endswith("98 of 100 calls in flight")
    assert concurrency.strip() == "more calls need a higher --max-concurrency"
    for other in (
        {"read": 198},  # no row waits
        {"in_flight": 50},
        {"is_draining": True},
        {"is_paused": True},
        {"trouble": "no connection"},
        {"budget_room": BudgetRoom(1, Decimal(1))},
        {"limits": None},
    ):
        assert "--max-concurrency" not in log(stands(**(usual | other)))
