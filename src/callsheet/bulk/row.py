"""The rows of an input: valid requests, and invalid rows."""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from ..actors import Json, Request, Response, Spent
from .settings import RETRIED_REASONS

BAD_ROW: Final = "BadRow"
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


class UnnamedColumn(str):
    """What a run calls a column whose header is empty; in a table of results it stays empty."""

    __slots__ = ()


def unique_names(columns: Sequence[str]) -> list[str]:
    """Return a name for each column, as pandas does: "Unnamed: 0", or "n.1" for a second "n".

    Args:
        columns: the names of the columns; "" for one that has none.
    """
    found: list[str] = []
    for at, name in enumerate(columns):
        base = unique = name or f"Unnamed: {at}"
        count = 0
        while unique in found or (unique != name and unique in columns):
            count += 1
            unique = f"{base}.{count}"
        found.append(unique if name else UnnamedColumn(unique))
    return found


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
            an input. After the digest come the checksums of the row's parts (`PartSums`).
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


@attrs.frozen
class EarlierAnswer:
    """The response of a row that is asked again because of how it ended.

    It stays the response of the row if the new call fails, or is not made.

    Args:
        line: its line, which is in the store.
        response: the same, read; tokens, cost and requests are those of all calls before it, too.
        in_run: the same with the tokens, cost and requests of this run; None if it is from an
            earlier run.
    """

    line: bytes = attrs.field(repr=False)
    response: Response = attrs.field(repr=False)
    in_run: Response | None = attrs.field(repr=False)


@attrs.frozen
class Placed:
    """A row to send, with its place.

    Args:
        place: the index of the row in the input, from 0.
        row: the row, as the reader made it.
        earlier: the response that it has already; None if it has none.

    Attributes:
        size: the characters that the row takes in memory.
    """

    place: int
    row: Row
    earlier: EarlierAnswer | None = None
    size: int = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: _chars_of_row(self.row), takes_self=True),
    )

    def again(self, earlier: EarlierAnswer) -> "Placed":
        """Return the row as it is asked again, without the response that a cache may have.

        Args:
            earlier: the response that it has already.
        """
        request = attrs.evolve(self.row.request, cacheable=False)
        return Placed(self.place, attrs.evolve(self.row, request=request), earlier)


def _chars_of_row(row: Row) -> int:
    return size_of(row.request) + chars_of(row.columns)


def ended_by(response: Response) -> str | None:
    """Return how a response ended; of several choices the first one that is not complete."""
    if len(response.choices) <= 1:
        return response.finish_reason
    reasons = [choice.finish_reason for choice in response.choices]
    return next((reason for reason in reasons if reason in RETRIED_REASONS), reasons[0])


def with_earlier(response: Response, earlier: Response | None) -> Response:
    """Return a response with the tokens, cost and requests of earlier ones to the same row.

    Args:
        response: the last response.
        earlier: the sum of those before it; None for none.
    """
    return response if earlier is None else Spent().plus(earlier).on(response)


def chars_of(columns: Mapping[str, object] | None) -> int:
    """Return the characters that the columns of a row take in memory, for a bound. Pure (R14)."""
    if not columns:
        return 0
    return sum(len(value) for value in columns.values() if isinstance(value, str | bytes))


def size_of(request: Request) -> int:
    """Return the characters that a request takes in memory, for a bound. Pure (R14).

    They are those of the prompt, of extra members, and of the expected vectors.
    """
    size = sum(map(len, request.inputs))
    for message in request.messages:
        size += len(message.content)
        if message.extra:
            size += _chars(message.extra)
        if message.native:
            size += _chars(message.native)
    if request.extra_body:
        size += _chars(request.extra_body)
    if (output := request.output_schema) is not None:
        size += _chars(output.schema)
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
