"""Everything that can be set of a run."""

from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, in_, instance_of, lt, optional

__all__ = ["BulkSettings", "Fsync", "Paths", "RunRoute"]

Fsync = Literal["full", "normal", "off"]
"""When an answer counts as kept: on the disk, with the system, or with SQLite."""

RunRoute = Literal["auto", "live", "batch", "pack"]
"""How rows are sent: what their deadline allows, at once, by the Batch API, or many in a call."""


def _dollars(value: Decimal | int | str | None) -> Decimal | None:
    if isinstance(value, float):
        raise TypeError(f"max_cost must be exact: Decimal({str(value)!r}) rather than {value!r}")
    return None if value is None else Decimal(value)


def _is_money(_: object, field: "attrs.Attribute[Decimal | None]", value: Decimal | None) -> None:
    if value is not None and (not value.is_finite() or value < 0):
        raise ValueError(f"{field.name} must be US dollars, at least 0, not {value}")


@attrs.frozen(kw_only=True)
class BulkSettings:
    """How a file of requests is worked through.

    Args:
        ordered: OUTPUT is in the order of the input; else as the answers come.
        window_rows: rows that may be read and not yet written. When so many wait for an earlier
            one, no more are read.
        window_bytes: of lines that wait for an earlier one, or for whoever iterates over the
            results, and characters of requests that have not ended, likewise, each by itself.
        fsync: "full" outlives a power cut; "normal" may lose the last answers in one, but not when
            the process dies; "off" leaves it to the system whether the file outlives one at all.
        route: "auto" takes what is cheapest within `deadline_s`; "live" sends at once; "batch" by
            the provider's Batch API; "pack" asks for many rows in one call.
        max_cost: USD that all answers of OUTPUT may cost, those of earlier runs included. No call
            is sent that might go beyond it.
        deadline_s: seconds for the whole run; None for as long as it takes.
        keep: keep what is beside OUTPUT when all is done, so that a longer input asks only for
            what is new.
        other_provider: go on although OUTPUT has answers of another provider.
        total: rows of the input, if somebody knows.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    ordered: bool = attrs.field(default=True, validator=instance_of(bool))
    window_rows: int = attrs.field(default=10_000, validator=[instance_of(int), ge(1)])
    window_bytes: int = attrs.field(default=32 * 1024**2, validator=[instance_of(int), ge(1)])
    fsync: Fsync = attrs.field(default="full", validator=in_(("full", "normal", "off")))
    route: RunRoute = attrs.field(default="auto", validator=in_(("auto", "live", "batch", "pack")))
    max_cost: Decimal | None = attrs.field(default=None, converter=_dollars, validator=_is_money)
    deadline_s: float | None = attrs.field(default=None, validator=optional(and_(gt(0), lt(inf))))
    keep: bool = attrs.field(default=True, validator=instance_of(bool))
    other_provider: bool = attrs.field(default=False, validator=instance_of(bool))
    total: int | None = attrs.field(default=None, validator=optional(ge(0)))


@attrs.frozen
class Paths:
    """The files of a run.

    Args:
        output: the answers.
    """

    output: Path

    @property
    def store(self) -> Path:
        """What is known, whatever happens: every answer, and how many were asked for."""
        return self._beside(".callsheet")

    @property
    def errors(self) -> Path:
        """Rows without an answer, and lines that are no rows."""
        return self._beside(".errors.jsonl")

    @property
    def batches(self) -> Path:
        """The journal of the Batch API."""
        return self._beside(".batches")

    @property
    def reserve(self) -> Path:
        """Room that is given back when the disk is full."""
        return self._beside(".callsheet-reserve")

    def _beside(self, suffix: str) -> Path:
        return self.output.with_name(self.output.name + suffix)
