"""The state machine of one batch, and what happens to its lines without a result. Pure (R14).

new -> marked -> running -> ended -> over
          |        ^  |
          v        |  v        unsure: the batch may have been created; it is looked for
        unsure ----+  over     from every phase: the provider refuses it, or it takes too long
"""

import re
from collections.abc import Iterable
from math import inf
from typing import Literal

import attrs

from ..errors import AuthenticationFailed, CallFailed, QuotaExhausted
from ..vendors import BatchView

BatchPhase = Literal["new", "marked", "unsure", "running", "ended", "over"]

BatchStep = Literal["prepare", "create", "find", "poll", "cancel", "fetch"]
"""The next step of a batch."""

BatchEnding = Literal[
    "results",  # it is complete; a line without a result may have run
    "unrun",  # it was cut short; a line without a result has not run
    "refused",  # the provider refused it: no line has run
    "none",  # it was never created
    "lost",  # its end is not known
]
"""How a batch ended."""

ResultOwner = Literal["ours", "twice", "foreign"]
"""Where a result belongs: to an open line, to a line that has a result, or to another batch."""


def _open(custom_ids: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(custom_ids)


@attrs.define(eq=False)
class BatchJob:
    """The state of one batch.

    Args:
        id: Callsheet's id of the batch.
        lines: the custom ids of the lines without a result.
        window_s: seconds after its creation at which it counts as over.
        settle_s: seconds for which a batch that may have been created is looked for.
        is_found: whether it is from the journal of an earlier process; it is not created again.
        phase: the phase, see above.
        mark: the provider's name of its input; "" until `prepared`.
        batch_id: the provider's id of it; "" until it is known.
        ending: how it ended; None until it is over.
        view: the last state that the provider has reported.
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
        return f"<BatchJob {self.id} {self.phase}, {len(self.lines)} lines left>"

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
        """Return the job of a batch that the journal of an earlier process contains."""
        job = cls(job_id, lines, window_s, settle_s, is_found=True, mark=mark, batch_id=batch_id)
        job.size = size
        job._began_at = job._asked_at = now
        if batch_id:
            job.phase, job.is_certain = "running", is_certain
        elif mark:
            job.phase = "unsure"
        else:  # without a mark it cannot have been created
            job.finish("none")
        return job

    # ---------------------------------------------------------------- the next step

    def next(self, now: float) -> BatchStep | float:
        """Return the next step; or the time to call this again, infinity if it is over."""
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
        """Cancel it at `at`, unless a request waits for it by then."""
        self.cancels_at = min(self.cancels_at, at)

    def keep(self) -> None:
        """Do not cancel it: a request waits for it."""
        if not self.is_cancelled:
            self.cancels_at = inf

    def wait(self, until: float) -> None:
        """Do no step before then, except for a cancellation."""
        self.not_before = until

    # ---------------------------------------------------------------- events

    def prepared(self, mark: str) -> None:
        """The first call has returned a mark."""
        if self.phase == "new":
            self.mark, self.phase = mark, "marked"

    def creating(self, now: float) -> None:
        """The call that creates it is being sent: from now on it may exist."""
        if self.phase == "marked":
            self.phase = "unsure"
            self._asked_at = now
            self.not_before = now

    def unmade(self) -> None:
        """The call that creates it was refused: it does not exist."""
        if self.phase == "unsure":
            self.phase = "marked"

    def created(self, view: BatchView, now: float, *, is_certain: bool = True) -> None:
        """It exists."""
        if self.phase != "unsure":
            return
        self.batch_id, self.is_certain, self.phase = view.id, is_certain, "running"
        self._began_at = now
        self.update(view)

    def not_found(self, now: float) -> None:
        """It is not in the list. After `settle_s` that means that it does not exist."""
        if self.phase != "unsure" or now < self._asked_at + self.settle_s:
            return
        if self.is_found:
            self.finish("none")
        else:
            self.phase = "marked"

    def update(self, view: BatchView) -> None:
        """The provider has reported its state."""
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
        """The provider does not know it. Just after its creation that may be too early."""
        is_early = self._began_at is not None and now < self._began_at + self.settle_s
        if self.phase == "running" and not is_early:
            self.finish("lost")

    def is_foreign(self) -> None:
        """Its results are those of another batch: it has the wrong id."""
        self.rejected.add(self.batch_id)
        self.batch_id, self.view, self.phase = "", None, "unsure"
        self.fetched.clear()

    def fetched_all(self, output: str, *, is_whole: bool = True) -> None:
        """One file of results has been read.

        Args:
            output: the path of the file at the provider.
            is_whole: whether all of it could be read.
        """
        if self.phase != "ended" or self.view is None:
            return
        self.fetched.add(output)
        self.is_whole &= is_whole
        if self.fetched >= set(self.view.outputs):
            has_run = self.view.is_complete or not self.is_whole
            self.finish("results" if has_run else "unrun")

    def finish(self, ending: BatchEnding) -> None:
        """It is over."""
        if self.phase != "over":
            self.phase, self.ending = "over", ending

    # ---------------------------------------------------------------- its lines

    def is_own(self, custom_id: str) -> bool:
        """Return whether a custom id is made from the id of this batch."""
        return custom_id.startswith(f"{self.id}-")

    def take_result(self, custom_id: str) -> ResultOwner:
        """Take the result of a line, once. Return where it belongs."""
        if custom_id in self.lines:
            del self.lines[custom_id]
            return "ours"
        return "twice" if self.is_own(custom_id) else "foreign"

    def release(self) -> tuple[str, ...]:
        """Remove and return the lines without a result, when it is over."""
        left = tuple(self.lines)
        self.lines.clear()
        return left

    @property
    def _can_be_cancelled(self) -> bool:
        """Whether it is surely the right batch; one that may exist is looked for first."""
        if self.phase == "running":
            return self.is_certain and not self.is_cancelled
        return self.phase in ("new", "marked")

    def _look_at_clock(self, now: float) -> None:
        if self._began_at is not None and now >= self._began_at + self.window_s + self.settle_s:
            self.finish("lost")


_OF_THE_ACCOUNT = (AuthenticationFailed, QuotaExhausted)  # a live call would fail as well
_OVERFLOW = re.compile(r"token_limit_exceeded|enqueued[ _]token", re.IGNORECASE)
_LIMIT = re.compile(r"limit: *([\d,]+)", re.IGNORECASE)
_NONE: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class OrphanHandling:
    """What happens to the lines without a result; each is in one of the three sets.

    Args:
        again: custom ids of the lines that go into another batch.
        live: custom ids of the lines that are sent live.
        fails: custom ids of the lines that fail.
        maybe_billed: whether the provider may have charged for the lines that are sent live (L3).
        is_overflow: whether the batch was refused because too many tokens are in batches.
        stated_limit: the limit of tokens, if the provider stated it.
    """

    again: frozenset[str] = _NONE
    live: frozenset[str] = _NONE
    fails: frozenset[str] = _NONE
    maybe_billed: bool = False
    is_overflow: bool = False
    stated_limit: int | None = None


def handle_orphans(job: BatchJob, left: Iterable[str], error: CallFailed | None) -> OrphanHandling:
    """Decide what happens to the lines that a batch leaves without a result.

    Args:
        job: the batch, which is over.
        left: custom ids of its lines without a result.
        error: the error of the last control call that failed, if any.
    """
    everything = frozenset(left)
    if job.ending == "none":
        return OrphanHandling(again=everything)
    if job.ending != "refused":
        return OrphanHandling(live=everything, maybe_billed=job.ending != "unrun")
    errors = () if job.view is None else job.view.errors
    words = [f"{one.code} {one.message}" for one in errors]
    words += [] if error is None else [str(error)]
    overflow = next((one for one in words if is_overflow(one)), None)
    if overflow is not None:
        return OrphanHandling(
            again=everything, is_overflow=True, stated_limit=_stated_limit(overflow)
        )
    if not errors and isinstance(error, _OF_THE_ACCOUNT):
        return OrphanHandling(fails=everything)
    # Lines that the provider names go live, where the error is precise; if it names none, all do.
    # Each new batch has fewer lines, so this ends.
    named = everything & {f"{job.id}-{one.position}" for one in errors if one.position is not None}
    return OrphanHandling(live=named or everything, again=everything - named if named else _NONE)


def is_overflow(words: str) -> bool:
    """Return whether an error text states that too many tokens are in batches."""
    return _OVERFLOW.search(words) is not None


def _stated_limit(words: str) -> int | None:
    found = _LIMIT.search(words)
    return int(found[1].replace(",", "") or 0) or None if found else None
