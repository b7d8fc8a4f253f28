"""The last minute of a run, as snapshots of how it stood."""

from collections import deque

from ..progress import Progress

__all__ = ["History", "worked"]

_SPACINGS = 240  # of a quarter of a second in a minute; at most two snapshots fall into each


def worked(progress: Progress) -> int:
    """Rows that have ended because somebody was asked: neither reused nor bad."""
    return max(0, progress.answered - progress.reused) + progress.failed


class History:
    """Remembers how a run stood, and forgets what is older than it should know (R14).

    Args:
        first: the first snapshot.
        within_s: for how many seconds it remembers.
    """

    def __init__(self, first: Progress, within_s: float = 60.0) -> None:
        self._within_s = within_s
        self._snapshots = deque([first])

    def __repr__(self) -> str:
        return f"<History of {len(self._snapshots)} snapshots>"

    @property
    def latest(self) -> Progress:
        """How the run stands."""
        return self._snapshots[-1]

    @property
    def snapshots(self) -> tuple[Progress, ...]:
        """What is remembered, the oldest first; at least one."""
        return tuple(self._snapshots)

    def add(self, progress: Progress) -> None:
        """Remember one more snapshot.

        One that is closer to the last but one than is worth telling apart takes the last one's
        place, so that it does not matter how often somebody looks.
        """
        kept = self._snapshots
        spacing_s = self._within_s / _SPACINGS
        while kept and progress.now <= kept[-1].now:
            kept.pop()
        if len(kept) > 1 and progress.now - kept[-2].now < spacing_s:
            kept.pop()
        kept.append(progress)
        # The oldest is as old as can be, or older: what happened since is then known in full.
        while len(kept) > 1 and kept[1].now <= progress.now - self._within_s:
            kept.popleft()

    def since(self, seconds: float) -> Progress:
        """How the run stood so many seconds ago, or as long ago as is remembered."""
        kept = self._snapshots
        wanted = kept[-1].now - seconds
        return next((one for one in reversed(kept) if one.now <= wanted), kept[0])
