"""The settings and the files of a bulk run."""

from collections.abc import Sequence
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import and_, optional

from ..actors import deep_iterable, ge, gt, in_, instance_of, listed, lt
from .shared.sharing import SharedRun

Fsync = Literal["full", "normal", "off"]
"""When a result counts as stored: when it is on the disk, with the system, or with SQLite."""

RunRoute = Literal["auto", "live", "batch", "pack"]
"""How rows are sent: by the cheapest route in time, live, by the Batch API, or in packs."""


RetriedReason = Literal["length", "content_filter"]
"""How a response can end so that its row is asked again: cut off, or withheld."""

RETRIED_REASONS: tuple[RetriedReason, ...] = ("length", "content_filter")


def _dollars(value: Decimal | int | str | None) -> Decimal | None:
    if isinstance(value, float):
        raise TypeError(f"max_cost must be exact: Decimal({str(value)!r}) rather than {value!r}")
    try:
        return None if value is None else Decimal(value)
    except (ArithmeticError, TypeError, ValueError):
        problem = f"max_cost must be US dollars, such as '2.50', not {value!r:.40}"
        raise ValueError(problem) from None


def _reasons(value: Sequence[RetriedReason]) -> tuple[RetriedReason, ...]:
    if isinstance(value, str):
        raise TypeError(f"retry_on must be a list of reasons, such as ({value!r},)")
    return listed(value, "retry_on")


def _shared(value: SharedRun | str | None) -> SharedRun | None:
    return SharedRun.at(value) if isinstance(value, str) else value


def _is_money(_: object, field: "attrs.Attribute[Decimal | None]", value: Decimal | None) -> None:
    if value is not None and (not value.is_finite() or value < 0):
        raise ValueError(f"{field.name} must be US dollars, at least 0, not {value}")


@attrs.frozen(kw_only=True)
class BulkSettings:
    """The settings of a bulk run.

    Args:
        ordered: True to write OUTPUT in the order of the input, False in the order of completion.
        window_rows: the maximum of rows that are read and not written. If that many wait for an
            earlier row, no more are read.
        window_bytes: three separate maxima: the bytes of lines that wait for an earlier row, the
            bytes of results that the caller has not iterated over, and the characters of requests
            that have not ended.
        fsync: "full" survives a power cut; "normal" may lose the last results in a power cut, but
            not when the process dies; "off" leaves flushing to the operating system.
        route: "auto" is the cheapest route within `deadline_s`; "live" sends each row at once;
            "batch" uses the provider's Batch API; "pack" sends many rows in one call.
        max_cost: the maximum cost in USD of all responses in OUTPUT, those of earlier runs
            included. A call that might exceed it is not sent; what is not known counts at the
            most that it can have cost.
        deadline_s: the maximum duration of the run in seconds; None for no limit.
        keep: True to keep the files beside OUTPUT after a complete run, so that a longer input
            sends only its new rows.
        other_provider: True to continue although OUTPUT has responses of another provider.
        pay_again: True to send rows again that are in batches at the provider, and their results
            are not waited for.
        pay_for_changes: True to send rows again that have changed since they got a response, also
            if these are most of the first rows. Otherwise such a run is refused before it sends
            anything: its template or model may have been changed by mistake.
        retry_on: the finish reasons of responses whose rows each run sends once more, be they of
            this run or of earlier ones. Each call is paid for; the last response counts. Rows that
            this run has sent in batches are left to the next one.
        total: the number of rows of the input, if it is known.
        shared: where other processes find rows of this run, and send them: the URL of a Valkey or
            Redis server, such as "valkey://host:6379/0", or a `SharedRun`; None for a run of this
            process alone.

    Raises:
        ValueError, TypeError: a value is out of range; the text names the field.
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
    pay_again: bool = attrs.field(default=False, validator=instance_of(bool))
    pay_for_changes: bool = attrs.field(default=False, validator=instance_of(bool))
    retry_on: Sequence[RetriedReason] = attrs.field(
        default=(), converter=_reasons, validator=deep_iterable(in_(RETRIED_REASONS))
    )
    total: int | None = attrs.field(default=None, validator=optional(and_(instance_of(int), ge(0))))
    shared: SharedRun | None = attrs.field(default=None, converter=_shared)


@attrs.frozen
class Paths:
    """The files of a run.

    Args:
        output: the path of the output file.
    """

    output: Path

    @property
    def store(self) -> Path:
        """The store: every response, and the count of started rows."""
        return self._beside(".callsheet")

    @property
    def errors(self) -> Path:
        """Rows that failed, and lines that are not valid requests."""
        return self._beside(".errors.jsonl")

    @property
    def batches(self) -> Path:
        """The journal of the Batch API."""
        return self._beside(".batches")

    @property
    def reserve(self) -> Path:
        """Disk space that is released when the disk is full."""
        return self._beside(".callsheet-reserve")

    @property
    def rows(self) -> Path:
        """The rows of a table that cannot grow, as lists of cells, one on a line."""
        return self._beside(".callsheet-rows")

    def _beside(self, suffix: str) -> Path:
        return self.output.with_name(self.output.name + suffix)
