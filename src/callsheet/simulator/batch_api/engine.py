"""Create the batches of one vendor, and process their lines when they are due."""

from collections.abc import Iterable, Iterator

import attrs

from ..chance import fraction_of, hex_of, random_of
from ..middleware import Instant
from ..settings import ProviderSettings
from ..stats import RunningStats
from ..vendor import SimulatedVendor
from .lifecycle import Lifecycle
from .work import LineWorker, SimulatedBatch, SimulatedLine

# The number of lines processed before other tasks run.
SLICE = 50
CANCELLING = 0.1


@attrs.frozen
class Phases:
    """The shares of a batch's duration before and after its lines are processed.

    Args:
        validating: the share at its beginning, 0 to 1.
        finalizing: the share at its end, 0 to 1.
    """

    validating: float = 0.0
    finalizing: float = 0.0


class BatchEngine:
    """Processes the batches of one vendor.

    Args:
        settings: the provider's settings.
        vendor: the simulated API that the batches belong to.
        stats: the counts of the provider.
        prefix: the prefix of batch ids.
        phases: the shares of a batch's duration.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        vendor: SimulatedVendor,
        stats: RunningStats,
        *,
        prefix: str,
        phases: Phases,
    ) -> None:
        self._settings = settings
        self._stats = stats
        self._prefix = prefix
        self._phases = phases
        self._worker = LineWorker(settings, vendor, stats)
        self._number = 0
        self._under_way: dict[str, SimulatedBatch] = {}

    def create(
        self, lines: Iterable[SimulatedLine], at: Instant, *, is_valid: bool = True
    ) -> SimulatedBatch:
        """Create a batch.

        Args:
            lines: the lines, in the order of the input.
            at: the time of creation.
            is_valid: True if its input is valid.
        """
        self._number += 1
        self._stats.batches += 1
        batch_id = self._prefix + hex_of(self._prefix, self._settings.seed, self._number)
        ordered = list(lines) if is_valid else []
        random_of("order", self._settings.seed, batch_id).shuffle(ordered)
        lifecycle = self._lifecycle(batch_id, len(ordered), at.clock, is_valid=is_valid)
        batch = SimulatedBatch(batch_id, at, ordered, lifecycle, self._worker)
        self._under_way[batch_id] = batch
        return batch

    def catch_up(self, clock: float) -> Iterator[None]:
        """Process all lines that are due, and yield after each few of them."""
        for batch in list(self._under_way.values()):
            while batch.is_behind(clock):
                due = batch.lifecycle.at(clock).done
                batch.work(min(due, len(batch.outcomes) + SLICE))
                yield
            if batch.lifecycle.at(clock).has_ended:
                self._under_way.pop(batch.id, None)

    def _lifecycle(self, batch_id: str, lines: int, created: float, *, is_valid: bool) -> Lifecycle:
        settings, batches, phases = self._settings, self._settings.batches, self._phases
        low, high = batches.time_s
        drawn = fraction_of("batch", settings.seed, batch_id)
        time_s = (low + (high - low) * drawn) * settings.time_scale
        lifecycle = Lifecycle(
            lines=lines,
            created=created,
            validating_s=time_s * phases.validating,
            work_s=time_s * (1 - phases.validating - phases.finalizing),
            finalizing_s=time_s * phases.finalizing,
            cancelling_s=time_s * CANCELLING,
            expires=created + batches.expires_s,
            is_valid=is_valid,
        )
        if fraction_of("expiring", settings.seed, batch_id) < batches.expiring:
            return lifecycle.expiring(batches.done_at_expiry)
        return lifecycle
