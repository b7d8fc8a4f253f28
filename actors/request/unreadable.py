"""Stop work at an endpoint whose responses cannot be read (L11). Pure (R14).

Such a response has been paid for. A few of them may be chance; when one call after another ends so,
every further call only costs money.
"""

from math import inf
from typing import final

import attrs

from ..errors import UnreadableEndpoint

MOST_IN_A_ROW = 3
_MAX_MODELS = 1000  # beyond it, the oldest streak is forgotten
PROBE_S = 60.0
"""Seconds after the last response until one call may try again, in a program that runs on."""


@attrs.define
class _Streak:
    """The latest responses for one model."""

    count: int = 0
    at: float = -inf
    why: str = ""


@final
class UnreadableStreaks:
    """Counts the responses of one endpoint in a row that could not be read, for each model.

    Args:
        host: the host of the endpoint, for messages.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._streaks: dict[str, _Streak] = {}  # {model: its streak}, without those of length 0

    def __repr__(self) -> str:
        counts = {model: streak.count for model, streak in self._streaks.items()}
        return f"<UnreadableStreaks at {self._host}: {counts}>"

    def has(self, model: str) -> bool:
        """Return whether the last response for a model could not be read.

        Args:
            model: the model of a request.
        """
        return model in self._streaks

    def check(self, model: str, now: float) -> None:
        """Check that a request may be sent.

        Args:
            model: the model of the request.
            now: the present, in seconds.

        Raises:
            UnreadableEndpoint: work has stopped there; nothing was sent.
        """
        streak = self._streaks.get(model)
        if streak is None or streak.count < MOST_IN_A_ROW:
            return
        if now - streak.at >= PROBE_S:
            streak.at = now  # one call may try; the others wait for its result
            return
        error = self._stopped(model, streak)
        error.back_in_s = streak.at + PROBE_S - now
        raise error.but(f"nothing was sent; a call may try again in {error.back_in_s:.0f} s")

    def clear(self, model: str) -> None:
        """Note a response that could be read.

        Args:
            model: the model of its request.
        """
        if self._streaks:
            self._streaks.pop(model, None)

    def add(
        self, model: str, why: str, now: float, *, began_at: float = inf
    ) -> UnreadableEndpoint | None:
        """Note a response that could not be read; return the error if work stops there.

        Args:
            model: the model of its request.
            why: what is wrong with it, and its first bytes.
            now: the present, in seconds.
            began_at: when the request was sent, in seconds, for a response that broke off: many
                may do so at once, and that says nothing of the next ones. It counts only if the
                request was sent after the latest one that counts.
        """
        streak = self._streaks.setdefault(model, _Streak())
        if began_at < streak.at:
            return None
        streak.count += 1
        streak.at, streak.why = now, why
        if len(self._streaks) > _MAX_MODELS:
            del self._streaks[next(iter(self._streaks))]
        return self._stopped(model, streak) if streak.count >= MOST_IN_A_ROW else None

    def _stopped(self, model: str, streak: _Streak) -> UnreadableEndpoint:
        text = (
            f"work at {self._host} has stopped: {streak.count} responses in a row for "
            f"{model!r} could not be read, and may have been billed; {streak.why}"
        )
        return UnreadableEndpoint(text)
