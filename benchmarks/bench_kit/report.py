"""Print tables, whose cells are never cut, and notes below them."""

import statistics
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench_kit.figures import Figure

__all__ = ["figures_table", "make_table", "print_tables"]

_WIDTH = 150  # without a terminal: wide enough that no cell is cut


def make_table(left: Sequence[str], right: Sequence[str]) -> Table:
    """Return an empty table without lines.

    Args:
        left: titles of the first columns, which have text.
        right: titles of the other columns, which have numbers and never wrap.
    """
    table = Table(*left, box=None, pad_edge=False)
    for title in right:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def print_tables(tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Print the tables with an empty line between them, then the notes."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)


def figures_table(figures: Sequence[Figure]) -> Table:
    """Return the table of figures, with baselines, targets and verdicts."""
    table = make_table(["figure"], ["ours", "baseline", "ratio", "target", ""])
    for figure in figures:
        table.add_row(*_cells(figure))
    return table


def _cells(figure: Figure) -> tuple[str, ...]:
    def value(values: Sequence[float]) -> str:
        return f"{statistics.median(values):,.2f} {figure.unit}".rstrip()

    baseline = ratio = target = ""
    if figure.baseline:
        baseline = f"{value(figure.baseline)} {figure.baseline_name}"
        ratios = figure.ratios
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
    for sign, bound in (("<=", figure.at_most), (">=", figure.at_least)):
        if bound is not None:
            unit = "x" if figure.is_ratio else f" {figure.unit}"
            target = f"{sign} {bound:g}{unit}".rstrip()
    return figure.name, value(figure.ours), baseline, ratio, target, figure.verdict
