"""What a section of `callsheet top` is, and how it writes times and amounts. Pure (R14)."""

from decimal import Decimal
from typing import Literal

import attrs

from ..wording import dollars, duration
from .view import SectionName

Style = Literal["", "dim", "good", "busy", "bad"]
"""How a row looks: as usual, less important, working well, waiting, or failing."""

_NOW_S = 0.05
_SHORT_S = 10.0


@attrs.frozen
class Column:
    """A column of a table.

    Args:
        title: what its first line says.
        is_number: whether its texts are aligned at the right.
        rank: columns of the highest rank are left out first where there is no room; those of rank 0
            stay.
        is_flexible: whether it gets the room that is left, and is cut first.
    """

    title: str
    is_number: bool = False
    rank: int = 0
    is_flexible: bool = False


@attrs.frozen
class ScreenRow:
    """A row of a table.

    Args:
        cells: a text for each column.
        style: how it looks.
    """

    cells: tuple[str, ...]
    style: Style = ""


@attrs.frozen
class Section:
    """A section of the screen.

    Args:
        name: the name of the section.
        summary: its content in a few words.
        columns: the columns of its table.
        rows: the rows of its table, in the order that the user has chosen.
        nothing: what to show without rows.
    """

    name: SectionName
    summary: str
    columns: tuple[Column, ...]
    rows: tuple[ScreenRow, ...]
    nothing: str


def soon(value: float | None) -> str:
    """Format the seconds until something happens: "now", "in 2.4 s", "in 2 min 05 s".

    Args:
        value: the seconds; None is "unknown".
    """
    if value is None:
        return "unknown"
    return "now" if value < _NOW_S else f"in {age(value)}"


def age(value: float | None) -> str:
    """Format a time that has passed: "2.4 s", "12 s", "2 min 05 s".

    Args:
        value: the seconds; None is "".
    """
    if value is None:
        return ""
    return f"{value:.1f} s" if value < _SHORT_S - _NOW_S else duration(value)


def usd(text: str | None) -> str:
    """Format an amount in USD as a reading has it; None is "unknown".

    Args:
        text: the amount with all its digits.
    """
    if text is None:
        return "unknown"
    value = Decimal(text)
    return f"-{dollars(-value)}" if value < 0 else dollars(value)


def count(number: int) -> str:
    """Format a number of things; none of them is "".

    Args:
        number: how many there are.
    """
    return f"{number:,}" if number else ""
