"""Write a run to a file: as Chrome trace events (for Perfetto), or as an HTML page."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .chrome import chrome_trace
from .page import trace_page
from .timeline import Timeline

__all__ = ["trace_format", "write_trace"]


def trace_format(path: Path) -> Literal["json", "html"]:
    """Return the format of a trace file, from its suffix.

    Args:
        path: the path of the trace file.

    Raises:
        ValueError: the suffix is neither .json nor .html.
    """
    match path.suffix.lower():
        case ".json":
            return "json"
        case ".html":
            return "html"
        case _:
            raise ValueError(f"{path.name}: the name of a trace file must end in .json or .html")


def write_trace(
    path: Path,
    timeline: Timeline,
    *,
    titles: Mapping[str, str],
    critical: Mapping[str, tuple[str, ...]],
) -> None:
    """Write a run to a file atomically.

    Args:
        path: the file; the suffix .json selects Chrome trace events, .html a page with a Gantt
            chart. An existing file is replaced.
        timeline: the calls of the run.
        titles: the topics, by post id.
        critical: the call ids on the critical path of each post, by post id.

    Raises:
        ValueError: the path has another suffix.
        OSError: the file cannot be written.
    """
    if trace_format(path) == "json":
        text = json.dumps(chrome_trace(timeline, titles, critical), allow_nan=False)
    else:
        text = trace_page(timeline, titles, critical)
    target = path.resolve()  # replace the target of a link, not the link
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
