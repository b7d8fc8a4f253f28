"""The endpoint POST /v1/messages, Anthropic's chat."""

import base64
import json
from collections.abc import Mapping
from typing import cast

import attrs

from .arrivals import Arrival
from .body import RequestBody, RequestRefused
from .cacheable import CacheablePrompt, blocks_of, mark_end, refuse_many_marks, within
from .call import AnswerContext, ModelAnswer, Piece
from .generation import EFFORTS, Bit, Part, ToolOffer, Written, write
from .prompt import Conversation, ConversationMessage, read_message, text_of
from .settings import ProviderSettings
from .tools import check_block_results, offer_of, read_tool, tool_tokens
from .wire import Json, canonical, compact, event

MAX_MESSAGES = 100_000
MAX_TOKENS = 10_000_000
MAX_STOPS = 8192
MAX_TOP_K = 1_000_000
MIN_THINKING_TOKENS = 1024

_MEMBERS = frozenset({
    "model", "max_tokens", "messages", "system", "temperature", "top_p", "top_k", "stop_sequences",
    "stream", "tools", "tool_choice", "thinking", "metadata", "service_tier", "cache_control",
    "output_config", "container", "inference_geo",
})  # fmt: skip
NEW_VERSION = "2026-10-21"
_OLD_MEMBERS = ("temperature", "top_p", "top_k")
_ROLES = ("user", "assistant")
_TIERS = ("auto", "standard_only")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


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
    offer: ToolOffer
    thinking_tokens: int
    to_cache: CacheablePrompt = attrs.field(repr=False)

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
        conversation = Conversation(messages, tool_tokens(body.members.get("tools")))
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
            offer=_offer(body),
            thinking_tokens=_thinking_tokens(body, max_tokens),
            to_cache=_to_cache(body, conversation.tokens),
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
        talk = self.conversation
        written = write(
            talk.system,
            talk.question,
            seed=context.seed,
            schema=self.schema,
            max_tokens=min(self.max_tokens, self.room),
            stops=self.stops,
            offer=self.offer,
            told=talk.told,
            reasoning_tokens=self.thinking_tokens,
            key=context.hex,
        )
        if self.stream:
            return self._stream(context, written)
        content = list[Json](_block(part, context) for part in written.parts)
        found = self._message(context, content, written.tokens)
        body = compact({**found, **self._end(written)})
        return ModelAnswer((Piece(body, written.tokens),), talk.tokens)

    def _stream(self, context: AnswerContext, written: Written) -> ModelAnswer:
        # The usage in the first event: one output token.
        message = self._message(context, [], min(1, written.tokens))
        message |= {"stop_reason": None, "stop_sequence": None}
        events = [_event("message_start", message=message)]
        pieces: list[Piece] = []
        for bit in written.bits(context.pieces):
            if bit.is_first:
                events.append(_opening(bit))
                if bit.index == 0:
                    events.append(_event("ping"))
            delta = _delta(bit)
            events.append(_event("content_block_delta", index=bit.index, delta=delta))
            is_end = bit.is_last and bit.index == len(written.parts) - 1
            if bit.is_last and bit.part.kind == "reasoning":
                signature: Json = {"type": "signature_delta", "signature": _signature(context)}
                events.append(_event("content_block_delta", index=bit.index, delta=signature))
            if bit.is_last and not is_end:
                events.append(_event("content_block_stop", index=bit.index))
            pieces.append(Piece(b"".join(events), bit.tokens))
            events.clear()
        usage: dict[str, Json] = (
            {"usage": self._usage(context, written.tokens)} if context.with_usage else {}
        )
        end = (
            _event("content_block_stop", index=len(written.parts) - 1)
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
        use = context.cache
        return {
            "input_tokens": self.conversation.tokens - use.read - use.written,
            "output_tokens": output_tokens,
            "cache_creation_input_tokens": use.written,
            "cache_read_input_tokens": use.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": use.written - use.written_1h,
                "ephemeral_1h_input_tokens": use.written_1h,
            },
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
            case "calls":
                reason = "tool_use"
            case _:
                reason = "end_turn"
        return {"stop_reason": reason, "stop_sequence": written.stop}


def _block(part: Part, context: AnswerContext) -> dict[str, Json]:
    match part.kind:
        case "reasoning":
            return {"type": "thinking", "thinking": part.text, "signature": _signature(context)}
        case "call":
            return {
                "type": "tool_use",
                "id": f"toolu_{part.id}",
                "name": part.name,
                "input": _input(part),
            }
        case _:
            return {"type": "text", "text": part.text}


def _opening(bit: Bit) -> bytes:
    match bit.part.kind:
        case "reasoning":
            block: Json = {"type": "thinking", "thinking": "", "signature": ""}
        case "call":
            name, call_id = bit.part.name, f"toolu_{bit.part.id}"
            block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        case _:
            block = {"type": "text", "text": ""}
    return _event("content_block_start", index=bit.index, content_block=block)


def _delta(bit: Bit) -> dict[str, Json]:
    match bit.part.kind:
        case "reasoning":
            return {"type": "thinking_delta", "thinking": bit.text}
        case "call":
            return {"type": "input_json_delta", "partial_json": bit.text}
        case _:
            return {"type": "text_delta", "text": bit.text}


def _input(part: Part) -> Json:
    """Return the arguments of a call; {} if the limit of tokens cut them."""
    try:
        return cast("Json", json.loads(part.text))
    except ValueError:
        return {}


def _signature(context: AnswerContext) -> str:
    return base64.b64encode(context.hex.encode()).decode()


def _offer(body: RequestBody) -> ToolOffer:
    """Return the tools of a request; a tool of Anthropic's own, with a "type", is ignored."""
    tools = [
        read_tool(item, "input_schema")
        for item in body.list_of_objects("tools")
        if item.members.get("type") in (None, "custom")
    ]
    choice = body.object("tool_choice")
    kind = choice.choice("type", ("auto", "any", "tool", "none"))
    named: Json = {"name": choice.members.get("name")}
    offer = offer_of(body, tools, {"any": "required", "tool": named}.get(kind or "", kind))
    if choice.flag("disable_parallel_tool_use"):
        return attrs.evolve(offer, in_parallel=False)
    return offer


def _thinking_tokens(body: RequestBody, max_tokens: int) -> int:
    """Return the tokens of the thinking before a response.

    Raises:
        RequestRefused: 400, the budget is too small, or not below `max_tokens`.
    """
    thinking = body.object("thinking")
    match thinking.choice("type", ("enabled", "disabled", "adaptive")):
        case "enabled":
            thinking.required("budget_tokens")
            budget = thinking.integer("budget_tokens", MIN_THINKING_TOKENS, MAX_TOKENS) or 0
            if budget >= max_tokens:
                raise RequestRefused(
                    400, "`max_tokens` must be greater than `thinking.budget_tokens`."
                )
            return min(budget, EFFORTS["medium"])
        case "adaptive":
            return EFFORTS[body.object("output_config").choice("effort", _EFFORTS) or "high"]
        case _:
            return 0


def refuse_old_members(arrival: Arrival) -> dict[str, Json]:
    """Refuse members that the API version of a request no longer has; no member is in its path.

    Raises:
        RequestRefused: 400, the request has such a member.
    """
    if arrival.request.headers["anthropic-version"] >= NEW_VERSION:
        for name in _OLD_MEMBERS:
            if arrival.json().members.get(name) is not None:
                raise RequestRefused(
                    400, f"Not supported in API version {NEW_VERSION}.", param=name
                )
    return {}


def _event(kind: str, **members: Json) -> bytes:
    return event({"type": kind, **members}, named=True)


def _system(body: RequestBody) -> tuple[ConversationMessage, ...]:
    system = body.members.get("system")
    return () if system is None else (text_of("system", "system", system),)


def _messages(items: list[Json]) -> tuple[ConversationMessage, ...]:
    messages = tuple(read_message(f"messages[{i}]", item) for i, item in enumerate(items))
    for i, item in enumerate(items):
        role = str(item.get("role")) if isinstance(item, dict) else ""
        if role not in _ROLES:
            raise RequestRefused.unsupported(f"messages[{i}].role", role, _ROLES)
    check_block_results(items)
    return messages


def _to_cache(body: RequestBody, tokens: int) -> CacheablePrompt:
    members = body.members
    system: Json = {"role": "system", "content": members.get("system")}
    messages = [*([system] if members.get("system") else []), *body.items("messages", MAX_MESSAGES)]
    blocks = within(blocks_of(messages, members.get("tools")), tokens)
    blocks = mark_end(blocks, body.object("cache_control").members)
    refuse_many_marks(blocks)
    return CacheablePrompt(tuple(blocks))


def _prompt_key(messages: tuple[ConversationMessage, ...]) -> str:
    """Return the prompt in OpenAI's format, so that both vendors have the same latency for it."""
    return canonical([{"role": m.role, "content": m.text} for m in messages])


def _schema(wanted: RequestBody) -> Mapping[str, Json] | None:
    if wanted.choice("type", ("json_schema",)) is None:
        return None
    return wanted.object("schema").members
