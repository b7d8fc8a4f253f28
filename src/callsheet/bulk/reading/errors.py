"""What can be wrong with an input as a whole, and with one record of it."""

__all__ = ["BadRecord", "InputChanged", "InputError"]


class InputError(Exception):
    """Nothing of the input can be read. One line that says why, and what to do."""


class InputChanged(InputError):
    """The input is not what it was when it was opened. Rows that were had are as they were."""


class BadRecord(Exception):
    """A record is no request; it becomes a `BadRow`.

    Args:
        reason: what is wrong with it and what to do, for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
