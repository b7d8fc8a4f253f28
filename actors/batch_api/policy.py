"""Settings of the Batch API stage."""

from collections.abc import Mapping
from math import inf
from pathlib import Path

import attrs
from attrs.validators import and_, optional

from ..validation import as_path, deep_mapping, ge, gt, instance_of, lt
from ..vendors import BatchDialect, dialect_named


def _dialect(value: str | BatchDialect | None) -> BatchDialect | None:
    if not isinstance(value, str):
        return value
    try:
        return dialect_named(value)
    except ValueError as error:
        raise ValueError(f"dialect: {error}") from None


def _path(value: str | Path | None) -> Path | None:
    return as_path(value, "journal")


def _tokens(value: int | Mapping[str, int] | None) -> Mapping[str, int]:
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"": value}


_count = and_(instance_of(int), gt(0))
_seconds = and_(gt(0.0), lt(inf))


@attrs.frozen(kw_only=True)
class BatchApiPolicy:
    """Settings of the Batch API stage: when a batch is sent, polled, and given up.

    Args:
        journal: the file that tells the next process what was sent, after a crash. One process at a
            time uses it, with one account. None keeps the journal in memory: what a process that
            dies has sent is then sent, and paid for, again.
        dialect: the Batch API that the endpoint speaks: "openai", "together", "anthropic",
            "gemini", "groq", "mistral" or "openrouter", or a `BatchDialect`; None for that of the
            endpoint's vendor.
        gather_s: seconds without a new request after which a batch is sent.
        max_gather_s: seconds that the first request of a batch waits at most.
        max_requests: the number of requests in a batch; the provider's limit applies as well.
        max_bytes: the bytes of a batch; the provider's limit applies as well.
        enqueued_tokens: the tokens of prompts that may be in batches at a time, by model or for
            each model (the provider's "enqueued token limit"). None for no limit but what the
            provider states when it refuses a batch.
        poll_s: seconds from the creation of a batch to the first poll.
        max_poll_s: the longest pause between two polls, in seconds.
        live_margin_s: seconds before its deadline at which a request is sent live; None for 60
            seconds, or a twentieth of the request's time if that is longer.
        window_s: seconds after its creation at which a batch counts as over, whatever the provider
            reports; None for those of the Batch API. Its results have `late_s` more.
        settle_s: seconds for which a batch that may have been created is looked for before it is
            created again.
        late_s: seconds after the end of a batch for which results that are missing are waited for:
            a file that the provider does not name yet, that is not there yet, or that lacks lines.
            After that, the lines without a result are sent live, and may be billed twice.
        abandon_s: seconds without a caller after which a batch is cancelled. A caller that sends
            the same request within that time gets the batch's result. It is 0 without a journal.
        keep_s: seconds for which the journal keeps a result that no caller has claimed.
        is_required: whether a request that the Batch API cannot take fails with `BatchUnavailable`,
            instead of being sent live: the endpoint has no Batch API, or none for this kind of
            request, or refuses the batch. Near its deadline, and if its line has failed for a
            transient reason, a request is sent live all the same.
        is_acknowledged: whether a result stays in the journal until the caller acknowledges it
            (`Troupe.acknowledge`), instead of until it is delivered. Without it, a process that
            dies between the delivery and its own write loses the result.

    Raises:
        ValueError, TypeError: a value is out of range; the message names the field.
    """

    journal: Path | None = attrs.field(default=None, converter=_path)
    dialect: BatchDialect | None = attrs.field(default=None, converter=_dialect)
    gather_s: float = attrs.field(default=1.0, validator=[ge(0), lt(inf)])
    max_gather_s: float = attrs.field(default=60.0, validator=[ge(0), lt(inf)])
    max_requests: int | None = attrs.field(default=None, validator=optional(_count))
    max_bytes: int | None = attrs.field(default=None, validator=optional(_count))
    enqueued_tokens: Mapping[str, int] = attrs.field(
        default=None,
        converter=_tokens,
        validator=deep_mapping(instance_of(str), _count),
        hash=False,
    )
    poll_s: float = attrs.field(default=5.0, validator=[gt(0), lt(inf)])
    max_poll_s: float = attrs.field(default=300.0, validator=[gt(0), lt(inf)])
    live_margin_s: float | None = attrs.field(default=None, validator=optional(ge(0)))
    window_s: float | None = attrs.field(default=None, validator=optional(_seconds))
    settle_s: float = attrs.field(default=60.0, validator=[ge(0), lt(inf)])
    late_s: float = attrs.field(default=1800.0, validator=[ge(0), lt(inf)])
    abandon_s: float = attrs.field(default=60.0, validator=[ge(0), lt(inf)])
    keep_s: float = attrs.field(default=30 * 86_400.0, validator=[gt(0), lt(inf)])
    is_required: bool = attrs.field(default=False, validator=instance_of(bool))
    is_acknowledged: bool = attrs.field(default=False, validator=instance_of(bool))

    def margin_s(self, left_s: float) -> float:
        """Return how many seconds before its deadline a request is sent live.

        Args:
            left_s: seconds that the request had when it arrived.
        """
        if left_s == inf:
            return 0.0
        return max(60.0, 0.05 * left_s) if self.live_margin_s is None else self.live_margin_s

    def enqueued_limit(self, model: str) -> float:
        """Return the tokens that may be in batches of a model at a time."""
        return self.enqueued_tokens.get(model, self.enqueued_tokens.get("", inf))
