"""When and why a worker of a shared run ends. Pure (R14)."""

from math import inf
from typing import Literal, final

import attrs

from .queue import RunState

EndKind = Literal["ended", "stopped", "drained", "alone", "failed"]
"""Why a worker ends: the run has ended, or was stopped before that; the worker was told to; there
is no holder, or no server; or an error."""

_IDLE_S = 60.0  # without a holder or a run
_AWAY_S = 600.0  # without the server, and with nothing in hand
_ENDED_S = 10.0  # until a run that drains has ended
_HAND_IN_AT_END_S = 10.0


@attrs.frozen
class WorkerEnd:
    """Why a worker has ended.

    Args:
        kind: the kind of end.
        text: the reason for the user, with the remedy if there is one.
    """

    kind: EndKind
    text: str


@attrs.frozen(kw_only=True)
class WorkerPolicy:
    """How a worker works.

    Args:
        max_concurrency: the most calls of this worker at the same time; None for those of the run.
        ahead: the most rows that it has and that are not sent; None for as many as are sent in
            half a second. Packs are formed of these rows.
        waits: whether it waits for rows for ever. Otherwise it ends when there has been no holder
            and no row for a minute.
    """

    max_concurrency: int | None = None
    ahead: int | None = None
    waits: bool = False


@final
class EndWatch:
    """Decides when a worker ends, by what it knows of its run and of the server.

    Args:
        server: the name of the queue, for the reason.
        waits: whether it waits for rows for ever; see `WorkerPolicy`.

    Attributes:
        state: what workers do with the run; None if there is no such run.
        is_away: whether the server is away.
        drains: whether the worker was told to end, or has to, because of an error.
        why: the reason for that; "" if the user asked for it.
        has_trouble: whether its journal cannot be written.
    """

    def __init__(self, server: str, *, waits: bool) -> None:
        self.state: RunState | None = "running"
        self.is_away = self.drains = self.has_trouble = False
        self.why = ""
        self._server = server
        self._waits = waits
        self._alone_since = inf  # no run, or no holder
        self._idle_since = inf  # the run drains, and nothing is in hand
        self._heard_at = inf  # of the server

    def __repr__(self) -> str:
        return f"<EndWatch {self.state} {self.drains=} {self.is_away=}>"

    def heard(self, now: float) -> bool:
        """Note that the server has answered; return whether it was away before.

        Args:
            now: the time in seconds.
        """
        self._heard_at = now
        was_away, self.is_away = self.is_away, False
        return was_away

    def note_holder(self, now: float, *, is_there: bool) -> None:
        """Note whether a process holds OUTPUT.

        Args:
            now: the time in seconds.
            is_there: whether the run is there, and has a holder.
        """
        self._alone_since = inf if is_there else min(self._alone_since, now)

    def decide(self, now: float, *, has_rows: bool, has_answers: bool) -> WorkerEnd | None:
        """Return why the worker ends now; None if it goes on.

        Args:
            now: the time in seconds.
            has_rows: whether calls have not ended.
            has_answers: whether answers are not in the journal, or not handed in.
        """
        if has_rows or self.state != "draining":
            self._idle_since = inf
        if has_rows:
            return None
        if self._is_away_long(now):
            text = self.why or f"{self._server} does not answer"
            return WorkerEnd("drained" if self.drains else "alone", text)
        if has_answers:
            return None
        if self.drains:
            return WorkerEnd("failed" if self.has_trouble else "drained", self.why)
        return self._without_work(now)

    def _without_work(self, now: float) -> WorkerEnd | None:
        if self.state == "draining":
            # Also a run that is complete drains first, and ends a moment later.
            self._idle_since = min(self._idle_since, now)
            if self._alone_since < inf or now - self._idle_since >= _ENDED_S:
                return WorkerEnd("stopped", "the run was stopped before its end")
        elif now - self._alone_since >= _IDLE_S and not self._waits:
            why = "the run is not there any more" if self.state is None else "no process holds it"
            return WorkerEnd("alone", why)
        return None

    def _is_away_long(self, now: float) -> bool:
        most_s = inf if self._waits else _AWAY_S
        if self.drains:
            most_s = _HAND_IN_AT_END_S
        return self.is_away and now - self._heard_at >= most_s
