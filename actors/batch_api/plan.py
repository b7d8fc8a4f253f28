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
        group: what they have in common.
        lines: at least one, in the order they came.
        tokens: of all their prompts.
    """

    group: BatchGroup
    lines: tuple[T, ...]
    tokens: int


@attrs.define(eq=False)
class _Gathering(Generic[T]):
    """The lines that wait in one group; each with what it takes and the instant it came."""

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
        self._groups: dict[BatchGroup, _Gathering[T]] = {}
        self._where: dict[int, BatchGroup] = {}  # {id of a line: its group}
        self._enqueued: dict[str, int] = {}  # {model: tokens in batches}
        self._limits: dict[str, float] = {}  # {model: tokens that the provider allows}

    def __len__(self) -> int:
        return len(self._where)

    def takes(self, group: BatchGroup, size: LineSize) -> bool:
        """Whether a line is no larger than a batch may be."""
        bounds = self._bounds
        return (
            size.bytes <= bounds.bytes
            and size.inputs <= bounds.inputs
            and size.tokens <= self.limit(group.model)
        )

    def add(self, group: BatchGroup, line: T, size: LineSize, now: float) -> None:
        """One more line, which it takes."""
        gathering = self._groups.setdefault(group, _Gathering[T]())
        gathering.waiting[id(line)] = (line, size, now)
        gathering.latest_at = now
        _count(gathering, size, 1)
        self._where[id(line)] = group

    def discard(self, line: T) -> bool:
        """A line has left; the others are not concerned (L5). Whether it was here."""
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
        """Tokens that may be in a model's batches at a time."""
        return min(self._policy.enqueued_limit(model), self._limits.get(model, inf))

    def enqueued(self, model: str) -> int:
        """Tokens that are in a model's batches."""
        return self._enqueued.get(model, 0)

    def begun(self, group: BatchGroup, tokens: int) -> None:
        """A batch is there that was not taken from here."""
        self._enqueued[group.model] = self.enqueued(group.model) + tokens

    def ended(self, group: BatchGroup, tokens: int) -> None:
        """A batch has ended, so that its model has room again."""
        self._enqueued[group.model] = max(0, self.enqueued(group.model) - tokens)
        for one, gathering in self._groups.items():
            if one.model == group.model:
                gathering.parked_until = -inf

    def overflowed(
        self, group: BatchGroup, tokens: int, stated_limit: int | None, until: float
    ) -> None:
        """The provider has refused a batch, because too many tokens are enqueued; it has `ended`.

        Args:
            group: of the batch.
            tokens: of the batch.
            stated_limit: the limit, if the provider told it.
            until: when the next batch of the group may go, unless another one ends before.
        """
        others = self.enqueued(group.model)
        if stated_limit is not None:
            self._limits[group.model] = stated_limit
        elif not others:  # it did not even fit alone
            self._limits[group.model] = max(1, min(tokens, self.limit(group.model)) // 2)
        self._groups.setdefault(group, _Gathering[T]()).parked_until = until

    def take(self, now: float, *, draining: bool = False) -> PlannedBatch[T] | None:
        """The batch that goes at `now`, or None if none does yet."""
        for group, gathering in self._groups.items():
            if self._due_at(group, gathering) <= now or (
                draining and gathering.parked_until <= now
            ):
                chosen = self._choose(group, gathering)
                if chosen:
                    tokens = sum(size.tokens for _, size in chosen)
                    for line, _ in chosen:
                        self.discard(line)
                    gathering.waiting = dict(gathering.waiting)  # one that has lost many is slow
                    self.begun(group, tokens)
                    return PlannedBatch(group, tuple(line for line, _ in chosen), tokens)
        return None

    @property
    def due_at(self) -> float:
        """When to look again, if nothing changes before; infinity if never."""
        return min(
            (
                self._due_at(group, gathering)
                for group, gathering in self._groups.items()
                if self._choose(group, gathering, most=1)
            ),
            default=inf,
        )

    def oversize(self, group: BatchGroup) -> Sequence[T]:
        """Lines that fit into no batch any more, since the limit of tokens was told."""
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
        """The first lines that fit together, and into what is left of the limit of tokens."""
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
