"""What the lines of INPUT have, for programs that write them, if no template and no map is set.

A line is one JSON object: a request alone, or a line of a batch file of OpenAI, Anthropic or
Gemini. `rows` and `batch_lines` read them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NotRequired, TypedDict

import msgspec

JsonMembers = Mapping[str, object]
"""A JSON object with members of the provider's."""

RowId = Annotated[str, msgspec.Meta(max_length=512)] | int | None
"""An id that no other row has; a row without one is named after its line."""

BatchPath = Literal[
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/chat/completions",
    "/responses",
    "/completions",
    "/embeddings",
    "/moderations",
]
"""The path of the API of a line of OpenAI's, with or without its version."""


class OpenAiLine(TypedDict):
    """A line of a batch file of OpenAI.

    Args:
        body: the body of the request.
        custom_id: the id of the row.
        method: the HTTP method.
        url: the path of the API; if it is absent, `body` decides.
    """

    body: JsonMembers
    custom_id: NotRequired[RowId]
    method: NotRequired[Literal["POST"]]
    url: NotRequired[BatchPath]


class AnthropicLine(TypedDict):
    """A line of a batch file of Anthropic.

    Args:
        custom_id: the id of the row.
        params: the body of the request.
    """

    custom_id: RowId
    params: JsonMembers


class GeminiContents(TypedDict):
    """The request of a line of a batch file of Gemini, with other members of Gemini's.

    Args:
        contents: the messages, or the text of one.
    """

    contents: str | Sequence[str | JsonMembers]


class GeminiLine(TypedDict):
    """A line of a batch file of Gemini. It names no model.

    Args:
        request: the body of the request.
        key: the id of the row.
        metadata: an object that may have the `key` instead.
    """

    request: GeminiContents
    key: NotRequired[RowId]
    metadata: NotRequired[JsonMembers]


class LineMessage(TypedDict):
    """A message of a chat, with other members of the provider's.

    Args:
        role: the author, such as "system", "user", "assistant" or "tool".
        content: the text, or its parts; it may be absent beside tool calls.
    """

    role: str
    content: NotRequired[str | Sequence[str | JsonMembers] | None]


class LineParameters(TypedDict):
    """What each line that is a request alone may have, with other members of the provider's.

    Args:
        custom_id: the id of the row.
        id: the same, if there is no `custom_id`.
        model: the provider's name of the model; without it, `--model` or the provider's default.
        system: a system message.
        max_tokens: the most tokens of a response.
        max_completion_tokens: the same, by its newer name.
        temperature: the sampling temperature.
        top_p: the share of likely tokens to choose from.
        n: how many responses to make.
        stop: texts that end the response.
        seed: a number for responses that can be repeated.
    """

    custom_id: NotRequired[RowId]
    id: NotRequired[RowId]
    model: NotRequired[str | None]
    system: NotRequired[str | Sequence[str | JsonMembers] | None]
    max_tokens: NotRequired[int | None]
    max_completion_tokens: NotRequired[int | None]
    temperature: NotRequired[float | None]
    top_p: NotRequired[float | None]
    n: NotRequired[int | None]
    stop: NotRequired[str | Sequence[str] | None]
    seed: NotRequired[int | None]


class ChatLine(LineParameters):
    """A chat: the body of a request for OpenAI's chat completions.

    Args:
        messages: the messages of the chat, oldest first.
    """

    messages: Sequence[LineMessage]


class PromptLine(LineParameters):
    """A chat with one user message, or, with `model`, a completion.

    Args:
        prompt: the text of the message; for a completion, also a list of texts.
    """

    prompt: str | float | bool | Sequence[str]


class EmbeddingLine(TypedDict):
    """Texts to embed: the body of a request for embeddings.

    Args:
        input: a text, or several.
        custom_id: the id of the row.
        id: the same, if there is no `custom_id`.
        model: the provider's name of the model; without it, `--model`.
        dimensions: the length of the vectors.
    """

    input: str | Sequence[str]
    custom_id: NotRequired[RowId]
    id: NotRequired[RowId]
    model: NotRequired[str | None]
    dimensions: NotRequired[int | None]


InputLine = OpenAiLine | AnthropicLine | GeminiLine | ChatLine | PromptLine | EmbeddingLine
"""A line of INPUT, if no template and no map is set."""
