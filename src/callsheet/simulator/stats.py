"""The counts of a provider."""

from collections.abc import Mapping

import attrs

from .caching import NO_CACHE, CacheUse
from .wire import Json


@attrs.frozen
class BilledTokens:
    """Billed tokens.

    Args:
        input_tokens: the tokens of prompts.
        output_tokens: the tokens of responses.
        cached_tokens: the input tokens that were read from the prompt cache.
        written_tokens: the input tokens that were written to it at a price.
        saved_tokens: what the cache saved, in tokens at the price of input; negative if its writes
            cost more than its reads saved.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    saved_tokens: float = 0.0

    def plus(
        self, input_tokens: int, output_tokens: int, cache: CacheUse = NO_CACHE
    ) -> "BilledTokens":
        """Return the sum of these and further tokens."""
        return BilledTokens(
            self.input_tokens + input_tokens,
            self.output_tokens + output_tokens,
            self.cached_tokens + cache.read,
            self.written_tokens + cache.written,
            self.saved_tokens + cache.saved,
        )

    def as_json(self) -> dict[str, Json]:
        """Return the tokens as a JSON object, those of the cache only if it was used."""
        found: dict[str, Json] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }
        if self.cached_tokens or self.written_tokens:
            found["cached_tokens"] = self.cached_tokens
            found["written_tokens"] = self.written_tokens
            found["saved_tokens"] = round(self.saved_tokens, 3)
        return found


@attrs.frozen(kw_only=True)
class ProviderStats:
    """The counts of model calls: requests to the endpoints that respond with a model's output.

    Files, batches, and the calls that control them have separate counts. Only tokens are counted
    together, when a call or a line of a batch ends.

    A plain call whose client disconnects is completed and billed, as by real providers; a stream
    stops, and is billed up to that point.

    Args:
        requests: calls that arrived; each is answered, cancelled, broken or still in flight.
        answered: calls with a complete response, of any status.
        by_status: {HTTP status: answered calls}.
        cancelled: calls whose client disconnected first.
        streams_cut: cancelled calls that were streams, and stopped.
        abandoned: cancelled calls that were not streams, and were completed without a client.
        broken: calls that a fault left without a complete response.
        rejected: responses with status 429.
        input_tokens: billed tokens of prompts.
        output_tokens: billed tokens of responses.
        billed: {model: {tier: billed tokens}}, with the tiers "default", "flex", "priority" and
            "batch".
        abandoned_tokens: output tokens that were produced after the client disconnected.
        in_flight: calls whose client is waiting.
        max_in_flight: the maximum of `in_flight`.
        working: calls being processed, abandoned ones included.
        max_working: the maximum of `working`.
        control_requests: calls about files, batches and background responses, and counts of tokens,
            of any result.
        files: number of uploaded files.
        batches: number of created batches.
        batch_lines: processed lines of batches, of any result.
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
        """Return the counts as a JSON object; statuses become strings."""
        found: dict[str, Json] = attrs.asdict(self)
        found["billed"] = {
            model: {tier: bill.as_json() for tier, bill in tiers.items()}
            for model, tiers in self.billed.items()
        }
        found["by_status"] = {str(status): n for status, n in self.by_status.items()}
        return found


@attrs.define
class RunningStats:
    """The counts while the provider runs."""

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
        """Count a call that arrived."""
        self.requests += 1
        self.in_flight += 1
        self.working += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.max_working = max(self.max_working, self.working)

    def answer(self, status: int) -> None:
        """Count a complete response."""
        self._end()
        self.by_status[status] = self.by_status.get(status, 0) + 1

    def break_off(self) -> None:
        """Count a call that a fault ended without a complete response."""
        self._end()
        self.broken += 1

    def cancel(self) -> None:
        """Count a call whose client disconnected, which ended the work on it."""
        self._end()
        self.cancelled += 1

    def cut_stream(self) -> None:
        """Count a stream whose client disconnected, which ended it."""
        self.cancel()
        self.streams_cut += 1

    def abandon(self) -> None:
        """Count a plain call whose client disconnected while the work goes on."""
        self.in_flight -= 1
        self.cancelled += 1

    def finish_abandoned(self, output_tokens: int) -> None:
        """Count the end of that work."""
        self.working -= 1
        self.abandoned += 1
        self.abandoned_tokens += output_tokens

    def bill(
        self,
        model: str,
        tier: str,
        input_tokens: int,
        output_tokens: int,
        cache: CacheUse = NO_CACHE,
    ) -> None:
        """Bill tokens."""
        tiers = self.billed.setdefault(model, {})
        tiers[tier] = tiers.get(tier, BilledTokens()).plus(input_tokens, output_tokens, cache)

    def renew(self) -> None:
        """Reset the counts.

        Calls in flight stay counted as requests, so that the sum still holds (R9).
        """
        fresh = RunningStats(
            requests=self.in_flight,
            in_flight=self.in_flight,
            max_in_flight=self.in_flight,
            working=self.working,
            max_working=self.working,
        )
        # In place, because running jobs count in this object.
        for field in attrs.fields(RunningStats):
            setattr(self, field.name, getattr(fresh, field.name))

    def freeze(self) -> ProviderStats:
        """Return a snapshot of the counts."""
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
