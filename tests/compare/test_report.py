import io
import re
import sys
from decimal import Decimal

import attrs
import pytest
from local_provider import lower_bound_of, posts, reviews
from rich.console import Console

from callsheet.actors.responses import Usage
from callsheet.compare.comparison import Comparison
from callsheet.compare.modes import MODES
from callsheet.compare.report import (
    PlotMissing,
    bounds_text,
    draw,
    footer_text,
    load_matplotlib,
    summary_table,
)
from callsheet.compare.run import ModeResult
from callsheet.compare.workloads import make_workload

RESULT = ModeResult(
    wall_s=123.456,
    seconds=(1.0, 2.0, 123.456),
    results=({}, {}, {}),
    http_requests=1000,
    usage=Usage(311_645, 61_230),
    cost_usd=Decimal("0.000645"),
    rejected=1000,
)


async def comparison_of(workload, **settings):
    lower_bound = await lower_bound_of(workload, **settings)
    return Comparison(
        workload=workload,
        time_scale=settings.get("time_scale", 1.0),
        lower_bound=lower_bound,
        modes=dict.fromkeys(MODES, RESULT),
    )


def printed(renderable):
    stream = io.StringIO()
    Console(file=stream, width=80).print(renderable)
    return stream.getvalue()


async def test_json_has_exactly_the_documented_members(autojump_clock):
    comparison = await comparison_of(posts(1), latency_s=(2, 2))
    found = attrs.asdict(comparison.document())
    figures = {
        "wall_s": 123.456,
        "p50_s": 2.0,
        "p99_s": 123.456,
        "http_requests": 1000,
        "input_tokens": 311_645,
        "output_tokens": 61_230,
        "cost_usd": "0.000645",
        "rejected": 1000,
    }
    assert found == {
        "workload": "posts",
        "critical_path_s": pytest.approx(8),
        "modes": dict.fromkeys(("sequential", "staged", "fixed_window", "callsheet"), figures),
    }
    assert list(found["modes"]) == ["sequential", "staged", "fixed_window", "callsheet"]


def test_an_unknown_cost_is_null_and_not_zero():
    assert attrs.evolve(RESULT, cost_usd=None).figures().cost_usd is None


async def test_the_table_fits_into_80_columns_with_every_figure_whole(autojump_clock):
    text = printed(summary_table(await comparison_of(posts(1), latency_s=(2, 2))))
    assert "…" not in text
    row = next(line for line in text.splitlines() if "fixed_window" in line)
    assert row.split() == [
        "fixed_window", "123.46", "2.00", "123.46", "1,000", "311,645", "61,230", "$0.000645",
        "1,000", "15.43",
    ]  # fmt: skip


async def test_a_post_is_bounded_by_its_critical_path(autojump_clock):
    text = bounds_text(await comparison_of(make_workload("post"), latency_s=(2, 2)))
    assert re.match(
        r"The critical path is 4 of 11 calls: headline, intro, outline, sections\[\d\]\. "
        r"No order of calls can be faster than 8\.00 s\.",
        text,
    )
    assert "up to 22.00 s" in text
    assert text.endswith("2.8 times as fast as sequential.")


async def test_headlines_are_bounded_by_the_slowest_of_them(autojump_clock):
    text = bounds_text(await comparison_of(make_workload("headlines"), latency_s=(2, 2)))
    assert text == (
        "Each of the 12 items is one call. No mode can be faster than the slowest call, 2.00 s."
    )


async def test_reviews_are_bounded_by_the_calls_in_flight_too(autojump_clock):
    workload = attrs.evolve(reviews(distinct=8, copies=2), in_flight=4)
    text = bounds_text(await comparison_of(workload, latency_s=(2, 2)))
    assert "With 4 calls in flight at a time, 10 calls take at least 5.00 s" in text
    assert text.endswith("; the 8 distinct calls among them take 4.00 s.")


async def test_the_footer_names_the_scale(autojump_clock):
    assert "time scale 0.1" in footer_text(await comparison_of(posts(1), time_scale=0.1))


async def test_a_picture_is_drawn_even_where_no_cost_is_known(autojump_clock, tmp_path):
    comparison = await comparison_of(posts(1))
    unknown = attrs.evolve(RESULT, cost_usd=None)
    comparison = attrs.evolve(comparison, modes=dict.fromkeys(MODES, unknown))
    draw(comparison, tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        PlotMissing, match=r"install the extra 'plot': .* uv sync --inexact --extra plot"
    ):
        load_matplotlib()
