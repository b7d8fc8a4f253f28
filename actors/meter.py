"""What a troupe tells the object that measures it, such as `callsheet.metrics.Metrics`."""

from collections.abc import Collection
from typing import Protocol

from ..runtime import Supervisor
from .events import CallEvent, CallStage
from .troupe import Troupe
from .vendors import PriceBook


class TroupeMeter(Protocol):
    """Observes the calls of a troupe, and reads its actors while the troupe is open.

    Attributes:
        stages: the stages of calls that it observes.
    """

    @property
    def stages(self) -> frozenset[CallStage]:
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
        place: Supervisor,
        prices: PriceBook,
        lanes: Collection[str],
    ) -> None:
        """Begin to measure a troupe, whose actors are running.

        Args:
            troupe: the troupe to measure.
            place: where to spawn an actor. It is stopped after the stages, so that the calls of a
                drain can be read.
            prices: the prices of models.
            lanes: the names of lanes in the limits.
        """
        ...
