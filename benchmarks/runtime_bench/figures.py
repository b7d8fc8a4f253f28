"""What was measured, against what, and whether that is enough."""

import statistics
from collections.abc import Sequence

import attrs

__all__ = ["Figure", "ratios"]


@attrs.frozen
class Figure:
    """One line of the table.

    Args:
        name: what it says.
        unit: of `ours` and `baseline`.
        ours: one value for each round.
        baseline_name: what it is compared with; empty if with nothing.
        baseline: one value for each round, or none.
        at_most: the target; None if there is none, and the line is there to compare.
        is_ratio: the target is one for ours / baseline, not for ours.
    """

    name: str
    unit: str
    ours: Sequence[float]
    baseline_name: str = ""
    baseline: Sequence[float] = ()
    at_most: float | None = None
    is_ratio: bool = True

    @property
    def ratios(self) -> list[float]:
        """Ours / baseline, round by round."""
        return ratios(self.ours, self.baseline)

    @property
    def judged(self) -> float:
        """The median that the target is for."""
        return statistics.median(self.ratios if self.is_ratio else self.ours)

    @property
    def is_reached(self) -> bool | None:
        """None if there is no target."""
        return None if self.at_most is None else self.judged <= self.at_most

    def as_dict(self) -> dict[str, object]:
        """For `--json`: the settings, all values, and the verdict."""
        return {**attrs.asdict(self), "ratios": self.ratios, "is_reached": self.is_reached}


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Ours / baseline, round by round; none without a baseline."""
    return [mine / other for mine, other in zip(ours, baseline, strict=True)] if baseline else []
