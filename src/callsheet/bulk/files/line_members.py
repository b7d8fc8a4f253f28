"""What the lines of OUTPUT and of the errors file have, for programs that read them.

A line is one JSON object, in the format of the batch files of OpenAI, Anthropic or Gemini, as
the input has it. Its member `callsheet` says how the row got its response, or why it has none.
"""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict

JsonObject = Mapping[str, object]
"""A JSON object with members of the provider's."""

RowBilled = Literal["yes", "no", "maybe"]
"""Whether a row without a response was paid for."""


class RowTokens(TypedDict):
    """The tokens of a row.

    Args:
        input_tokens: tokens of the prompt, cached ones and those written to a cache included.
        output_tokens: tokens that the model generated, reasoning included.
        cached_tokens: tokens of the prompt that were read from the provider's cache.
        cache_write_tokens: tokens of the prompt that were written to the provider's cache.
        reasoning_tokens: generated tokens of reasoning, which are not part of the text.
        cache_write_1h_tokens: those of `cache_write_tokens` that the cache keeps for an hour.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cache_write_1h_tokens: int


class AnswerDetails(TypedDict):
    """How a row got its response.

    Args:
        route: the route of the response, such as "live", "batch", "pack" or "cache".
        model: the model that responded, as the provider names it.
        attempts: HTTP requests for the row; 0 for a response that was shared.
        cost_usd: the cost of the row in USD, a number; null if it is not known.
        latency_s: seconds from the first byte sent to the last byte received, for the request
            that brought the response.
        usage: the tokens that were billed for the row.
        maybe_billed: other requests for the row that may have been billed without a response.
        host: the host of the endpoint that responded.
        tier: the service tier whose price applies.
        reported_cost_usd: the cost in USD that the provider reports; absent if it reports none.
        listed_cost_usd: the cost in USD by the table of prices, null if the price is not known;
            absent as `reported_cost_usd`.
        usage_doubt: why `usage` is not what the provider reports; absent if it is.
        provider_body: the provider's own body, null if it wrote none for the row alone; absent if
            the body of the line is that body.
        request_id: the provider's id of the request; only in the formats of Anthropic and Gemini.
    """

    route: str
    model: str
    attempts: int
    cost_usd: float | None
    latency_s: float
    usage: RowTokens
    maybe_billed: int
    host: str
    tier: str
    reported_cost_usd: NotRequired[float]
    listed_cost_usd: NotRequired[float | None]
    usage_doubt: NotRequired[str]
    provider_body: NotRequired[JsonObject | None]
    request_id: NotRequired[str]


class FailureDetails(TypedDict):
    """Why a row has no response.

    Args:
        row: the number of the row in the input, from 1.
        kind: the kind of the error, such as "RateLimited".
        message: the reason, as a sentence.
        attempts: HTTP requests for the row.
        billed: whether these requests were paid for.
        cost_usd: their cost in USD, a number; null if it is not known.
        request_id: the provider's id of the request; only in the formats of Anthropic and Gemini.
    """

    row: int
    kind: str
    message: str
    attempts: int
    billed: RowBilled
    cost_usd: float | None
    request_id: NotRequired[str]


class BadRowDetails(TypedDict):
    """What stands in the place of a row that is no valid request.

    Args:
        row: its number in the input, from 1.
        kind: the kind of the error.
        text: the beginning of its text.
    """

    row: int
    kind: Literal["BadRow"]
    text: str


class HttpAnswer(TypedDict):
    """The HTTP response to the request of a row.

    Args:
        status_code: the HTTP status; 200 for a response.
        request_id: the provider's id of the request, or one that Callsheet has made.
        body: the body, in OpenAI's format; for an error, that of the provider if it sent one.
    """

    status_code: int
    request_id: str
    body: JsonObject


class RowError(TypedDict):
    """An error without an HTTP response.

    Args:
        code: the kind of the error, such as "CallTimedOut".
        message: the reason, as a sentence.
    """

    code: str
    message: str


# ----------------------------------------------------------------------------- OUTPUT


class AnswerLine(TypedDict):
    """A row with its response, in OpenAI's format.

    Args:
        id: names the row by its content.
        custom_id: the custom id of the row.
        response: the response to the request of the row.
        error: null, as the row has a response.
        callsheet: how the row got its response.
    """

    id: str
    custom_id: str
    response: HttpAnswer
    error: None
    callsheet: AnswerDetails


class SucceededResult(TypedDict):
    """The result of a row with a response, in Anthropic's format.

    Args:
        type: the kind of the result.
        message: the response to the request of the row.
    """

    type: Literal["succeeded"]
    message: JsonObject


class AnthropicAnswerLine(TypedDict):
    """A row with its response, in Anthropic's format.

    Args:
        id: names the row by its content.
        custom_id: the custom id of the row.
        result: the result, which has the response.
        callsheet: how the row got its response.
    """

    id: str
    custom_id: str
    result: SucceededResult
    callsheet: AnswerDetails


class GeminiAnswerLine(TypedDict):
    """A row with its response, in Gemini's format.

    Args:
        id: names the row by its content.
        key: the custom id of the row.
        response: the response to the request of the row.
        callsheet: how the row got its response.
    """

    id: str
    key: str
    response: JsonObject
    callsheet: AnswerDetails


OutputLine = AnswerLine | AnthropicAnswerLine | GeminiAnswerLine
"""A line of OUTPUT."""

# ----------------------------------------------------------------------------- the errors file


class FailureLine(TypedDict):
    """A row without a response, in OpenAI's format.

    Args:
        id: names the row by its content.
        custom_id: the custom id of the row.
        response: the HTTP response with the error; null if there was none.
        error: the error if there was no HTTP response; else null.
        callsheet: why the row has no response.
    """

    id: str
    custom_id: str
    response: HttpAnswer | None
    error: RowError | None
    callsheet: FailureDetails


class ErroredResult(TypedDict):
    """The result of a row without a response, in Anthropic's format.

    Args:
        type: the kind of the result.
        error: why the row has no response.
    """

    type: Literal["errored"]
    error: JsonObject


class AnthropicFailureLine(TypedDict):
    """A row without a response, in Anthropic's format.

    Args:
        id: names the row by its content.
        custom_id: the custom id of the row.
        result: the result, which has the error.
        callsheet: why the row has no response.
    """

    id: str
    custom_id: str
    result: ErroredResult
    callsheet: FailureDetails


class GeminiError(TypedDict):
    """An error in Gemini's format.

    Args:
        code: the code of google.rpc, such as 8 for a rate limit; 2 if none fits.
        message: the reason, as a sentence.
    """

    code: int
    message: str


class GeminiFailureLine(TypedDict):
    """A row without a response, in Gemini's format.

    Args:
        id: names the row by its content.
        key: the custom id of the row.
        error: why the row has no response.
        callsheet: why the row has no response.
    """

    id: str
    key: str
    error: GeminiError
    callsheet: FailureDetails


class BadRowLine(TypedDict):
    """A row that is no valid request.

    Args:
        id: null, as the row has no content to name it by.
        custom_id: the custom id of the row; null if it has none that can be read.
        response: null, as nothing was sent.
        error: what is wrong with it.
        callsheet: what stands in its place.
    """

    id: None
    custom_id: str | None
    response: None
    error: RowError
    callsheet: BadRowDetails


ErrorLine = FailureLine | AnthropicFailureLine | GeminiFailureLine | BadRowLine
"""A line of the errors file."""
