"""What a crash has cost."""

import attrs

from .errors import Verdict

__all__ = ["Lost"]


@attrs.frozen
class Lost:
    """A message that was in hand at a crash.

    Args:
        chain: the types of the messages that led to it, each with the path of its actor, the
            first cause first.
        verdict: whether the work may have run.
    """

    chain: tuple[str, ...]
    verdict: Verdict
