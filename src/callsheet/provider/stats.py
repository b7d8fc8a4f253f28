"""What a provider has done so far."""

from collections.abc import Mapping

import attrs

from .jsontext import Json

__all__ = ["ProviderStats", "Tally"]


@attrs.frozen(kw_only=True)
class ProviderStats:
    """Counts of model calls: requests to chat completions, completions and embeddings.

    Args:
        requests: calls that arrived; each is answered, cancelled, broken or still in flight.
        answered: calls that were answered in full, with whatever status.
        by_status: those, by HTTP status.
        cancelled: calls whose client went away first.
        broken: calls that a fault left without an answer, or with only a part of one.
        rejected: answers of status 429.
        input_tokens: billed tokens of prompts.
        output_tokens: billed tokens of answers.
        in_flight: calls being worked on.
        max_in_flight: the most there were at once.
    """

    requests: int = 0
    answered: int = 0
    by_status: Mapping[int, int] = attrs.field(factory=dict[int, int])
    cancelled: int = 0
    broken: int = 0
    rejected: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0

    def as_json(self) -> dict[str, Json]:
        """The same as a JSON object; statuses become strings."""
        found: dict[str, Json] = attrs.asdict(self)
        found["by_status"] = {str(status): n for status, n in self.by_status.items()}
        return found


@attrs.define
class Tally:
    """The counts as they grow."""

    requests: int = 0
    by_status: dict[int, int] = attrs.field(factory=dict[int, int])
    cancelled: int = 0
    broken: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0

    def begin(self) -> None:
        """A call arrived."""
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def answer(self, status: int) -> None:
        """A call was answered in full."""
        self.in_flight -= 1
        self.by_status[status] = self.by_status.get(status, 0) + 1

    def cancel(self) -> None:
        """A call's client went away."""
        self.in_flight -= 1
        self.cancelled += 1

    def break_off(self) -> None:
        """A fault ended a call without a whole answer."""
        self.in_flight -= 1
        self.broken += 1

    def bill(self, input_tokens: int, output_tokens: int) -> None:
        """A call's answer was worked out, and costs."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def renewed(self) -> "Tally":
        """A tally that starts now.

        What is in flight stays counted as a request, so that the sum still holds (R9).
        """
        return Tally(
            requests=self.in_flight, in_flight=self.in_flight, max_in_flight=self.in_flight
        )

    def freeze(self) -> ProviderStats:
        """The counts at this moment."""
        return ProviderStats(
            requests=self.requests,
            answered=sum(self.by_status.values()),
            by_status=dict(self.by_status),
            cancelled=self.cancelled,
            broken=self.broken,
            rejected=self.by_status.get(429, 0),
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
        )
