"""When requests go into a batch, and when one no longer relies on it."""

from collections.abc import Mapping
from math import inf
from pathlib import Path

import attrs
from attrs.validators import and_, deep_mapping, ge, gt, instance_of, lt, optional

from ..vendors import BatchDialect, dialect_named

__all__ = [
    "BatchApiPolicy",
]


def _dialect(value: str | BatchDialect | None) -> BatchDialect | None:
    return dialect_named(value) if isinstance(value, str) else value


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _tokens(value: int | Mapping[str, int] | None) -> Mapping[str, int]:
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"": value}


_count = and_(instance_of(int), gt(0))


@attrs.frozen(kw_only=True)
class BatchApiPolicy:
    """When requests go into a batch, and when one no longer relies on it.

    Args:
        journal: a file that keeps what was sent, for the next process after a crash; one process
            at a time, and one account, uses it. None keeps it in memory: what a process that dies
            had sent is then sent, and paid for, again.
        dialect: which Batch API the endpoint speaks: "openai", "together" or "anthropic", or a
            `BatchDialect` of your own; None for that of the endpoint's vendor.
        gather_s: a batch goes when nothing was added to it for so long, in seconds.
        max_gather_s: a batch goes when its first line has waited so long, in seconds.
        max_requests: lines in a batch at most; the provider's limit holds as well.
        max_bytes: of a batch at most; the provider's limit holds as well.
        enqueued_tokens: tokens of prompts that may be in batches at a time, by model, or for each
            model; the provider's "enqueued token limit". None for no limit but what it tells.
        poll_s: how long after a batch was made one first asks how it stands, in seconds.
        max_poll_s: the longest pause between two such questions, in seconds.
        live_margin_s: how long before its deadline a request is taken out and sent live, in
            seconds; None for 60 seconds, or a twentieth of its time if that is longer.
        window_s: how long after it was made a batch is over, whatever the provider says, in
            seconds.
        settle_s: how long after a call that made, perhaps, a batch one looks for it before one
            takes it that there is none, in seconds.
        abandon_s: how long a batch may be without anybody who waits for it before it is cancelled,
            in seconds. Whoever asks the same again within that time has it again. It is 0 without
            a journal.
        keep_s: how long an answer that nobody has fetched is kept in the journal, in seconds.
        is_acknowledged: an answer stays in the journal until the caller acknowledges it
            (`Troupe.acknowledge`), not only until it was delivered. Without it, a process that dies
            between delivery and its own write loses the answer.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
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
    window_s: float = attrs.field(default=86_400.0, validator=[gt(0), lt(inf)])
    settle_s: float = attrs.field(default=60.0, validator=[ge(0), lt(inf)])
    abandon_s: float = attrs.field(default=60.0, validator=[ge(0), lt(inf)])
    keep_s: float = attrs.field(default=30 * 86_400.0, validator=[gt(0), lt(inf)])
    is_acknowledged: bool = attrs.field(default=False, validator=instance_of(bool))

    def margin_s(self, left_s: float) -> float:
        """How long before its deadline a request is sent live that had so long, in seconds."""
        if left_s == inf:
            return 0.0
        return max(60.0, 0.05 * left_s) if self.live_margin_s is None else self.live_margin_s

    def enqueued_limit(self, model: str) -> float:
        """Tokens that may be in batches of a model at a time."""
        return self.enqueued_tokens.get(model, self.enqueued_tokens.get("", inf))
