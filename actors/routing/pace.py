"""How long calls take on each route, as they did lately. Pure (R14)."""

from typing import final

__all__ = ["Pace"]

_GAIN = 0.2
_MOST = 500  # models on routes, to remember


@final
class Pace:
    """A moving mean of seconds and one of deviations, for each route and model.

    What is expected is the mean and two mean deviations more, so that most come before it. (TCP
    sets its time-outs alike, with four: RFC 6298, section 2.)
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, float]] = {}  # mean, deviation

    def learn(self, route: str, model: str, seconds: float) -> None:
        """A call took so long."""
        key = route, model
        known = self._known.pop(key, None)
        if known is None:
            if len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[key] = seconds, seconds / 2
            return
        mean, deviation = known
        deviation += _GAIN * (abs(seconds - mean) - deviation)
        self._known[key] = mean + _GAIN * (seconds - mean), deviation

    def expected_s(self, route: str, model: str) -> float | None:
        """In how many seconds most calls end; None if there was none."""
        known = self._known.get((route, model))
        return None if known is None else known[0] + 2 * known[1]
