"""What the holder of a shared run knows of its workers, for displays and reports."""

import attrs
import structlog

from ..progress import SharedProgress
from .queue import RunCard

_log = structlog.stdlib.get_logger()


@attrs.define
class SharedCounts:
    """What is known of the workers of a run.

    Args:
        card: what the queue said last; None before that.
        workers: the most workers that there were at the same time.
        again: how many times a row was given to a further worker, because one had ended over it.
            Each may have been paid for.
        is_away: whether the server was away when it was asked last.
    """

    card: RunCard | None = None
    workers: int = 0
    again: int = 0
    is_away: bool = False

    @property
    def taken(self) -> int:
        """The number of rows that workers have."""
        return 0 if self.card is None else self.card.taken

    def progress(self) -> SharedProgress:
        """Return this for displays and reports."""
        card = self.card
        return SharedProgress(
            workers=0 if card is None else len(card.workers),
            most_workers=self.workers,
            waiting=0 if card is None else card.waiting,
            again=self.again,
            is_away=self.is_away,
        )

    def note_card(self, card: RunCard) -> None:
        """Note what the queue says.

        Args:
            card: what is known of the run.
        """
        self.card = card
        self.workers = max(self.workers, len(card.workers))

    def note_away(self, server: str, why: str) -> None:
        """Note, and log once, that the server is away.

        Args:
            server: the name of the queue.
            why: the reason, for the log.
        """
        if not self.is_away:
            _log.warning("shared_run_unavailable", server=server, reason=why)
        self.is_away = True

    def note_there(self, server: str) -> None:
        """Note that the server has answered, and log that it is back.

        Args:
            server: the name of the queue.
        """
        if self.is_away:
            _log.warning("shared_run_back", server=server)
        self.is_away = False
