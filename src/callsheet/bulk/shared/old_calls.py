"""Whether workers may still have calls in flight that began before the queue was lost. Pure (R14).

A queue that has lost its rows gets them again. A worker that has sent one of them goes on, and its
answer counts; but until then the queue knows of no worker that has the row, and would give it to
another one, which pays for it once more. With a limit of costs, the holder puts no row before each
worker has said that it has no call in flight. A worker that is not heard of for the length of its
lease has ended.
"""

from collections.abc import Mapping
from typing import final

from .queue import BEAT_S, WORKER_LEASE_S
from .reports import WorkerReport

_SURE = 3  # looks at what a worker has said last: what had just ended is handed in by then
_HEARD_S = 3 * BEAT_S  # until each worker that lives is heard of
_SILENT_S = WORKER_LEASE_S + BEAT_S


@final
class OldCalls:
    """Waits for the calls of workers, after a loss.

    Attributes:
        is_over: whether no worker has such a call any more.
    """

    def __init__(self) -> None:
        self.is_over = True
        self._since = 0.0
        self._calm: dict[str, int] = {}  # {worker: looks without a call in flight}

    def __repr__(self) -> str:
        return f"<OldCalls of {len(self._calm)} workers, {self.is_over=}>"

    def begin(self, now: float, workers: Mapping[str, bytes]) -> None:
        """Begin to wait, because the queue was lost.

        Args:
            now: the time in seconds.
            workers: the workers that were there before, with their latest reports.
        """
        self.is_over, self._since = False, now
        self._calm = dict.fromkeys(workers, 0)

    def hear(self, now: float, workers: Mapping[str, bytes]) -> bool:
        """Note what workers say; return whether the wait has ended by it.

        Args:
            now: the time in seconds.
            workers: the workers that are there, with their latest reports.
        """
        if self.is_over:
            return False
        silent = set(self._calm).difference(workers)
        for worker, text in workers.items():
            report = WorkerReport.decode(text)
            if report is None:  # of another version, or none yet
                silent.add(worker)
            is_calm = report is not None and not report.in_hand
            self._calm[worker] = self._calm.get(worker, 0) + 1 if is_calm else 0
        waited_s = now - self._since
        self.is_over = waited_s >= _HEARD_S and all(
            count >= _SURE or (worker in silent and waited_s >= _SILENT_S)
            for worker, count in self._calm.items()
        )
        return self.is_over
