"""The endpoint POST /v1/chat/completions."""

import re
from collections.abc import Mapping

import attrs

from .body import RequestBody, RequestRefused
from .cacheable import CacheablePrompt, blocks_of, within
from .caching import CacheUse
from .call import AnswerContext, ModelAnswer
from .completions import MAX_TOKENS, AnswerOptions, AnswerShape
from .generation import EFFORTS, Bit, OfferedTool, Part, ToolOffer, Written, chances_of, write
from .prompt import Conversation, read_message
from .settings import ProviderSettings
from .tools import check_chat_results, offer_of, read_tool, tool_tokens
from .wire import Json, canonical

MAX_MESSAGES = 100_000
MAX_TOP_LOGPROBS = 20

# {tier that is asked for: tier that the answer reports}
TIERS = {
    "auto": "default",
    "default": "default",
    "flex": "flex",
    "scale": "default",
    "priority": "priority",
    "fast": "priority",
}
_MEMBERS = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model",
    "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    "verbosity", "web_search_options",
})  # fmt: skip
_REASONING_MODELS = re.compile(r"o[1-9]|gpt-[5-9]")
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
    offer: ToolOffer
    reasoning_tokens: int
    logprobs: int | None
    reasoning_field: str | None
    to_cache: CacheablePrompt = attrs.field(repr=False)

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "ChatCall":
        """Parse a request.

        Raises:
            RequestRefused: the request is invalid.
        """
        if settings.refuses_unknown:
            body.refuse_unknown(_MEMBERS)
        if settings.refuses_max_tokens:
            _refuse_max_tokens(body)
        messages = body.items("messages", MAX_MESSAGES)
        limit = body.integer("max_completion_tokens", 1, MAX_TOKENS)
        if limit is None:
            limit = body.integer("max_tokens", 1, MAX_TOKENS)
        parsed = (read_message(f"messages[{i}]", message) for i, message in enumerate(messages))
        tools = body.members.get("tools")
        conversation = Conversation(tuple(parsed), tool_tokens(tools))
        check_chat_results(messages)
        call = cls(
            options=AnswerOptions.parse(body),
            conversation=conversation,
            prompt_key=canonical(messages),
            max_tokens=limit,
            schema=_schema(body.object("response_format")),
            tier=TIERS[body.choice("service_tier", tuple(TIERS)) or "auto"],
            offer=_offer(body),
            reasoning_tokens=EFFORTS[body.choice("reasoning_effort", tuple(EFFORTS)) or "none"],
            logprobs=_top_logprobs(body),
            reasoning_field=settings.reasoning_field,
            to_cache=CacheablePrompt.of_openai(
                body.members,
                within(blocks_of(messages, tools), conversation.tokens),
                body.members.get("response_format"),
            ),
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
        form = _ChatFormat(self.logprobs, self.reasoning_field)
        choices = [
            write(
                talk.system,
                talk.question,
                seed=context.seed,
                choice=choice,
                schema=self.schema,
                max_tokens=self.max_tokens,
                stops=self.options.stops,
                offer=self.offer,
                told=talk.told,
                reasoning_tokens=self.reasoning_tokens,
                key=context.hex,
            )
            for choice in range(self.options.n)
        ]
        more: dict[str, Json] = {"service_tier": self.tier, "system_fingerprint": None}
        return self.options.answer(form.shape(context.cache), context, choices, talk.tokens, more)


def _refuse_max_tokens(body: RequestBody) -> None:
    if body.members.get("max_tokens") is not None and _REASONING_MODELS.match(body.model()):
        raise RequestRefused(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )


def _top_logprobs(body: RequestBody) -> int | None:
    top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if body.flag("logprobs"):
        return top or 0
    if top:
        raise RequestRefused(
            400, "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs"
        )
    return None


def _offer(body: RequestBody) -> ToolOffer:
    """Return the tools of a request; a custom tool counts as a function without parameters."""
    tools: list[OfferedTool] = []
    for item in body.list_of_objects("tools"):
        kind = item.choice("type", ("function", "custom")) or "function"
        item.required(kind)
        tools.append(read_tool(item.object(kind), "parameters"))
    return offer_of(body, tools, _chosen(body.members.get("tool_choice")))


def _chosen(choice: Json) -> Json:
    """Return "auto", "none", "required", or the name of the only function that may be called."""
    if isinstance(choice, dict):
        named = choice.get(str(choice.get("type")))
        return {"name": named.get("name")} if isinstance(named, dict) else "auto"
    return choice


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


def token_logprobs(text: str, start: int, top: int | None) -> list[Json]:
    """Return the log probabilities of the tokens of a text, as chats and responses have them.

    Args:
        text: consecutive tokens of the response.
        start: the index of the text's first character in the response.
        top: how many likely tokens to name for each token; None for no probabilities.
    """
    if top is None:
        return []

    def shown(token: str, logprob: float) -> dict[str, Json]:
        data = list(token.encode("utf-8", "replace"))
        return {"token": token, "logprob": logprob, "bytes": list[Json](data)}

    return [
        {
            **shown(chance.token, chance.logprob),
            "top_logprobs": [shown(token, logprob) for token, logprob in chance.likely],
        }
        for chance in chances_of(text, start, top)
    ]


def _logprobs(text: str, start: int, top: int | None) -> Json:
    return None if top is None else {"content": token_logprobs(text, start, top), "refusal": None}


def _tool_call(part: Part, arguments: str) -> dict[str, Json]:
    return {
        "id": f"call_{part.id}",
        "type": "function",
        "function": {"name": part.name, "arguments": arguments},
    }


def _chunk(
    index: int, delta: dict[str, Json], finish: str | None = None, logprobs: Json = None
) -> dict[str, Json]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _opening(index: int, written: Written) -> dict[str, Json]:
    content = None if written.calls else ""
    return _chunk(index, {"role": "assistant", "content": content, "refusal": None})


def _usage(input_tokens: int, choices: list[Written], use: CacheUse) -> dict[str, Json]:
    output_tokens = sum(written.tokens for written in choices)
    details: dict[str, Json] = {"cached_tokens": use.read, "audio_tokens": 0}
    if use.written:
        details["cache_write_tokens"] = use.written
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": sum(written.reasoning_tokens for written in choices),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


@attrs.frozen
class _ChatFormat:
    """Formats the choices of one chat.

    Args:
        logprobs: how many likely tokens to name for each token; None for no probabilities.
        reasoning_field: the member with the text of the reasoning; None for none.
    """

    logprobs: int | None
    reasoning_field: str | None

    def choice(self, index: int, written: Written, finish: str) -> dict[str, Json]:
        message: dict[str, Json] = {
            "role": "assistant",
            "content": None if written.calls else written.text,
            "refusal": None,
            "annotations": [],
        }
        if written.reasoning and self.reasoning_field is not None:
            message[self.reasoning_field] = written.reasoning
        if written.calls:
            message["tool_calls"] = [_tool_call(part, part.text) for part in written.calls]
        return {
            "index": index,
            "message": message,
            "logprobs": None if written.calls else _logprobs(written.text, 0, self.logprobs),
            "finish_reason": finish,
        }

    def bits(self, index: int, bit: Bit) -> list[dict[str, Json]]:
        part = bit.part
        match part.kind:
            case "text":
                logprobs = _logprobs(bit.text, bit.start, self.logprobs)
                return [_chunk(index, {"content": bit.text}, None, logprobs)]
            case "reasoning":
                name = self.reasoning_field
                return [] if name is None else [_chunk(index, {name: bit.text})]
            case "call":
                number = part.number
                more: Json = {"index": number, "function": {"arguments": bit.text}}
                found = [_chunk(index, {"tool_calls": [more]})]
                if bit.is_first:
                    first: Json = {"index": number, **_tool_call(part, "")}
                    found.insert(0, _chunk(index, {"tool_calls": [first]}))
                return found

    def shape(self, use: CacheUse) -> AnswerShape:
        """Return the format for a response with this use of the cache."""
        return AnswerShape(
            prefix="chatcmpl",
            whole="chat.completion",
            chunk="chat.completion.chunk",
            choice=self.choice,
            opening=_opening,
            bits=self.bits,
            closing=lambda i, finish: _chunk(i, {}, finish),
            usage=lambda tokens, choices: _usage(tokens, choices, use),
            by_token=self.logprobs is not None,
        )
