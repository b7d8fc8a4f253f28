"""The progress of a run over the last minute, as snapshots."""

from collections import deque

from ..progress import Progress

_SPACINGS = 240  # a quarter of a second in a minute; at most two snapshots each


def worked(progress: Progress) -> int:
    """Return the number of rows that ended by a call: neither reused nor bad."""
    return max(0, progress.answered - progress.reused) + progress.failed


class History:
    """Keeps the snapshots of a period, and drops older ones (R14).

    Args:
        first: the first snapshot.
        within_s: the period in seconds.
    """

    def __init__(self, first: Progress, within_s: float = 60.0) -> None:
        self._within_s = within_s
        self._snapshots = deque([first])

    def __repr__(self) -> str:
        return f"<History of {len(self._snapshots)} snapshots>"

    @property
    def latest(self) -> Progress:
        """The last snapshot."""
        return self._snapshots[-1]

    @property
    def snapshots(self) -> tuple[Progress, ...]:
        """All snapshots, the oldest first; at least one."""
        return tuple(self._snapshots)

    def add(self, progress: Progress) -> None:
        """Add a snapshot.

        A snapshot that follows the last but one too closely replaces the last one, so that the
        result does not depend on how often this is called.
        """
        kept = self._snapshots
        spacing_s = self._within_s / _SPACINGS
        while kept and progress.now <= kept[-1].now:
            kept.pop()
        if len(kept) > 1 and progress.now - kept[-2].now < spacing_s:
            kept.pop()
        kept.append(progress)
        # The oldest snapshot is at least as old as the period, so that it covers all of it.
        while len(kept) > 1 and kept[1].now <= progress.now - self._within_s:
            kept.popleft()

    def since(self, seconds: float) -> Progress:
        """Return the snapshot from `seconds` ago, or the oldest one."""
        kept = self._snapshots
        wanted = kept[-1].now - seconds
        return next((one for one in reversed(kept) if one.now <= wanted), kept[0])
