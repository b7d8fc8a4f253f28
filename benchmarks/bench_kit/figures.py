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
        at_least: the target where more is better; a figure has one of the two at most.
        is_ratio: the target is one for ours / baseline, not for ours.
        spoilt: why nothing can be judged by it; empty if it can.
    """

    name: str
    unit: str
    ours: Sequence[float]
    baseline_name: str = ""
    baseline: Sequence[float] = ()
    at_most: float | None = None
    at_least: float | None = None
    is_ratio: bool = True
    spoilt: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours / baseline, round by round."""
        return ratios(self.ours, self.baseline)

    @property
    def judged(self) -> float:
        """The median that the target is for."""
        return statistics.median(self.ratios if self.is_ratio else self.ours)

    @property
    def has_target(self) -> bool:
        """Whether it is there to be judged."""
        return self.at_most is not None or self.at_least is not None

    @property
    def is_reached(self) -> bool | None:
        """None if there is no target, or no judging by it."""
        if self.spoilt:
            return None
        if self.at_most is not None:
            return self.judged <= self.at_most
        return None if self.at_least is None else self.judged >= self.at_least

    @property
    def verdict(self) -> str:
        """For the table; empty if there is no target."""
        if not self.has_target:
            return ""
        return self.spoilt or ("reached" if self.is_reached else "MISSED")

    def as_dict(self) -> dict[str, object]:
        """For `--json`: the settings, all values, and the verdict."""
        return {**attrs.asdict(self), "ratios": self.ratios, "is_reached": self.is_reached}


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Ours / baseline, round by round; none without a baseline."""
    return [mine / other for mine, other in zip(ours, baseline, strict=True)] if baseline else []
