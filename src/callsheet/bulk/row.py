"""The rows of an input: valid requests, and invalid rows."""

import attrs

from ..actors import Request

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
    """

    number: int
    custom_id: str
    request: Request = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)
    url: str


@attrs.frozen(kw_only=True)
class BadRow:
    """A line that is not a valid request.

    Args:
        number: the number of the line or record in the input, from 1.
        reason: what is wrong with it and how to fix it.
        custom_id: its custom id, if it has a readable one.
        text: the beginning of the line, as far as it is printable.
    """

    number: int
    reason: str
    custom_id: str | None = None
    text: str = ""
