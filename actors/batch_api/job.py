"""One batch, from the intent to its end: what comes next, whatever the provider says. Pure (R14).

new -> marked -> running -> ended -> over
          |        ^  |
          v        |  v        unsure: a batch may have been made, or not; one looks for it
        unsure ----+  over     from everywhere: the provider refuses, or it takes too long

What becomes of the lines that a batch has left without a result. Pure (R14).
"""

import re
from collections.abc import Iterable
from math import inf
from typing import Literal

import attrs

from ..errors import AuthenticationFailed, CallFailed, QuotaExhausted
from ..vendors import BatchView

__all__ = [
    "BatchEnding",
    "BatchJob",
    "BatchPhase",
    "BatchStep",
    "OrphanHandling",
    "ResultOwner",
    "handle_orphans",
    "is_overflow",
]


BatchPhase = Literal["new", "marked", "unsure", "running", "ended", "over"]

BatchStep = Literal["prepare", "create", "find", "poll", "cancel", "fetch"]
"""What is to be done next."""

BatchEnding = Literal[
    "results",  # each line has had its chance; what has no result ran, perhaps
    "unrun",  # it is over, and what has no result has not run
    "refused",  # the provider would not have it: no line of it has run
    "none",  # it never was made
    "lost",  # nobody knows
]
"""How a batch ended."""

ResultOwner = Literal["ours", "twice", "foreign"]
"""Whose a result is: that of a line, of one that has its end, or of another batch."""


def _open(custom_ids: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(custom_ids)


@attrs.define(eq=False)
class BatchJob:
    """What one knows of one batch.

    Args:
        id: our name for it.
        lines: the custom ids that have no end yet.
        window_s: how long after it was made it is over, in seconds.
        settle_s: how long one looks for a batch that was perhaps made, in seconds.
        is_found: it was in the journal: whoever wanted it is gone, and it is not made anew.
        phase: how far it is.
        mark: what it is made from; "" until `prepared`.
        batch_id: the provider's name of it; "" until it is known.
        ending: how it ended; None until it is over.
        view: the last that the provider said.
    """

    id: str
    lines: dict[str, None] = attrs.field(converter=_open)
    window_s: float
    settle_s: float
    is_found: bool = False
    phase: BatchPhase = "new"
    mark: str = ""
    batch_id: str = ""
    is_certain: bool = True
    ending: BatchEnding | None = None
    view: BatchView | None = None
    size: int = 0
    not_before: float = -inf
    cancels_at: float = inf
    is_cancelled: bool = False
    is_whole: bool = True
    rejected: set[str] = attrs.field(factory=set[str])
    fetched: set[str] = attrs.field(factory=set[str])
    _began_at: float | None = None
    _asked_at: float = -inf

    def __attrs_post_init__(self) -> None:
        self.size = self.size or len(self.lines)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.phase}, {len(self.lines)} lines left>"

    @classmethod
    def found(
        cls,
        job_id: str,
        lines: Iterable[str],
        *,
        size: int,
        mark: str,
        batch_id: str,
        is_certain: bool,
        window_s: float,
        settle_s: float,
        now: float,
    ) -> "BatchJob":
        """One that the journal of an earlier life tells of."""
        job = cls(job_id, lines, window_s, settle_s, is_found=True, mark=mark, batch_id=batch_id)
        job.size = size
        job._began_at = job._asked_at = now
        if batch_id:
            job.phase, job.is_certain = "running", is_certain
        elif mark:
            job.phase = "unsure"
        else:  # to make a batch takes a mark: there is none
            job.finish("none")
        return job

    # ---------------------------------------------------------------- what is next

    def next(self, now: float) -> BatchStep | float:
        """What is to be done; or when to ask again, infinity if it is over."""
        self._look_at_clock(now)
        if self.phase == "over":
            return inf
        cancels_at = self.cancels_at if self._can_be_cancelled else inf
        if now >= cancels_at:
            if self.phase == "running":
                return "cancel"
            self.finish("none")
            return inf
        if now < self.not_before:
            return min(self.not_before, cancels_at)
        steps: dict[BatchPhase, BatchStep] = {
            "new": "prepare",
            "marked": "create",
            "unsure": "find",
            "running": "poll",
            "ended": "fetch",
        }
        return steps[self.phase]

    def abandon(self, at: float) -> None:
        """Nobody waits for it any more; if that is still so at `at`, it is cancelled."""
        self.cancels_at = min(self.cancels_at, at)

    def keep(self) -> None:
        """Somebody waits for it."""
        if not self.is_cancelled:
            self.cancels_at = inf

    def wait(self, until: float) -> None:
        """Nothing is to be done before then, but for a cancellation."""
        self.not_before = until

    # ---------------------------------------------------------------- what has happened

    def prepared(self, mark: str) -> None:
        """The first step is done."""
        if self.phase == "new":
            self.mark, self.phase = mark, "marked"

    def asked(self, now: float) -> None:
        """The call that makes it has gone out, and nobody knows what came of it."""
        if self.phase == "marked":
            self.phase = "unsure"
            self._asked_at = now
            self.not_before = now

    def unmade(self) -> None:
        """The call that makes it was refused: there is none."""
        if self.phase == "unsure":
            self.phase = "marked"

    def created(self, view: BatchView, now: float, *, is_certain: bool = True) -> None:
        """It is there."""
        if self.phase != "unsure":
            return
        self.batch_id, self.is_certain, self.phase = view.id, is_certain, "running"
        self._began_at = now
        self.update(view)

    def not_found(self, now: float) -> None:
        """It is not in the list. In time that means that there is none."""
        if self.phase != "unsure" or now < self._asked_at + self.settle_s:
            return
        if self.is_found:
            self.finish("none")
        else:
            self.phase = "marked"

    def update(self, view: BatchView) -> None:
        """The provider has said how it stands."""
        if self.phase != "running" or view.id != self.batch_id:
            return
        self.view = view
        if not view.is_over:
            return
        if view.is_refused:
            self.finish("refused")
        elif view.outputs:
            self.phase = "ended"
            self.not_before = -inf
        else:
            self.finish("results" if view.is_complete else "unrun")

    def vanished(self, now: float) -> None:
        """The provider knows of no such batch. Just after it was made, that may be too early."""
        is_early = self._began_at is not None and now < self._began_at + self.settle_s
        if self.phase == "running" and not is_early:
            self.finish("lost")

    def is_foreign(self) -> None:
        """It turned out to be somebody else's."""
        self.rejected.add(self.batch_id)
        self.batch_id, self.view, self.phase = "", None, "unsure"
        self.fetched.clear()

    def fetched_all(self, output: str, *, is_whole: bool = True) -> None:
        """The results at one place have all been read; or not the whole of them, for good."""
        if self.phase != "ended" or self.view is None:
            return
        self.fetched.add(output)
        self.is_whole &= is_whole
        if self.fetched >= set(self.view.outputs):
            has_run = self.view.is_complete or not self.is_whole
            self.finish("results" if has_run else "unrun")

    def finish(self, ending: BatchEnding) -> None:
        """It is over, for good."""
        if self.phase != "over":
            self.phase, self.ending = "over", ending

    # ---------------------------------------------------------------- its lines

    def is_own(self, custom_id: str) -> bool:
        """Whether a custom id has our name of the batch in it."""
        return custom_id.startswith(f"{self.id}-")

    def take_result(self, custom_id: str) -> ResultOwner:
        """A line has its end; each has one."""
        if custom_id in self.lines:
            del self.lines[custom_id]
            return "ours"
        return "twice" if self.is_own(custom_id) else "foreign"

    def release(self) -> tuple[str, ...]:
        """Once it is over: the lines that have no result. They have their end then, too."""
        left = tuple(self.lines)
        self.lines.clear()
        return left

    @property
    def _can_be_cancelled(self) -> bool:
        """What may be somebody else's is not touched; what may be made is looked for first."""
        if self.phase == "running":
            return self.is_certain and not self.is_cancelled
        return self.phase in ("new", "marked")

    def _look_at_clock(self, now: float) -> None:
        if self._began_at is not None and now >= self._began_at + self.window_s + self.settle_s:
            self.finish("lost")


_OF_THE_ACCOUNT = (AuthenticationFailed, QuotaExhausted)  # a live call would fail alike
_OVERFLOW = re.compile(r"token_limit_exceeded|enqueued[ _]token", re.IGNORECASE)
_LIMIT = re.compile(r"limit: *([\d,]+)", re.IGNORECASE)
_NOBODY: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class OrphanHandling:
    """What becomes of the lines without a result; each is in one of the three.

    Args:
        again: custom ids of those that wait for another batch.
        live: custom ids of those that are sent live.
        fails: custom ids of those that fail.
        maybe_billed: whether the provider may have charged for those that are sent live (L3).
        is_overflow: the batch was refused because too many tokens are in batches.
        stated_limit: how many there may be, if the provider told it.
    """

    again: frozenset[str] = _NOBODY
    live: frozenset[str] = _NOBODY
    fails: frozenset[str] = _NOBODY
    maybe_billed: bool = False
    is_overflow: bool = False
    stated_limit: int | None = None


def handle_orphans(job: BatchJob, left: Iterable[str], error: CallFailed | None) -> OrphanHandling:
    """What becomes of them.

    Args:
        job: that is over.
        left: custom ids of its lines without a result.
        error: the latest that a control call failed with.
    """
    everybody = frozenset(left)
    if job.ending == "none":
        return OrphanHandling(again=everybody)
    if job.ending != "refused":
        return OrphanHandling(live=everybody, maybe_billed=job.ending != "unrun")
    errors = () if job.view is None else job.view.errors
    words = [f"{one.code} {one.message}" for one in errors]
    words += [] if error is None else [str(error)]
    overflow = next((one for one in words if is_overflow(one)), None)
    if overflow is not None:
        return OrphanHandling(
            again=everybody, is_overflow=True, stated_limit=_stated_limit(overflow)
        )
    if not errors and isinstance(error, _OF_THE_ACCOUNT):
        return OrphanHandling(fails=everybody)
    # The live way says what is wrong with those that are named; if none is, with all of them. At
    # least one line fewer goes into the next batch, so that this comes to an end.
    named = everybody & {f"{job.id}-{one.position}" for one in errors if one.position is not None}
    return OrphanHandling(live=named or everybody, again=everybody - named if named else _NOBODY)


def is_overflow(words: str) -> bool:
    """Whether a refusal says that too many tokens are in batches already."""
    return _OVERFLOW.search(words) is not None


def _stated_limit(words: str) -> int | None:
    found = _LIMIT.search(words)
    return int(found[1].replace(",", "") or 0) or None if found else None
