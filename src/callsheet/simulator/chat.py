"""The endpoint POST /v1/chat/completions."""

import re
from collections.abc import Mapping

import attrs

from .body import RequestBody, RequestRefused
from .call import AnswerContext, ModelAnswer
from .completions import MAX_TOKENS, AnswerOptions, AnswerShape
from .prompt import Conversation, read_message
from .settings import ProviderSettings
from .text import write
from .wire import Json, canonical

MAX_MESSAGES = 100_000
MAX_TOP_LOGPROBS = 20

# {tier that is asked for: tier that the answer reports}
_TIERS = {
    "auto": "default",
    "default": "default",
    "flex": "flex",
    "scale": "default",
    "priority": "priority",
    "fast": "priority",
}
_FORMATS = ("text", "json_object", "json_schema")
_SCHEMA_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@attrs.frozen(kw_only=True)
class ChatCall:
    """A parsed chat completion (see `ModelCall`)."""

    options: AnswerOptions
    conversation: Conversation
    prompt_key: str = attrs.field(repr=False)
    max_tokens: int | None
    schema: Mapping[str, Json] | None
    tier: str

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "ChatCall":
        """Parse a request.

        Raises:
            RequestRefused: the request is invalid.
        """
        messages = body.items("messages", MAX_MESSAGES)
        limit = body.integer("max_completion_tokens", 1, MAX_TOKENS)
        if limit is None:
            limit = body.integer("max_tokens", 1, MAX_TOKENS)
        body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
        parsed = (read_message(f"messages[{i}]", message) for i, message in enumerate(messages))
        call = cls(
            options=AnswerOptions.parse(body),
            conversation=Conversation(tuple(parsed)),
            prompt_key=canonical(messages),
            max_tokens=limit,
            schema=_schema(body.object("response_format")),
            tier=_TIERS[body.choice("service_tier", tuple(_TIERS)) or "auto"],
        )
        tokens = call.conversation.tokens
        if tokens + (limit or 0) > settings.context_tokens:
            raise RequestRefused.context_exceeded(
                settings.context_tokens, tokens, limit or 0, param="messages"
            )
        return call

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.options.model

    @property
    def stream(self) -> bool:
        """Whether the response is a stream."""
        return self.options.stream

    @property
    def estimated_tokens(self) -> int:
        """The prompt tokens, estimated from the characters."""
        return self.conversation.estimated_tokens

    @property
    def max_output_tokens(self) -> int | None:
        """The maximum of output tokens of all choices; None if the request sets none."""
        return None if self.max_tokens is None else self.max_tokens * self.options.n

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Write every choice."""
        talk = self.conversation
        choices = [
            write(
                talk.system,
                talk.question,
                seed=context.seed,
                choice=choice,
                schema=self.schema,
                max_tokens=self.max_tokens,
                stops=self.options.stops,
            )
            for choice in range(self.options.n)
        ]
        more: dict[str, Json] = {"service_tier": self.tier, "system_fingerprint": None}
        return self.options.answer(_SHAPE, context, choices, talk.tokens, more)


def _schema(response_format: RequestBody) -> Mapping[str, Json] | None:
    match response_format.choice("type", _FORMATS):
        case "json_object":
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
        case "json_schema":
            wanted = response_format.object("json_schema")
            if not _SCHEMA_NAME.fullmatch(wanted.text("name") or ""):
                raise RequestRefused(
                    400,
                    "Invalid 'response_format.json_schema.name': expected 1 to 64 characters of "
                    "a-z, A-Z, 0-9, _ and -.",
                    param="response_format.json_schema.name",
                    code="invalid_value",
                )
            return wanted.object("schema").members
        case _:
            return None


def _choice(index: int, text: str, finish: str) -> dict[str, Json]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": finish,
    }


def _chunk(index: int, delta: dict[str, Json], finish: str | None = None) -> dict[str, Json]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Json]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_SHAPE = AnswerShape(
    prefix="chatcmpl",
    whole="chat.completion",
    chunk="chat.completion.chunk",
    choice=_choice,
    opening=lambda i: _chunk(i, {"role": "assistant", "content": "", "refusal": None}),
    bit=lambda i, text: _chunk(i, {"content": text}),
    closing=lambda i, finish: _chunk(i, {}, finish),
    usage=_usage,
)
