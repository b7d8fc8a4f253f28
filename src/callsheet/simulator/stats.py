"""What a provider has done so far."""

from collections.abc import Mapping

import attrs

from .jsontext import Json

__all__ = [
    "BilledTokens",
    "ProviderStats",
    "RunningStats",
]


@attrs.frozen
class BilledTokens:
    """Tokens that cost.

    Args:
        input_tokens: of prompts.
        output_tokens: of answers.
    """

    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, input_tokens: int, output_tokens: int) -> "BilledTokens":
        """These and some more."""
        return BilledTokens(self.input_tokens + input_tokens, self.output_tokens + output_tokens)


@attrs.frozen(kw_only=True)
class ProviderStats:
    """Counts of model calls: requests to one of the endpoints that answer with a model's work.

    Files and batches, and the calls that control them, have counts of their own. Only the tokens
    are counted together, when a call or a line of a batch is done.

    A plain call whose client goes away is worked on, and billed, to its end, as real providers do;
    a stream stops, and is billed as far as it came.

    Args:
        requests: calls that arrived; each is answered, cancelled, broken or still in flight.
        answered: calls that were answered in full, with whatever status.
        by_status: those, by HTTP status.
        cancelled: calls whose client went away first.
        streams_cut: those of them that were streams, and stopped.
        abandoned: those of them that were plain calls, and were worked on to their end all the same.
        broken: calls that a fault left without an answer, or with only a part of one.
        rejected: answers of status 429.
        input_tokens: billed tokens of prompts.
        output_tokens: billed tokens of answers.
        billed: those tokens, by model and by how they are billed: "default", "flex", "priority" or
            "batch".
        abandoned_tokens: those of answers that were produced when the client was gone.
        in_flight: calls whose client is waiting.
        max_in_flight: the most there were at once.
        working: calls being worked on, the ones whose client is gone included.
        max_working: the most there were at once.
        control_requests: calls to the endpoints of files and batches, whatever their answer.
        files: files that were uploaded.
        batches: batches that were created.
        batch_lines: lines of batches that were worked on, with whatever result.
    """

    requests: int = 0
    answered: int = 0
    by_status: Mapping[int, int] = attrs.field(factory=dict[int, int])
    cancelled: int = 0
    streams_cut: int = 0
    abandoned: int = 0
    broken: int = 0
    rejected: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    billed: Mapping[str, Mapping[str, BilledTokens]] = attrs.field(
        factory=dict[str, Mapping[str, BilledTokens]]
    )
    abandoned_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    working: int = 0
    max_working: int = 0
    control_requests: int = 0
    files: int = 0
    batches: int = 0
    batch_lines: int = 0

    def as_json(self) -> dict[str, Json]:
        """The same as a JSON object; statuses become strings."""
        found: dict[str, Json] = attrs.asdict(self)
        found["by_status"] = {str(status): n for status, n in self.by_status.items()}
        return found


@attrs.define
class RunningStats:
    """The counts as they grow."""

    requests: int = 0
    by_status: dict[int, int] = attrs.field(factory=dict[int, int])
    streams_cut: int = 0
    cancelled: int = 0
    abandoned: int = 0
    broken: int = 0
    billed: dict[str, dict[str, BilledTokens]] = attrs.field(
        factory=dict[str, dict[str, BilledTokens]]
    )
    abandoned_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    working: int = 0
    max_working: int = 0
    control_requests: int = 0
    files: int = 0
    batches: int = 0
    batch_lines: int = 0

    def begin(self) -> None:
        """A call arrived."""
        self.requests += 1
        self.in_flight += 1
        self.working += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.max_working = max(self.max_working, self.working)

    def answer(self, status: int) -> None:
        """A call was answered in full."""
        self._end()
        self.by_status[status] = self.by_status.get(status, 0) + 1

    def break_off(self) -> None:
        """A fault ended a call without a whole answer."""
        self._end()
        self.broken += 1

    def cancel(self) -> None:
        """A call's client went away, and so the work on it ended."""
        self._end()
        self.cancelled += 1

    def cut_stream(self) -> None:
        """A stream's client went away, and so the stream ended."""
        self.cancel()
        self.streams_cut += 1

    def abandon(self) -> None:
        """A plain call's client went away, and the work on it goes on."""
        self.in_flight -= 1
        self.cancelled += 1

    def finish_abandoned(self, output_tokens: int) -> None:
        """That work ended."""
        self.working -= 1
        self.abandoned += 1
        self.abandoned_tokens += output_tokens

    def bill(self, model: str, tier: str, input_tokens: int, output_tokens: int) -> None:
        """Tokens were read or produced, and cost."""
        tiers = self.billed.setdefault(model, {})
        tiers[tier] = tiers.get(tier, BilledTokens()).plus(input_tokens, output_tokens)

    def renew(self) -> None:
        """Count anew.

        What is in flight stays counted as a request, so that the sum still holds (R9).
        """
        fresh = RunningStats(
            requests=self.in_flight,
            in_flight=self.in_flight,
            max_in_flight=self.in_flight,
            working=self.working,
            max_working=self.working,
        )
        # In place: the jobs that are running count here.
        for field in attrs.fields(RunningStats):
            setattr(self, field.name, getattr(fresh, field.name))

    def freeze(self) -> ProviderStats:
        """The counts at this moment."""
        bills = [bill for tiers in self.billed.values() for bill in tiers.values()]
        return ProviderStats(
            requests=self.requests,
            answered=sum(self.by_status.values()),
            by_status=dict(self.by_status),
            cancelled=self.cancelled,
            streams_cut=self.streams_cut,
            abandoned=self.abandoned,
            broken=self.broken,
            rejected=self.by_status.get(429, 0),
            input_tokens=sum(bill.input_tokens for bill in bills),
            output_tokens=sum(bill.output_tokens for bill in bills),
            billed={model: dict(tiers) for model, tiers in self.billed.items()},
            abandoned_tokens=self.abandoned_tokens,
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
            working=self.working,
            max_working=self.max_working,
            control_requests=self.control_requests,
            files=self.files,
            batches=self.batches,
            batch_lines=self.batch_lines,
        )

    def _end(self) -> None:
        self.in_flight -= 1
        self.working -= 1
