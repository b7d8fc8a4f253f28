"""The endpoint POST /v1/messages, Anthropic's chat."""

from collections.abc import Mapping
from typing import cast

import attrs

from .body import RequestBody, RequestRefused
from .call import AnswerContext, ModelAnswer, Piece
from .prompt import Conversation, ConversationMessage, count_tokens, read_message, text_of
from .settings import ProviderSettings
from .text import Written, write
from .wire import Json, canonical, compact, event, pieces_of

MAX_MESSAGES = 100_000
MAX_TOKENS = 10_000_000
MAX_STOPS = 8192
MAX_TOP_K = 1_000_000

_MEMBERS = frozenset({
    "model", "max_tokens", "messages", "system", "temperature", "top_p", "top_k", "stop_sequences",
    "stream", "tools", "tool_choice", "thinking", "metadata", "service_tier", "cache_control",
    "output_config", "container", "inference_geo",
})  # fmt: skip
_ROLES = ("user", "assistant")
_TIERS = ("auto", "standard_only")


@attrs.frozen(kw_only=True)
class MessagesCall:
    """A parsed message call (see `ModelCall`)."""

    model: str
    conversation: Conversation
    prompt_key: str = attrs.field(repr=False)
    max_tokens: int
    room: int
    stops: tuple[str, ...]
    stream: bool
    schema: Mapping[str, Json] | None

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "MessagesCall":
        """Parse a request.

        Raises:
            RequestRefused: the request is invalid.
        """
        for name in body.members:
            if name not in _MEMBERS:
                raise RequestRefused(400, "Extra inputs are not permitted", param=name)
        body.required("max_tokens")
        max_tokens = body.integer("max_tokens", 1, MAX_TOKENS) or 1
        stream = body.flag("stream")
        body.number("temperature", 0, 1)
        body.number("top_p", 0, 1)
        body.integer("top_k", 0, MAX_TOP_K)
        body.choice("service_tier", _TIERS)
        body.object("metadata").text("user_id")
        messages = (*_system(body), *_messages(body.items("messages", MAX_MESSAGES)))
        conversation = Conversation(messages)
        room = settings.context_tokens - conversation.tokens
        if room < 0:
            raise RequestRefused(
                400,
                f"prompt is too long: {conversation.tokens} tokens > {settings.context_tokens} "
                "maximum",
            )
        return cls(
            model=body.model(),
            conversation=conversation,
            prompt_key=_prompt_key(messages),
            max_tokens=max_tokens,
            room=room,
            stops=body.words("stop_sequences", MAX_STOPS),
            stream=stream,
            schema=_schema(body.object("output_config").object("format")),
        )

    @property
    def tier(self) -> str:
        """The only service tier of the simulated account."""
        return "default"

    @property
    def estimated_tokens(self) -> int:
        """The prompt tokens, estimated from the characters."""
        return self.conversation.estimated_tokens

    @property
    def max_output_tokens(self) -> int:
        """The maximum of output tokens that the request sets; no limit uses it."""
        return self.max_tokens

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Write the response."""
        written = write(
            self.conversation.system,
            self.conversation.question,
            seed=context.seed,
            schema=self.schema,
            max_tokens=min(self.max_tokens, self.room),
            stops=self.stops,
        )
        if self.stream:
            return self._stream(context, written)
        found = self._message(context, [{"type": "text", "text": written.text}], written.tokens)
        body = compact({**found, **self._end(written)})
        return ModelAnswer((Piece(body, written.tokens),), self.conversation.tokens)

    def _stream(self, context: AnswerContext, written: Written) -> ModelAnswer:
        # The usage in the first event: one output token.
        message = self._message(context, [], min(1, written.tokens))
        message |= {"stop_reason": None, "stop_sequence": None}
        block = {"type": "text", "text": ""}
        events = [
            _event(
                "message_start", message={**message, "stop_reason": None, "stop_sequence": None}
            ),
            _event("content_block_start", index=0, content_block=cast("Json", block)),
            _event("ping"),
        ]
        pieces: list[Piece] = []
        said = 0
        for bit in pieces_of(written.text, context.pieces):
            delta: dict[str, Json] = {"type": "text_delta", "text": bit}
            events.append(_event("content_block_delta", index=0, delta=delta))
            before, said = said, said + len(bit)
            tokens = count_tokens(written.text[:said]) - count_tokens(written.text[:before])
            pieces.append(Piece(b"".join(events), tokens))
            events.clear()
        usage: dict[str, Json] = (
            {"usage": self._usage(context, written.tokens)} if context.with_usage else {}
        )
        end = (
            _event("content_block_stop", index=0)
            + _event("message_delta", delta=self._end(written), **usage)
            + _event("message_stop")
        )
        return ModelAnswer(tuple(pieces), self.conversation.tokens, end)

    def _message(
        self, context: AnswerContext, content: list[Json], output_tokens: int
    ) -> dict[str, Json]:
        found: dict[str, Json] = {
            "id": f"msg_{context.hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
        }
        if context.with_usage:
            found["usage"] = self._usage(context, output_tokens)
        return found

    def _usage(self, context: AnswerContext, output_tokens: int) -> dict[str, Json]:
        return {
            "input_tokens": self.conversation.tokens,
            "output_tokens": output_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "service_tier": "batch" if context.batch else "standard",
        }

    def _end(self, written: Written) -> dict[str, Json]:
        match written.ended:
            case "limit" if self.room < self.max_tokens:
                reason = "model_context_window_exceeded"
            case "limit":
                reason = "max_tokens"
            case "stop":
                reason = "stop_sequence"
            case _:
                reason = "end_turn"
        return {"stop_reason": reason, "stop_sequence": written.stop}


def _event(kind: str, **members: Json) -> bytes:
    return event({"type": kind, **members}, named=True)


def _system(body: RequestBody) -> tuple[ConversationMessage, ...]:
    system = body.members.get("system")
    return () if system is None else (text_of("system", "system", system),)


def _messages(items: list[Json]) -> tuple[ConversationMessage, ...]:
    messages = tuple(read_message(f"messages[{i}]", item) for i, item in enumerate(items))
    for i, message in enumerate(messages):
        if message.role not in _ROLES:
            raise RequestRefused.unsupported(f"messages[{i}].role", message.role, _ROLES)
    return messages


def _prompt_key(messages: tuple[ConversationMessage, ...]) -> str:
    """Return the prompt in OpenAI's format, so that both vendors have the same latency for it."""
    return canonical([{"role": m.role, "content": m.text} for m in messages])


def _schema(wanted: RequestBody) -> Mapping[str, Json] | None:
    if wanted.choice("type", ("json_schema",)) is None:
        return None
    return wanted.object("schema").members
