"""Draw plots as SVG elements of a page. Needs Matplotlib, the extra `plot`.

Colours are drawn as placeholders and replaced by CSS variables of the page, so that they follow its
light and dark styles.
"""

# Matplotlib leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import importlib
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_KINDS = 5
"""The number of kinds of errors with a colour of their own; all others share one."""

_SIZE, _WIDE = (6.4, 2.7), (13.2, 2.9)  # inches
_MOST_TICKS = 5

# {CSS variable of the page: the placeholder colour}
_MARKS = {
    name: f"#fe01{number:02x}"
    for number, name in enumerate(
        ("ink", "soft", "line", "ours", "bound", *(f"kind{n}" for n in range(MOST_KINDS + 1)))
    )
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "callsheet",  # the same run gives the same page
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": _MARKS["soft"],
    "axes.edgecolor": _MARKS["line"],
    "axes.labelcolor": _MARKS["soft"],
    "xtick.color": _MARKS["line"],
    "ytick.color": _MARKS["line"],
    "xtick.labelcolor": _MARKS["soft"],
    "ytick.labelcolor": _MARKS["soft"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


def has_matplotlib() -> bool:
    """Return whether Matplotlib is installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    return True


def color_of(variable: str) -> str:
    """Return the Matplotlib colour of a CSS variable: "ink", "ours", "kind0" and so on."""
    return _MARKS[variable]


def svg(
    draw: Callable[["Axes"], None], name: str, *, is_wide: bool = False, is_count: bool = False
) -> str:
    """Return a plot as an SVG element.

    Args:
        draw: draws into the axes that it is given.
        name: the accessible name; unique on the page.
        is_wide: True for the width of two plots.
        is_count: True if the values are integers.
    """
    # Without pyplot, which needs a display and keeps global state.
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra, slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"callsheet {name}"}):
        figure = Figure(figsize=_WIDE if is_wide else _SIZE, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color=_MARKS["line"], linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.yaxis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=is_count))
        axes.yaxis.set_major_formatter(lambda value, _: _plain(value))
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue(), name)


def _plain(value: float) -> str:
    """Format a number without an exponent and without trailing zeros."""
    text = f"{value:,.10f}"
    return text.rstrip("0").rstrip(".")


def _embedded(svg: str, name: str) -> str:
    """Return the SVG as an element of the page: without a fixed size, in the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
    for variable, mark in _MARKS.items():
        svg = svg.replace(mark, f"var(--{variable})")
    return svg
