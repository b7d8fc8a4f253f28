"""What all places of one tree share."""

import attrs

from .deadlines import Deadlines
from .instruments import Instrument

__all__ = ["Shared"]


@attrs.frozen
class Shared:
    """What all places of one tree share.

    Args:
        seed: all randomness is drawn from it (R13).
        instruments: what is told of everything that happens.
        deadlines: the one heap of them.
    """

    seed: str
    instruments: tuple[Instrument, ...] = ()
    deadlines: Deadlines = attrs.field(factory=Deadlines)
