"""Create the batches of one vendor, and process their lines when they are due."""

from collections.abc import Iterable, Iterator, Sequence

import attrs

from ..arrivals import Instant
from ..body import RequestRefused
from ..call import AnswerContext, ModelCall, SimulatedVendor
from ..chance import fraction_of, hex_of, random_of
from ..settings import ProviderSettings
from ..stats import RunningStats
from .lifecycle import Lifecycle, Moment

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
