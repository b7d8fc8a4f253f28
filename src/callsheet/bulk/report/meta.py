"""The title and the settings in the report of a run."""

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class ReportMeta:
    """The title and the settings of a run.

    Args:
        title: the title of the report, such as the name of the output file.
        settings: {name: value} in display order; without keys (L8).
    """

    title: str
    settings: Mapping[str, str] = attrs.field(factory=dict[str, str])
