"""Settings of the response cache."""

from os import PathLike
from pathlib import Path

import attrs
import platformdirs
from attrs.validators import optional

from ..validation import as_path, ge, gt, instance_of

_MONTH_S: float | None = 30 * 86_400.0
_MIB = 2**20


def _path(path: str | PathLike[str] | None) -> Path | None:
    return as_path(path, "path")


def _default_path() -> Path:
    return platformdirs.user_cache_path("callsheet") / "responses.sqlite"


@attrs.frozen(kw_only=True)
class CachePolicy:
    """Settings of the response cache: its file, its bounds, and how long a response is valid.

    Args:
        path: the file, which several programs on one machine may share. The default is in the
            user's cache folder; None keeps responses in memory only. With `TroupeSettings.shared`
            they are on the server instead, and the path is not used.
        ttl_s: seconds for which a response is valid, by the wall clock; None for ever.
        max_bytes: the size up to which the file may grow, or all responses on a server, at least
            1 MiB. The least recently used responses are dropped to make room.
        memory_bytes: the approximate bytes that responses in memory may take; 0 keeps none there.
        memory_entries: the number of responses in memory.

    Raises:
        ValueError, TypeError: a value is out of range; the message names the field.
    """

    path: Path | None = attrs.field(factory=_default_path, converter=_path)
    ttl_s: float | None = attrs.field(default=_MONTH_S, validator=optional(gt(0.0)))
    max_bytes: int = attrs.field(default=1024 * _MIB, validator=[instance_of(int), ge(_MIB)])
    memory_bytes: int = attrs.field(default=64 * _MIB, validator=[instance_of(int), ge(0)])
    memory_entries: int = attrs.field(default=100_000, validator=[instance_of(int), ge(0)])
