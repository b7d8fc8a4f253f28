"""How much a cache of answers may take, and for how long it holds them."""

from os import PathLike
from pathlib import Path

import attrs
import platformdirs
from attrs.validators import ge, gt, instance_of, optional

__all__ = [
    "CachePolicy",
]


_MONTH_S: float | None = 30 * 86_400.0
_MIB = 2**20


def _path(path: str | PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _usual_path() -> Path:
    return platformdirs.user_cache_path("callsheet") / "answers.sqlite"


@attrs.frozen(kw_only=True)
class CachePolicy:
    """What is kept where.

    Args:
        path: the file that outlives the program; it may be shared by several programs of one
            machine. By default it is where this system keeps caches; None keeps answers in memory
            only.
        ttl_s: for how many seconds an answer holds, by the wall clock; None for ever.
        max_bytes: how large the file may grow, at least 1 MiB; the answers that were not used for
            the longest time make room.
        memory_bytes: what the answers in memory may take, about; 0 keeps none there.
        memory_entries: how many of them there may be.

    Raises:
        ValueError, TypeError: a value is out of its range, or no such thing; names the field.
    """

    path: Path | None = attrs.field(factory=_usual_path, converter=_path)
    ttl_s: float | None = attrs.field(default=_MONTH_S, validator=optional(gt(0.0)))
    max_bytes: int = attrs.field(default=1024 * _MIB, validator=[instance_of(int), ge(_MIB)])
    memory_bytes: int = attrs.field(default=64 * _MIB, validator=[instance_of(int), ge(0)])
    memory_entries: int = attrs.field(default=100_000, validator=[instance_of(int), ge(0)])
