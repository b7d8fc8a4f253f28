"""What all places of one tree share."""

from collections.abc import Callable

import attrs
import trio

from .deadlines import Deadlines
from .instruments import Instrument

__all__ = ["Shared"]


@attrs.frozen
class Shared:
    """What all places of one tree share.

    Args:
        seed: all randomness is drawn from it (R13).
        instruments: what is told of everything that happens.
        deadlines: all there are.
        now: Trio's clock, without the way through Trio to it.
    """

    seed: str
    instruments: tuple[Instrument, ...] = ()
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    now: Callable[[], float] = attrs.field(
        factory=lambda: trio.lowlevel.current_clock().current_time
    )
