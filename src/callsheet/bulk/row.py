"""What is read from an input: rows to ask for, and lines that are none."""

import attrs

from ..actors import Request

__all__ = ["BadRow", "Row"]


@attrs.frozen(kw_only=True)
class Row:
    """One request of an input.

    Args:
        number: which line, or record, of the input it is, from 1.
        custom_id: by which its answer is known; given, or made of the number.
        request: what to ask.
        key: a digest of the custom id and of all that can change the answer (L6, L7): an answer
            with the same key is an answer to this row, in whatever run it was had. For an id that
            was made of the number, how often the same was asked before stands in its place, so
            that the key stays when rows before it come or go. No two rows of an input share one.
        url: the path as OpenAI's batches have it, such as "/v1/chat/completions".
    """

    number: int
    custom_id: str
    request: Request = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)
    url: str


@attrs.frozen(kw_only=True)
class BadRow:
    """A line that is no request.

    Args:
        number: which line, or record, of the input it is, from 1.
        reason: what is wrong with it and what to do, for people.
        custom_id: of it, if it has one that can be read.
        text: the beginning of the line, as far as it can be shown.
    """

    number: int
    reason: str
    custom_id: str | None = None
    text: str = ""
