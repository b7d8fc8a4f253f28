"""The rows of an input: valid requests, and invalid rows."""

from collections.abc import Mapping, Sequence

import attrs

from ..actors import Json, Request

BAD_ROW = "BadRow"
"""The kind of error of a line that is not a valid request."""

_DIMENSIONS = 3072  # the longest vector of current embedding models
_CHARS_PER_NUMBER = 128  # memory: as received text, twice as a number, as text to write

ANTHROPIC_URL = "/v1/messages"
"""The path of requests that come from a batch file of Anthropic's."""

_GEMINI_VERB = ":generateContent"


def gemini_url(model: str) -> str:
    """Return the path of a request that comes from a batch file of Gemini's.

    Args:
        model: the model of the request.
    """
    return f"/v1beta/models/{model}{_GEMINI_VERB}"


def is_gemini_url(url: str) -> bool:
    """Return whether a path is one of `gemini_url`."""
    return url.endswith(_GEMINI_VERB)


@attrs.frozen(kw_only=True)
class Row:
    """One request of an input.

    Args:
        number: the number of the line or record in the input, from 1.
        custom_id: identifies the row and its response; given, or made from the number.
        request: the request to send.
        key: a digest of the custom id and of everything that can change the response (L6, L7). A
            response with the same key, from any run, is a response to this row. If the custom id
            was made from the number, the key has instead the number of earlier identical requests,
            so that it does not change when other rows are inserted or removed. Keys are unique in
            an input.
        url: the path as in OpenAI's batch files, such as "/v1/chat/completions"; for a line of
            another provider's batch file, the path of that provider.
        columns: the values of the record by the names of their columns, if OUTPUT is a table.
    """

    number: int
    custom_id: str
    request: Request = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)
    url: str
    columns: Mapping[str, object] | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class BadRow:
    """A line that is not a valid request.

    Args:
        number: the number of the line or record in the input, from 1.
        reason: what is wrong with it and how to fix it.
        custom_id: its custom id, if it has a readable one.
        text: the beginning of the line, as far as it is printable.
        columns: as in `Row`; None for a line that cannot be read.
    """

    number: int
    reason: str
    custom_id: str | None = None
    text: str = ""
    columns: Mapping[str, object] | None = attrs.field(default=None, repr=False)


def _size_of_row(placed: "Placed") -> int:
    return size_of(placed.row.request) + chars_of(placed.row.columns)


@attrs.frozen
class Placed:
    """A row to send, with its place.

    Args:
        place: the index of the row in the input, from 0.
        row: the row, as the reader made it.

    Attributes:
        size: the characters that the row takes in memory.
    """

    place: int
    row: Row
    size: int = attrs.field(init=False, default=attrs.Factory(_size_of_row, takes_self=True))


def chars_of(columns: Mapping[str, object] | None) -> int:
    """Return the characters that the columns of a row take in memory, for a bound. Pure (R14)."""
    if not columns:
        return 0
    return sum(len(value) for value in columns.values() if isinstance(value, str | bytes))


def size_of(request: Request) -> int:
    """Return the characters that a request takes in memory, for a bound. Pure (R14).

    They are those of the prompt, of extra members, and of the expected vectors.
    """
    size = sum(len(message.content) for message in request.messages) + sum(map(len, request.inputs))
    for given in (
        request.extra_body,
        None if request.output_schema is None else request.output_schema.schema,
        *(message.extra for message in request.messages),
        *(message.native for message in request.messages),
    ):
        if given:
            size += _chars(given)
    if request.task == "embedding":
        size += len(request.inputs) * (request.dimensions or _DIMENSIONS) * _CHARS_PER_NUMBER
    return size


def _chars(value: "Json | Mapping[str, Json]") -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_chars, value.values()))
    if isinstance(value, Sequence):
        return sum(map(_chars, value))
    return 0
