"""What a report says of a run beyond its figures."""

from collections.abc import Mapping

import attrs

__all__ = ["ReportMeta"]


@attrs.frozen(kw_only=True)
class ReportMeta:
    """What was run.

    Args:
        title: what to call the run, such as the name of its output.
        settings: what it was run with, in the order in which it is to be read; no keys (L8).
    """

    title: str
    settings: Mapping[str, str] = attrs.field(factory=dict[str, str])
