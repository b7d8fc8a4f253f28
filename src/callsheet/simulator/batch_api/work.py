"""The work on a batch: its lines, and what comes of each when it is due."""

from collections.abc import Sequence

import attrs

from ..apierror import RequestRefused
from ..call import AnswerContext, ModelCall
from ..chance import fraction_of, hex_of
from ..middleware import Instant
from ..settings import ProviderSettings
from ..stats import RunningStats
from ..vendor import SimulatedVendor
from .lifecycle import Lifecycle, Moment

__all__ = [
    "LineOutcome",
    "LineWorker",
    "SimulatedBatch",
    "SimulatedLine",
]


OK = 200
UNANSWERED = 0


@attrs.frozen
class SimulatedLine:
    """One call of a batch.

    Args:
        custom_id: the client's name for it.
        call: what it asks, or why it cannot be answered.
    """

    custom_id: str
    call: ModelCall | RequestRefused = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class LineOutcome:
    """What came of a line.

    Args:
        line: the line.
        hex: digits that no other line of this provider has.
        status: as a live call would have had it; 0 for none.
        body: the answer's, or an error's; nothing at all without a status.
        input_tokens: billed for the prompt.
        output_tokens: billed for the answer.
    """

    line: SimulatedLine
    hex: str
    status: int
    body: bytes = attrs.field(default=b"", repr=False)
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def is_ok(self) -> bool:
        """Whether it is an answer."""
        return self.status == OK

    @property
    def request_id(self) -> str:
        """The id of the request that the line became."""
        return f"req_{self.hex}"


@attrs.frozen(eq=False)
class LineWorker:
    """Answers lines by the code that answers live calls, and bills them.

    Args:
        settings: the provider's.
        vendor: puts errors into words.
        stats: counts.
    """

    settings: ProviderSettings
    vendor: SimulatedVendor
    stats: RunningStats

    def work(self, batch_id: str, line: SimulatedLine, created: float) -> LineOutcome:
        """Do one line.

        Args:
            batch_id: the batch it is in.
            line: the line.
            created: when its answer is made, in seconds since 1970.
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
    """A batch that was created.

    Args:
        id: its id.
        created: when.
        lines: in the order they are worked on, which is not that of the input.
        lifecycle: when what becomes of it.
        worker: does its lines.
    """

    id: str
    created: Instant
    lines: Sequence[SimulatedLine] = attrs.field(repr=False)
    lifecycle: Lifecycle
    worker: LineWorker = attrs.field(repr=False)
    outcomes: list[LineOutcome] = attrs.field(factory=list[LineOutcome], init=False, repr=False)

    def look(self, clock: float) -> Moment:
        """What it is like at a moment, with all done that is due by then."""
        moment = self.lifecycle.at(clock)
        self.work(moment.done)
        return moment

    def is_behind(self, clock: float) -> bool:
        """Whether more is due than is done."""
        return len(self.outcomes) < self.lifecycle.at(clock).done

    def work(self, done: int) -> None:
        """Do lines until so many are done."""
        while len(self.outcomes) < done:
            place = len(self.outcomes)
            date = self.created.date_of(self.lifecycle.done_at(place))
            self.outcomes.append(self.worker.work(self.id, self.lines[place], date))

    def cancel(self, clock: float) -> None:
        """Stop the work on it, unless it has ended."""
        self.lifecycle = self.lifecycle.cancel(clock)

    @property
    def succeeded(self) -> int:
        """How many lines have an answer."""
        return sum(outcome.is_ok for outcome in self.outcomes)

    @property
    def undone(self) -> Sequence[SimulatedLine]:
        """The lines that are not done."""
        return self.lines[len(self.outcomes) :]
