"""A run written to a file: as Chrome trace events for Perfetto, or as one page to look at."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .chrome import chrome_trace
from .page import trace_page
from .timeline import Timeline

__all__ = [
    "trace_format",
    "write_trace",
]


def trace_format(path: Path) -> Literal["json", "html"]:
    """Which of its two forms a trace has in this file, by the suffix.

    Raises:
        ValueError: the suffix is neither .json nor .html.
    """
    match path.suffix.lower():
        case ".json":
            return "json"
        case ".html":
            return "html"
        case _:
            raise ValueError(f"{path.name}: a trace file ends in .json or .html")


def write_trace(
    path: Path,
    timeline: Timeline,
    *,
    titles: Mapping[str, str],
    critical: Mapping[str, tuple[str, ...]],
) -> None:
    """Write a run to a file, the whole of it or nothing.

    Args:
        path: ends in .json, for Chrome trace events, or in .html, for a page with a Gantt chart.
        timeline: the run.
        titles: topics, by post id.
        critical: the ids of the calls along each post's critical path, by post id.

    Raises:
        ValueError: the path has another suffix.
        OSError: it cannot be written.
    """
    if trace_format(path) == "json":
        text = json.dumps(chrome_trace(timeline, titles, critical), allow_nan=False)
    else:
        text = trace_page(timeline, titles, critical)
    target = path.resolve()  # a link stays a link
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
