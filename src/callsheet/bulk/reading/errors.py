"""The errors of an input as a whole, and of one record."""


class InputError(Exception):
    """The input cannot be read; the text is one line with the reason and the remedy."""


class InputChanged(InputError):
    """The input changed while it was read. Rows that were read before are valid."""


class BadRecord(Exception):
    """A record is not a valid request; it becomes a `BadRow`.

    Args:
        reason: what is wrong with it and how to fix it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
