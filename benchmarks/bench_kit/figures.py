"""A measured figure, its baseline and its target."""

import statistics
from collections.abc import Sequence

import attrs

__all__ = ["Figure", "ratios"]


@attrs.frozen
class Figure:
    """One line of the table.

    Args:
        name: the title of the line.
        unit: the unit of `ours` and `baseline`.
        ours: Callsheet's values, one for each round.
        baseline_name: the name of the baseline; empty without one.
        baseline: the baseline's values, one for each round; empty without one.
        at_most: the target where less is better; None if there is no such target.
        at_least: the target where more is better; None if there is no such target. A figure has at
            most one of the two targets.
        is_ratio: whether the target applies to ours / baseline, rather than to ours.
        why_invalid: the reason why the figure cannot be judged; empty if it can.
    """

    name: str
    unit: str
    ours: Sequence[float]
    baseline_name: str = ""
    baseline: Sequence[float] = ()
    at_most: float | None = None
    at_least: float | None = None
    is_ratio: bool = True
    why_invalid: str = ""

    @property
    def ratios(self) -> list[float]:
        """The ratio ours / baseline of each round."""
        return ratios(self.ours, self.baseline)

    @property
    def judged(self) -> float:
        """The median that is compared with the target."""
        return statistics.median(self.ratios if self.is_ratio else self.ours)

    @property
    def has_target(self) -> bool:
        """Whether the figure has a target."""
        return self.at_most is not None or self.at_least is not None

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is reached; None without a target, or if the figure is invalid."""
        if self.why_invalid:
            return None
        if self.at_most is not None:
            return self.judged <= self.at_most
        return None if self.at_least is None else self.judged >= self.at_least

    @property
    def verdict(self) -> str:
        """The verdict for the table; empty without a target."""
        if not self.has_target:
            return ""
        return self.why_invalid or ("reached" if self.is_reached else "MISSED")

    def as_dict(self) -> dict[str, object]:
        """Return the settings, all values and the verdict, for `--json`."""
        return {**attrs.asdict(self), "ratios": self.ratios, "is_reached": self.is_reached}


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Return the ratio ours / baseline of each round; an empty list without a baseline."""
    return [mine / other for mine, other in zip(ours, baseline, strict=True)] if baseline else []
