"""The plan of batches: which lines are sent together, and when. Pure (R14)."""

from collections.abc import Sequence
from math import inf
from typing import Generic, TypeVar

import attrs

from ..vendors import BatchDialect
from .policy import BatchApiPolicy

T = TypeVar("T")


@attrs.frozen
class BatchGroup:
    """What all lines of a batch have in common.

    Args:
        path: the path of the requests, after the base URL.
        model: the provider's name of the model.
    """

    path: str
    model: str


@attrs.frozen
class LineSize:
    """The size of a line, or of a batch.

    Args:
        bytes: the encoded bytes.
        tokens: the estimated tokens of the prompt.
        inputs: the number of texts to embed.
    """

    bytes: int
    tokens: int = 0
    inputs: int = 0


@attrs.frozen
class BatchSizeLimits:
    """The limits of one batch.

    Args:
        requests: the number of lines.
        bytes: the encoded bytes of all lines.
        inputs: the number of texts to embed; 0 for no limit.
    """

    requests: int
    bytes: int
    inputs: int


def size_limits(policy: BatchApiPolicy, dialect: BatchDialect | None) -> BatchSizeLimits:
    """Return the limits of one batch: the provider's, and those of the policy.

    Args:
        policy: may set lower limits than the provider's.
        dialect: the provider's Batch API; without one, no line fits into a batch.
    """
    if dialect is None:
        return BatchSizeLimits(0, 0, 0)
    requests = min(dialect.max_requests, policy.max_requests or dialect.max_requests)
    size = min(dialect.max_bytes, policy.max_bytes or dialect.max_bytes)
    return BatchSizeLimits(requests, size, dialect.max_inputs)


@attrs.frozen
class PlannedBatch(Generic[T]):
    """Lines that are sent as one batch.

    Args:
        group: their path and model.
        lines: at least one, in the order in which they arrived.
        tokens: the estimated tokens of all their prompts.
    """

    group: BatchGroup
    lines: tuple[T, ...]
    tokens: int


@attrs.define(eq=False)
class _Gathering(Generic[T]):
    """The lines of one group that wait, each with its size and when it arrived."""

    waiting: dict[int, tuple[T, LineSize, float]] = attrs.field(
        factory=dict[int, tuple[T, LineSize, float]]
    )
    bytes: int = 0
    tokens: int = 0
    inputs: int = 0
    latest_at: float = -inf
    parked_until: float = -inf


class BatchPlan(Generic[T]):
    """Gathers lines, and decides when they are sent as a batch.

    The tokens of a model's batches count until `ended`; lines beyond the model's limit wait.

    Args:
        policy: when a batch is sent, and how many tokens may be in batches.
        bounds: the limits of one batch.
    """

    def __init__(self, policy: BatchApiPolicy, bounds: BatchSizeLimits) -> None:
        self._policy = policy
        self._bounds = bounds
        self._groups: dict[BatchGroup, _Gathering[T]] = {}
        self._where: dict[int, BatchGroup] = {}  # {id() of a line: its group}
        self._enqueued: dict[str, int] = {}  # {model: tokens in batches}
        self._limits: dict[str, float] = {}  # {model: tokens that the provider has stated}

    def __len__(self) -> int:
        return len(self._where)

    def takes(self, group: BatchGroup, size: LineSize) -> bool:
        """Return whether a line fits into a batch of its own."""
        bounds = self._bounds
        return (
            size.bytes <= bounds.bytes
            and size.inputs <= bounds.inputs
            and size.tokens <= self.limit(group.model)
        )

    def add(self, group: BatchGroup, line: T, size: LineSize, now: float) -> None:
        """Add a line that `takes` accepts."""
        gathering = self._groups.setdefault(group, _Gathering[T]())
        gathering.waiting[id(line)] = (line, size, now)
        gathering.latest_at = now
        _count(gathering, size, 1)
        self._where[id(line)] = group

    def discard(self, line: T) -> bool:
        """Remove a line, and no other one (L5). Return whether it was here."""
        group = self._where.pop(id(line), None)
        if group is None:
            return False
        gathering = self._groups[group]
        _, size, _ = gathering.waiting.pop(id(line))
        _count(gathering, size, -1)
        if not gathering.waiting and gathering.parked_until == -inf:
            del self._groups[group]
        return True

    def limit(self, model: str) -> float:
        """Return the tokens that may be in a model's batches at a time."""
        return min(self._policy.enqueued_limit(model), self._limits.get(model, inf))

    def enqueued(self, model: str) -> int:
        """Return the tokens that are in a model's batches."""
        return self._enqueued.get(model, 0)

    def begun(self, group: BatchGroup, tokens: int) -> None:
        """Count the tokens of a batch, such as one that the journal contains."""
        self._enqueued[group.model] = self.enqueued(group.model) + tokens

    def ended(self, group: BatchGroup, tokens: int) -> None:
        """Release the tokens of a batch that has ended."""
        self._enqueued[group.model] = max(0, self.enqueued(group.model) - tokens)
        for one, gathering in self._groups.items():
            if one.model == group.model:
                gathering.parked_until = -inf

    def overflowed(
        self, group: BatchGroup, tokens: int, stated_limit: int | None, until: float
    ) -> None:
        """Lower the limit after the provider has refused a batch for too many enqueued tokens.

        Args:
            group: the group of the batch, which has `ended`.
            tokens: the tokens of the batch.
            stated_limit: the limit that the provider stated, if any.
            until: when the next batch of the group may be sent, unless another one ends before; on
                Trio's clock.
        """
        others = self.enqueued(group.model)
        if stated_limit is not None:
            self._limits[group.model] = stated_limit
        elif not others:  # no other batch was enqueued
            self._limits[group.model] = max(1, min(tokens, self.limit(group.model)) // 2)
        self._groups.setdefault(group, _Gathering[T]()).parked_until = until

    def take(self, now: float, *, draining: bool = False) -> PlannedBatch[T] | None:
        """Return a batch to send at `now`; None if none is due."""
        for group, gathering in self._groups.items():
            if self._due_at(group, gathering) <= now or (
                draining and gathering.parked_until <= now
            ):
                chosen = self._choose(group, gathering)
                if chosen:
                    tokens = sum(size.tokens for _, size in chosen)
                    for line, _ in chosen:
                        self.discard(line)
                    gathering.waiting = dict(gathering.waiting)  # else it stays large
                    self.begun(group, tokens)
                    return PlannedBatch(group, tuple(line for line, _ in chosen), tokens)
        return None

    @property
    def due_at(self) -> float:
        """When the next batch is due, if nothing changes before; infinity if none is."""
        return min(
            (
                self._due_at(group, gathering)
                for group, gathering in self._groups.items()
                if self._choose(group, gathering, most=1)
            ),
            default=inf,
        )

    def oversize(self, group: BatchGroup) -> Sequence[T]:
        """Return the lines that are above the model's limit of tokens since it was lowered."""
        limit = self.limit(group.model)
        gathering = self._groups.get(group)
        waiting = [] if gathering is None else list(gathering.waiting.values())
        return [line for line, size, _ in waiting if size.tokens > limit]

    def _due_at(self, group: BatchGroup, gathering: _Gathering[T]) -> float:
        if not gathering.waiting:
            return inf
        bounds, policy = self._bounds, self._policy
        is_full = (
            len(gathering.waiting) >= bounds.requests
            or gathering.bytes >= bounds.bytes
            or gathering.inputs >= bounds.inputs > 0
            or gathering.tokens >= self.limit(group.model)
        )
        first_at = next(iter(gathering.waiting.values()))[2]
        quiet_at = min(gathering.latest_at + policy.gather_s, first_at + policy.max_gather_s)
        return max(gathering.parked_until, -inf if is_full else quiet_at)

    def _choose(
        self, group: BatchGroup, gathering: _Gathering[T], most: int | None = None
    ) -> list[tuple[T, LineSize]]:
        """Return the first lines that fit into one batch and into the model's limit of tokens."""
        bounds = self._bounds
        requests = bounds.requests if most is None else most
        room = self.limit(group.model) - self.enqueued(group.model)
        chosen: list[tuple[T, LineSize]] = []
        total = LineSize(0)
        for line, size, _ in gathering.waiting.values():
            total = LineSize(
                total.bytes + size.bytes, total.tokens + size.tokens, total.inputs + size.inputs
            )
            if (
                len(chosen) >= requests
                or total.bytes > bounds.bytes
                or total.inputs > bounds.inputs
                or total.tokens > room
            ):
                break
            chosen.append((line, size))
        return chosen


def _count(gathering: "_Gathering[T]", size: LineSize, sign: int) -> None:
    gathering.bytes += sign * size.bytes
    gathering.tokens += sign * size.tokens
    gathering.inputs += sign * size.inputs
