"""When a batch goes: by size, or by the time its first member has waited. Pure (R14)."""

from math import inf
from typing import Generic, Literal, TypeVar

import attrs
from attrs.validators import ge, instance_of

__all__ = ["Batch", "BatchFormer", "Batching"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Batching:
    """When to send what is gathered.

    Args:
        max_size: a batch goes as soon as it has this many members.
        max_wait_s: a batch goes when its first member has waited this long, in seconds. 0 gathers
            what is asked for at the same moment and delays nobody.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    max_size: int = attrs.field(default=10, validator=[instance_of(int), ge(1)])
    max_wait_s: float = attrs.field(default=0.0, validator=ge(0))


@attrs.frozen
class Batch(Generic[T]):
    """What goes together.

    Args:
        members: in the order they came, at least one.
        reason: why it goes: it has its size, its time has come, or nothing more will come.
        waited_s: how long its first member has waited.
    """

    members: tuple[T, ...]
    reason: Literal["size", "time", "drain"]
    waited_s: float


class BatchFormer(Generic[T]):
    """Gathers members one by one and says when they make a batch.

    The clock of a batch starts with its first member, not with the batch before it, so a lone
    request is never sent late, or early, by chance.
    """

    def __init__(self, batching: Batching) -> None:
        self._batching = batching
        self._members: list[tuple[T, float]] = []  # with the instant each came in

    def __len__(self) -> int:
        return len(self._members)

    @property
    def due_at(self) -> float:
        """When the next batch goes for its time, if it does not fill before; infinity if empty."""
        return self._members[0][1] + self._batching.max_wait_s if self._members else inf

    def add(self, member: T, now: float) -> None:
        """One more came in at `now`, in seconds of any clock that does not go back."""
        self._members.append((member, now))

    def discard(self, member: T) -> None:
        """One has left; the others are not concerned (L5)."""
        self._members = [entry for entry in self._members if entry[0] is not member]

    def take(self, now: float, *, draining: bool = False) -> Batch[T] | None:
        """The batch that goes at `now`, or None if none does yet."""
        size = self._batching.max_size
        if not self._members:
            return None
        reason: Literal["size", "time", "drain"]
        if len(self._members) >= size:
            reason = "size"
        elif now >= self.due_at:
            reason = "time"
        elif draining:
            reason = "drain"
        else:
            return None
        taken, self._members = self._members[:size], self._members[size:]
        return Batch(tuple(member for member, _ in taken), reason, now - taken[0][1])
