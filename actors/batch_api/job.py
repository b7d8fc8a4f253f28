"""The state machine of one batch. Pure (R14).

new -> marked -> running <-> ended -> over
          |        ^  |
          v        |  v        unsure: the batch may have been created; it is looked for
        unsure ----+  over     from every phase: the provider refuses it, or it takes too long

A batch that has ended is polled again while the provider may still deliver results: a file that it
does not name yet, that is not there yet, or that has fewer results than the provider reports. Such
a file is read again after each poll.
"""

from collections.abc import Iterable
from math import inf
from typing import Literal

import attrs

from ..vendors import BatchView

BatchPhase = Literal["new", "marked", "unsure", "running", "ended", "over"]

BatchStep = Literal["prepare", "create", "find", "poll", "cancel", "fetch"]
"""The next step of a batch."""

BatchEnding = Literal[
    "results",  # it has ended; a line without a result may have run
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
        late_s: seconds after its end for which results that are missing are waited for.
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
    late_s: float
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
    _absent: set[str] = attrs.field(factory=set[str])  # outputs that were not there this time
    _began_at: float | None = None
    _asked_at: float = -inf
    _over_at: float | None = None  # when the provider first reported its end
    _unknown_since: float | None = None  # since when the provider does not know it

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
        late_s: float,
        now: float,
    ) -> "BatchJob":
        """Return the job of a batch that the journal of an earlier process contains."""
        job = cls(job_id, lines, window_s, settle_s, late_s, is_found=True, mark=mark)
        job.batch_id, job.size = batch_id, size
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
        self.update(view, now)

    def not_found(self, now: float) -> None:
        """It is not in the list. After `settle_s` that means that it does not exist."""
        if self.phase != "unsure" or now < self._asked_at + self.settle_s:
            return
        if self.is_found:
            self.finish("none")
        else:
            self.phase = "marked"

    def update(self, view: BatchView, now: float) -> None:
        """The provider has reported its state."""
        if self.phase != "running" or view.id != self.batch_id:
            return
        self.view = view
        self._unknown_since = None
        if not view.is_over:
            return
        if view.is_refused:
            self.finish("refused")
            return
        if self._over_at is None:
            self._over_at = now
        if self._has_more:  # a file may have been short or empty when it was read
            self.fetched.clear()
            self.is_whole = True
        self._absent.clear()
        self._read_on(now)

    def vanished(self, now: float) -> None:
        """The provider does not know it. Just after its creation, or for a while, it may not."""
        if self._unknown_since is None:
            self._unknown_since = now
        began_at = self._unknown_since if self._began_at is None else self._began_at
        is_early = now < max(began_at, self._unknown_since) + self.settle_s
        if self.phase == "running" and not is_early:
            self.finish("lost")

    def is_foreign(self) -> None:
        """Its results are those of another batch: it has the wrong id."""
        self.rejected.add(self.batch_id)
        self.batch_id, self.view, self.phase = "", None, "unsure"
        self._over_at = None
        self.fetched.clear()

    @property
    def output(self) -> str | None:
        """The file of results to read next; None if there is none."""
        outputs = () if self.view is None else self.view.outputs
        left = (one for one in outputs if one not in self.fetched and one not in self._absent)
        return next(left, None)

    def fetched_all(self, output: str, now: float, *, is_whole: bool = True) -> None:
        """One file of results has been read.

        Args:
            output: the path of the file at the provider.
            now: the time on Trio's clock.
            is_whole: whether it had a result, and nothing that could not be read.
        """
        if self.phase == "ended":
            self.fetched.add(output)
            self.is_whole &= is_whole
            self._read_on(now)

    def is_absent(self, output: str, now: float) -> None:
        """One file of results is not there, at least not yet."""
        if self.phase == "ended":
            self._absent.add(output)
            self._read_on(now)

    def _read_on(self, now: float) -> None:
        """Read the next file of results; after the last one, wait for more or finish."""
        if self.output is not None:
            self.phase, self.not_before = "ended", -inf
        elif self._has_more and now < self._late_until:
            self.phase = "running"
        else:
            is_complete = self.view is not None and self.view.is_complete
            self.finish("results" if self._has_more or is_complete else "unrun")

    @property
    def _has_more(self) -> bool:
        """Whether the provider may have results that were not read, by what it reports."""
        view = self.view
        if view is None or not self.lines:
            return False
        if self._absent or not self.is_whole:
            return True
        if view.done:
            return view.done > self.size - len(self.lines)
        # It reports no numbers: a batch that is complete has a result for each line.
        return view.is_complete or (view.done is None and not view.outputs)

    @property
    def _late_until(self) -> float:
        return -inf if self._over_at is None else self._over_at + self.late_s

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
        if self._began_at is None:
            return
        ends_at = self._began_at + self.window_s + max(self.settle_s, self.late_s)
        if now >= max(ends_at, self._late_until):
            self.finish("lost")
