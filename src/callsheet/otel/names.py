"""Names of attributes and metrics: OpenTelemetry's conventions for generative AI, and ours.

The conventions are in development. Since version 1.42 those for GenAI have their own repository,
https://github.com/open-telemetry/semantic-conventions-genai, whose tag v0.1.0 is "latest" here.
Most dashboards use the names before that, "1.41". No Python package has the newer names.
"""

from typing import Final, Literal

import attrs

Naming = Literal["latest", "1.41"]
"""The version of the GenAI conventions whose names are used."""

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # no password
TOKEN_MODALITY: Final = "gen_ai.token.modality"  # noqa: S105
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_METHOD: Final = "http.request.method"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_RESEND_COUNT: Final = "http.request.resend_count"

CALL_ID: Final = "callsheet.call.id"
POST_ID: Final = "callsheet.post.id"
STEP: Final = "callsheet.step.name"
LANE: Final = "callsheet.lane"
OUTCOME: Final = "callsheet.outcome"
ROUTE: Final = "callsheet.route"
COST_USD: Final = "callsheet.cost_usd"
USAGE_DOUBT: Final = "callsheet.usage_doubt"
HTTP_REQUESTS: Final = "callsheet.http_requests"
MAYBE_BILLED: Final = "callsheet.maybe_billed"
WAITED_S: Final = "callsheet.waited_s"
KEY_NAME: Final = "callsheet.key.name"
BATCH_ID: Final = "callsheet.batch.id"
BATCH_RESUMED: Final = "callsheet.batch.resumed"
SHARED_AS: Final = "callsheet.shared_as"
SHARED_CALLS: Final = "callsheet.shared_calls"

OPERATIONS: Final = {
    "chat": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
    "moderation": "moderation",  # not in the conventions
}
"""The operation of each task of a request."""

PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "moonshot": "moonshot_ai",
}
"""The well-known values of `PROVIDER` that differ from the names of our vendors."""

SECONDS: Final = tuple(0.01 * 2**k for k in range(14))
"""The bounds that the conventions advise for durations: from 10 ms to 81.92 s."""

LONG_SECONDS: Final = tuple(0.01 * 2**k for k in range(24))
"""The same up to 23 hours, for calls that wait at a limit or for a batch."""

TOKENS: Final = tuple(4**k for k in range(14))
"""The bounds that the conventions advise for tokens: from 1 to 67 million."""


@attrs.frozen(kw_only=True)
class ConventionNames:
    """The names that differ between the two versions.

    Args:
        cache_write_tokens: the attribute for tokens written to the provider's cache.
        duration: the metric for the duration of each operation.
        first_chunk: the metric for the time to the first chunk.
        per_chunk: the metric for the time between two chunks.
        has_token_counters: whether tokens are counted by kind, and not in one histogram.
    """

    cache_write_tokens: str
    duration: dict[str, str]
    first_chunk: str
    per_chunk: str
    has_token_counters: bool


NAMES: Final[dict[Naming, ConventionNames]] = {
    "latest": ConventionNames(
        cache_write_tokens="gen_ai.usage.cache_write.input_tokens",
        duration={
            "chat": "gen_ai.client.inference.duration",
            "text_completion": "gen_ai.client.inference.duration",
            "embeddings": "gen_ai.client.embeddings.duration",
            "moderation": "gen_ai.client.operation.duration",
        },
        first_chunk="gen_ai.client.inference.time_to_first_chunk",
        per_chunk="gen_ai.client.inference.time_per_output_chunk",
        has_token_counters=True,
    ),
    "1.41": ConventionNames(
        cache_write_tokens="gen_ai.usage.cache_creation.input_tokens",
        duration=dict.fromkeys(OPERATIONS.values(), "gen_ai.client.operation.duration"),
        first_chunk="gen_ai.client.operation.time_to_first_chunk",
        per_chunk="gen_ai.client.operation.time_per_output_chunk",
        has_token_counters=False,
    ),
}
