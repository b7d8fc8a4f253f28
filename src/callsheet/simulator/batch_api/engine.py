"""Batches as functions of time: their states, and their lines, processed when they are due.

No task runs for a batch. Its state is computed whenever it is needed, so it follows any clock
(R14).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import attrs

from ..arrivals import Instant
from ..body import RequestRefused
from ..call import AnswerContext, ModelCall, SimulatedVendor
from ..chance import fraction_of, hex_of, random_of
from ..settings import ProviderSettings
from ..stats import RunningStats

Status = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
]

_Step = tuple[Status, float]

ENDS: frozenset[Status] = frozenset({"completed", "failed", "expired", "cancelled"})
"""The final statuses."""

# Rounding of floats: a line due within a millionth of the time between two lines is due.
ALMOST = 1e-6


@attrs.frozen
class Moment:
    """The state of a batch at one time.

    Args:
        status: the status at that time.
        done: the number of processed lines.
        since: {status: the time at which it was reached, in seconds}.
    """

    status: Status
    done: int
    since: Mapping[Status, float]

    @property
    def has_ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ENDS


@attrs.frozen(kw_only=True)
class Lifecycle:
    """The schedule of a batch. All times are seconds on one clock.

    Args:
        lines: the number of lines; they are processed one after another at a constant rate.
        created: the time of creation.
        validating_s: the duration of validation.
        work_s: the duration of processing; infinite if it never ends.
        finalizing_s: the duration of writing the output.
        cancelling_s: the duration of a cancellation.
        expires: the time of expiry, if the lines are not processed by then.
        is_valid: True if the input is valid.
        cancelled: the time of cancellation; None if it was not cancelled.
    """

    lines: int
    created: float
    validating_s: float
    work_s: float
    finalizing_s: float
    cancelling_s: float
    expires: float
    is_valid: bool = True
    cancelled: float | None = None

    @property
    def begins(self) -> float:
        """The time at which processing begins."""
        return min(self.created + self.validating_s, self.expires)

    @property
    def ends(self) -> float:
        """The time at which processing would end."""
        return self.begins + self.work_s

    def at(self, now: float) -> Moment:
        """Return the state at a time, which is not before the creation."""
        passed = [step for step in self._path() if step[1] <= now]
        status, _ = passed[-1]
        return Moment(status, self._done(now), dict(passed))

    def done_at(self, place: int) -> float:
        """Return the time at which the line at an index, from 0, would be processed."""
        return self.begins + self.work_s * ((place + 1) / self.lines)

    def cancel(self, now: float) -> "Lifecycle":
        """Return the batch cancelled now; a batch that ended or was cancelled does not change."""
        if self.cancelled is not None or self.at(now).has_ended:
            return self
        return attrs.evolve(self, cancelled=now)

    def expiring(self, share: float) -> "Lifecycle":
        """Return the batch slowed down so that it expires with this share of its lines processed.

        Args:
            share: from 0 to below 1.
        """
        time_s = self.expires - self.begins
        return attrs.evolve(self, work_s=time_s / share if share else math.inf)

    def _path(self) -> list[_Step]:
        """Return the statuses of the batch, with their times."""
        path: list[_Step] = [("validating", self.created)]
        if not self.is_valid:
            path.append(("failed", self.begins))
        else:
            path.append(("in_progress", self.begins))
            if self.ends > self.expires or self.begins == self.expires:
                path.append(("expired", self.expires))
            else:
                path.append(("finalizing", self.ends))
                path.append(("completed", self.ends + self.finalizing_s))
        if self.cancelled is not None:
            path = [step for step in path if step[1] <= self.cancelled]
            path.append(("cancelling", self.cancelled))
            path.append(("cancelled", self.cancelled + self.cancelling_s))
        return path

    def _done(self, now: float) -> int:
        stop = min(now, self.expires, math.inf if self.cancelled is None else self.cancelled)
        if not self.is_valid or stop < self.begins:
            return 0
        if (
            stop >= self.ends
        ):  # the sum that decides the status, because floats of another sum may differ
            return self.lines
        worked = stop - self.begins
        return min(self.lines, math.floor(self.lines * (worked / self.work_s) + ALMOST))


OK = 200
UNANSWERED = 0


@attrs.frozen
class SimulatedLine:
    """One call of a batch.

    Args:
        custom_id: the client's id of the line.
        call: the parsed call, or why it is invalid.
    """

    custom_id: str
    call: ModelCall | RequestRefused = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class LineOutcome:
    """The outcome of a line.

    Args:
        line: the line that was processed.
        hex: hexadecimal digits that are unique to this line.
        status: the status that a live call would have had; 0 for none.
        body: the body of the response or the error; empty without a status.
        input_tokens: the tokens billed for the prompt.
        output_tokens: the tokens billed for the response.
    """

    line: SimulatedLine
    hex: str
    status: int
    body: bytes = attrs.field(default=b"", repr=False)
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def is_ok(self) -> bool:
        """Whether the line has a response with status 200."""
        return self.status == OK

    @property
    def request_id(self) -> str:
        """The id of the request for the line."""
        return f"req_{self.hex}"


@attrs.frozen(eq=False)
class LineWorker:
    """Processes lines by the code of live calls, and bills them.

    Args:
        settings: the provider's settings.
        vendor: the simulated API, which formats errors.
        stats: the counts of the provider.
    """

    settings: ProviderSettings
    vendor: SimulatedVendor
    stats: RunningStats

    def work(self, batch_id: str, line: SimulatedLine, created: float) -> LineOutcome:
        """Process one line.

        Args:
            batch_id: the id of the batch.
            line: the line to process.
            created: the time of the response, in seconds since 1970.
        """
        seed = self.settings.seed
        hex_ = hex_of("line", seed, batch_id, line.custom_id)
        self.stats.batch_lines += 1
        call = line.call
        if isinstance(call, RequestRefused):
            return self._error(line, hex_, call)
        kind = self._failure(fraction_of("failing", seed, batch_id, line.custom_id))
        if kind == "none":
            return LineOutcome(line=line, hex=hex_, status=UNANSWERED)
        if kind is not None:
            return self._error(line, hex_, self.vendor.refused(kind, None))
        context = AnswerContext(seed=seed, hex=hex_, created=int(created), batch=True)
        answer = call.answer(context)
        self.stats.bill(call.model, "batch", answer.input_tokens, answer.output_tokens)
        return LineOutcome(
            line=line,
            hex=hex_,
            status=OK,
            body=answer.body,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
        )

    def _failure(self, draw: float) -> str | None:
        batches = self.settings.batches
        if draw < batches.failing:
            return "500" if draw < batches.failing / 2 else "429"
        return "none" if draw < batches.failing + batches.unanswered else None

    def _error(self, line: SimulatedLine, hex_: str, error: RequestRefused) -> LineOutcome:
        body = self.vendor.error_body(error, f"req_{hex_}")
        return LineOutcome(line=line, hex=hex_, status=error.status, body=body)


@attrs.define(eq=False)
class SimulatedBatch:
    """A batch.

    Args:
        id: the id of the batch.
        created: the time of creation.
        lines: the lines in the order of processing, which differs from that of the input.
        lifecycle: the times at which its status changes.
        worker: processes the lines.
    """

    id: str
    created: Instant
    lines: Sequence[SimulatedLine] = attrs.field(repr=False)
    lifecycle: Lifecycle
    worker: LineWorker = attrs.field(repr=False)
    outcomes: list[LineOutcome] = attrs.field(factory=list[LineOutcome], init=False, repr=False)

    def look(self, clock: float) -> Moment:
        """Return the state at a time, after processing all lines that are due by then."""
        moment = self.lifecycle.at(clock)
        self.work(moment.done)
        return moment

    def is_behind(self, clock: float) -> bool:
        """Return whether lines are due that were not processed."""
        return len(self.outcomes) < self.lifecycle.at(clock).done

    def work(self, done: int) -> None:
        """Process lines up to a number."""
        while len(self.outcomes) < done:
            place = len(self.outcomes)
            date = self.created.date_of(self.lifecycle.done_at(place))
            self.outcomes.append(self.worker.work(self.id, self.lines[place], date))

    def cancel(self, clock: float) -> None:
        """Cancel the batch, unless it has ended."""
        self.lifecycle = self.lifecycle.cancel(clock)

    @property
    def succeeded(self) -> int:
        """The number of lines with a response."""
        return sum(outcome.is_ok for outcome in self.outcomes)

    @property
    def undone(self) -> Sequence[SimulatedLine]:
        """The lines that were not processed."""
        return self.lines[len(self.outcomes) :]


# The number of lines processed before other tasks run.
SLICE = 50
CANCELLING = 0.1


@attrs.frozen
class Phases:
    """The shares of a batch's duration before and after its lines are processed.

    Args:
        validating: the share at its beginning, 0 to 1.
        finalizing: the share at its end, 0 to 1.
    """

    validating: float = 0.0
    finalizing: float = 0.0


class BatchEngine:
    """Processes the batches of one vendor.

    Args:
        settings: the provider's settings.
        vendor: the simulated API that the batches belong to.
        stats: the counts of the provider.
        prefix: the prefix of batch ids.
        phases: the shares of a batch's duration.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        vendor: SimulatedVendor,
        stats: RunningStats,
        *,
        prefix: str,
        phases: Phases,
    ) -> None:
        self._settings = settings
        self._stats = stats
        self._prefix = prefix
        self._phases = phases
        self._worker = LineWorker(settings, vendor, stats)
        self._number = 0
        self._under_way: dict[str, SimulatedBatch] = {}

    def create(
        self, lines: Iterable[SimulatedLine], at: Instant, *, is_valid: bool = True
    ) -> SimulatedBatch:
        """Create a batch.

        Args:
            lines: the lines, in the order of the input.
            at: the time of creation.
            is_valid: True if its input is valid.
        """
        self._number += 1
        self._stats.batches += 1
        batch_id = self._prefix + hex_of(self._prefix, self._settings.seed, self._number)
        ordered = list(lines) if is_valid else []
        random_of("order", self._settings.seed, batch_id).shuffle(ordered)
        lifecycle = self._lifecycle(batch_id, len(ordered), at.clock, is_valid=is_valid)
        batch = SimulatedBatch(batch_id, at, ordered, lifecycle, self._worker)
        self._under_way[batch_id] = batch
        return batch

    def catch_up(self, clock: float) -> Iterator[None]:
        """Process all lines that are due, and yield after each few of them."""
        for batch in list(self._under_way.values()):
            while batch.is_behind(clock):
                due = batch.lifecycle.at(clock).done
                batch.work(min(due, len(batch.outcomes) + SLICE))
                yield
            if batch.lifecycle.at(clock).has_ended:
                self._under_way.pop(batch.id, None)

    def _lifecycle(self, batch_id: str, lines: int, created: float, *, is_valid: bool) -> Lifecycle:
        settings, batches, phases = self._settings, self._settings.batches, self._phases
        low, high = batches.time_s
        drawn = fraction_of("batch", settings.seed, batch_id)
        time_s = (low + (high - low) * drawn) * settings.time_scale
        lifecycle = Lifecycle(
            lines=lines,
            created=created,
            validating_s=time_s * phases.validating,
            work_s=time_s * (1 - phases.validating - phases.finalizing),
            finalizing_s=time_s * phases.finalizing,
            cancelling_s=time_s * CANCELLING,
            expires=created + batches.expires_s,
            is_valid=is_valid,
        )
        if fraction_of("expiring", settings.seed, batch_id) < batches.expiring:
            return lifecycle.expiring(batches.done_at_expiry)
        return lifecycle
