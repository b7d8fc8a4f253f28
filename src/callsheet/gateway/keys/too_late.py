"""The error of a call whose turn cannot come in time."""

from ...actors import CallFailed


class TurnTooLate(CallFailed):
    """The turn of a call cannot come within its patience; nothing was sent.

    Args:
        message: the text, which names the limit.
        wait_s: seconds until the turn, as far as that is known.
    """

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s
