"""Which lines make a batch, and when it goes. Pure (R14)."""

from collections.abc import Sequence
from math import inf
from typing import Generic, TypeVar

import attrs

from .policy import BatchApiPolicy

__all__ = [
    "BatchGroup",
    "BatchPlan",
    "BatchSizeLimits",
    "LineSize",
    "PlannedBatch",
]


T = TypeVar("T")


@attrs.frozen
class BatchGroup:
    """What all lines of one batch have in common.

    Args:
        path: after the base URL.
        model: the provider's name of it.
    """

    path: str
    model: str


@attrs.frozen
class LineSize:
    """What a line takes.

    Args:
        bytes: in the batch.
        tokens: of the prompt, as estimated.
        inputs: texts to embed.
    """

    bytes: int
    tokens: int = 0
    inputs: int = 0


@attrs.frozen
class BatchSizeLimits:
    """What a batch may have of each.

    Args:
        requests: lines.
        bytes: of all.
        inputs: texts to embed.
    """

    requests: int
    bytes: int
    inputs: int


@attrs.frozen
class PlannedBatch(Generic[T]):
    """Lines that go together.

    Args:
        pool: what they have in common.
        lines: at least one, in the order they came.
        tokens: of all their prompts.
    """

    pool: BatchGroup
    lines: tuple[T, ...]
    tokens: int


@attrs.define(eq=False)
class _Pooled(Generic[T]):
    """The lines that wait in one pool; each with what it takes and the instant it came."""

    waiting: dict[int, tuple[T, LineSize, float]] = attrs.field(
        factory=dict[int, tuple[T, LineSize, float]]
    )
    bytes: int = 0
    tokens: int = 0
    inputs: int = 0
    latest_at: float = -inf
    parked_until: float = -inf


class BatchPlan(Generic[T]):
    """Gathers lines, and says when they make a batch.

    The tokens of a model's batches are counted until `ended`; what is over its limit waits for
    that.

    Args:
        policy: when a batch goes.
        bounds: how large it may be.
    """

    def __init__(self, policy: BatchApiPolicy, bounds: BatchSizeLimits) -> None:
        self._policy = policy
        self._bounds = bounds
        self._pools: dict[BatchGroup, _Pooled[T]] = {}
        self._where: dict[int, BatchGroup] = {}  # {id of a line: its pool}
        self._enqueued: dict[str, int] = {}  # {model: tokens in batches}
        self._limits: dict[str, float] = {}  # {model: tokens that the provider allows}

    def __len__(self) -> int:
        return len(self._where)

    def takes(self, pool: BatchGroup, size: LineSize) -> bool:
        """Whether a line is no larger than a batch may be."""
        bounds = self._bounds
        return (
            size.bytes <= bounds.bytes
            and size.inputs <= bounds.inputs
            and size.tokens <= self.limit(pool.model)
        )

    def add(self, pool: BatchGroup, line: T, size: LineSize, now: float) -> None:
        """One more line, which it takes."""
        pooled = self._pools.setdefault(pool, _Pooled[T]())
        pooled.waiting[id(line)] = (line, size, now)
        pooled.latest_at = now
        _count(pooled, size, 1)
        self._where[id(line)] = pool

    def discard(self, line: T) -> bool:
        """A line has left; the others are not concerned (L5). Whether it was here."""
        pool = self._where.pop(id(line), None)
        if pool is None:
            return False
        pooled = self._pools[pool]
        _, size, _ = pooled.waiting.pop(id(line))
        _count(pooled, size, -1)
        if not pooled.waiting and pooled.parked_until == -inf:
            del self._pools[pool]
        return True

    def limit(self, model: str) -> float:
        """Tokens that may be in a model's batches at a time."""
        return min(self._policy.enqueued_limit(model), self._limits.get(model, inf))

    def enqueued(self, model: str) -> int:
        """Tokens that are in a model's batches."""
        return self._enqueued.get(model, 0)

    def begun(self, pool: BatchGroup, tokens: int) -> None:
        """A batch is there that was not taken from here."""
        self._enqueued[pool.model] = self.enqueued(pool.model) + tokens

    def ended(self, pool: BatchGroup, tokens: int) -> None:
        """A batch has ended, so that its model has room again."""
        self._enqueued[pool.model] = max(0, self.enqueued(pool.model) - tokens)
        for one, pooled in self._pools.items():
            if one.model == pool.model:
                pooled.parked_until = -inf

    def overflowed(self, pool: BatchGroup, tokens: int, told: int | None, until: float) -> None:
        """The provider has refused a batch, because too many tokens are enqueued; it has `ended`.

        Args:
            pool: of the batch.
            tokens: of the batch.
            told: the limit, if the provider told it.
            until: when the next batch of the pool may go, unless another one ends before.
        """
        others = self.enqueued(pool.model)
        if told is not None:
            self._limits[pool.model] = told
        elif not others:  # it did not even fit alone
            self._limits[pool.model] = max(1, min(tokens, self.limit(pool.model)) // 2)
        self._pools.setdefault(pool, _Pooled[T]()).parked_until = until

    def take(self, now: float, *, draining: bool = False) -> PlannedBatch[T] | None:
        """The batch that goes at `now`, or None if none does yet."""
        for pool, pooled in self._pools.items():
            if self._due_at(pool, pooled) <= now or (draining and pooled.parked_until <= now):
                chosen = self._choose(pool, pooled)
                if chosen:
                    tokens = sum(size.tokens for _, size in chosen)
                    for line, _ in chosen:
                        self.discard(line)
                    pooled.waiting = dict(pooled.waiting)  # one that has lost many is slow
                    self.begun(pool, tokens)
                    return PlannedBatch(pool, tuple(line for line, _ in chosen), tokens)
        return None

    @property
    def due_at(self) -> float:
        """When to look again, if nothing changes before; infinity if never."""
        return min(
            (
                self._due_at(pool, pooled)
                for pool, pooled in self._pools.items()
                if self._choose(pool, pooled, most=1)
            ),
            default=inf,
        )

    def oversize(self, pool: BatchGroup) -> Sequence[T]:
        """Lines that fit into no batch any more, since the limit of tokens was told."""
        limit = self.limit(pool.model)
        pooled = self._pools.get(pool)
        waiting = [] if pooled is None else list(pooled.waiting.values())
        return [line for line, size, _ in waiting if size.tokens > limit]

    def _due_at(self, pool: BatchGroup, pooled: _Pooled[T]) -> float:
        if not pooled.waiting:
            return inf
        bounds, policy = self._bounds, self._policy
        is_full = (
            len(pooled.waiting) >= bounds.requests
            or pooled.bytes >= bounds.bytes
            or pooled.inputs >= bounds.inputs > 0
            or pooled.tokens >= self.limit(pool.model)
        )
        first_at = next(iter(pooled.waiting.values()))[2]
        quiet_at = min(pooled.latest_at + policy.gather_s, first_at + policy.max_gather_s)
        return max(pooled.parked_until, -inf if is_full else quiet_at)

    def _choose(
        self, pool: BatchGroup, pooled: _Pooled[T], most: int | None = None
    ) -> list[tuple[T, LineSize]]:
        """The first lines that fit together, and into what is left of the limit of tokens."""
        bounds = self._bounds
        requests = bounds.requests if most is None else most
        room = self.limit(pool.model) - self.enqueued(pool.model)
        chosen: list[tuple[T, LineSize]] = []
        total = LineSize(0)
        for line, size, _ in pooled.waiting.values():
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


def _count(pooled: "_Pooled[T]", size: LineSize, sign: int) -> None:
    pooled.bytes += sign * size.bytes
    pooled.tokens += sign * size.tokens
    pooled.inputs += sign * size.inputs
