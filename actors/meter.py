"""What a troupe tells the object that measures it, such as `callsheet.metrics.Metrics`."""

from collections.abc import Collection
from typing import Protocol

from .events import CallEvent, Stage
from .troupe import Troupe
from .vendors import PriceBook


class TroupeMeter(Protocol):
    """Observes the calls of a troupe, and reads its actors while the troupe is open.

    Attributes:
        stages: the stages of calls that it observes.
    """

    @property
    def stages(self) -> frozenset[Stage]:
        """The stages of calls that it observes."""
        ...

    def __call__(self, event: CallEvent) -> None:
        """Observe one event of a call.

        Args:
            event: an event of one of `stages`.
        """
        ...

    async def attach(
        self,
        troupe: Troupe,
        *,
        prefix: str,
        prices: PriceBook,
        lanes: Collection[str],
    ) -> None:
        """Begin to measure a troupe, whose actors are running.

        Args:
            troupe: the troupe to measure. An actor that is spawned in its runtime ends with it.
            prefix: a prefix of the actors' names.
            prices: the prices of models.
            lanes: the names of lanes in the limits.
        """
        ...
