"""The endpoint POST /v1/responses: OpenAI's Responses API without conversations.

Source: docs/providers.md, OpenAI: responses.
"""

from collections.abc import Mapping
from typing import cast

import attrs

from .body import RequestBody, RequestRefused, invalid_type
from .cacheable import CacheablePrompt, blocks_of, within
from .call import AnswerContext, ModelAnswer, Piece
from .chat import MAX_MESSAGES, MAX_TOP_LOGPROBS, TIERS, token_logprobs
from .completions import MAX_TOKENS
from .generation import EFFORTS, Bit, OfferedTool, Part, ToolOffer, Written, write
from .prompt import Conversation, ConversationMessage, read_message
from .settings import ProviderSettings
from .tools import check_item_results, offer_of, read_tool, tool_tokens
from .wire import Json, canonical, compact, event

MIN_OUTPUT_TOKENS = 16
_MEMBERS = frozenset({
    "background", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
_FORMATS = ("text", "json_object", "json_schema")
_SUMMARIES = ("auto", "concise", "detailed")
_LOGPROBS = "message.output_text.logprobs"
_ANY_OBJECT: Mapping[str, Json] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
}


@attrs.frozen(kw_only=True)
class ResponsesCall:
    """A parsed request for a response (see `ModelCall`)."""

    model: str
    conversation: Conversation
    prompt_key: str = attrs.field(repr=False)
    max_tokens: int | None
    stream: bool
    is_background: bool
    tier: str
    schema: Mapping[str, Json] | None
    offer: ToolOffer
    reasoning_tokens: int
    has_summary: bool
    logprobs: int | None
    to_cache: CacheablePrompt = attrs.field(repr=False)
    echo: Mapping[str, Json] = attrs.field(repr=False)

    @classmethod
    def parse(cls, body: RequestBody, settings: ProviderSettings) -> "ResponsesCall":
        """Parse a request.

        Raises:
            RequestRefused: the request is invalid, or needs stored state.
        """
        if settings.refuses_unknown:
            body.refuse_unknown(_MEMBERS)
        _refuse_state(body)
        messages = _messages(body)
        tools = body.members.get("tools")
        parsed = tuple(map(_read_item, range(len(messages)), messages))
        check_item_results(messages)
        conversation = Conversation(parsed, tool_tokens(tools))
        limit = body.integer("max_output_tokens", MIN_OUTPUT_TOKENS, MAX_TOKENS)
        if conversation.tokens + (limit or 0) > settings.context_tokens:
            raise RequestRefused.context_exceeded(
                settings.context_tokens, conversation.tokens, limit or 0, param="input"
            )
        body.number("temperature", 0, 2)
        body.number("top_p", 0, 1)
        reasoning = body.object("reasoning")
        top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
        included = body.words("include", MAX_MESSAGES)
        return cls(
            model=body.model(),
            conversation=conversation,
            prompt_key=canonical([{"role": m.role, "content": m.text} for m in parsed]),
            max_tokens=limit,
            stream=body.flag("stream"),
            is_background=body.flag("background"),
            tier=TIERS[body.choice("service_tier", tuple(TIERS)) or "auto"],
            schema=_schema(body.object("text").object("format")),
            offer=_offer(body),
            reasoning_tokens=EFFORTS[reasoning.choice("effort", tuple(EFFORTS)) or "none"],
            has_summary=reasoning.choice("summary", _SUMMARIES) is not None,
            logprobs=top or 0 if _LOGPROBS in included else None,
            to_cache=CacheablePrompt.of_openai(
                body.members,
                within(blocks_of(messages, tools), conversation.tokens),
                body.object("text").members.get("format"),
            ),
            echo=_echo(body),
        )

    @property
    def estimated_tokens(self) -> int:
        """The prompt tokens, estimated from the characters."""
        return self.conversation.estimated_tokens

    @property
    def max_output_tokens(self) -> int | None:
        """The maximum of output tokens; None if the request sets none."""
        return self.max_tokens

    def answer(self, context: AnswerContext) -> ModelAnswer:
        """Write the response."""
        talk = self.conversation
        written = write(
            talk.system,
            talk.question,
            seed=context.seed,
            schema=self.schema,
            max_tokens=self.max_tokens,
            offer=self.offer,
            told=talk.told,
            reasoning_tokens=self.reasoning_tokens,
            key=context.hex,
        )
        form = _ResponseFormat(self, context, written)
        if self.stream:
            return form.stream()
        return ModelAnswer((Piece(compact(form.response()), written.tokens),), talk.tokens)


class _ResponseFormat:
    """Formats one response.

    Args:
        call: the parsed request, some members of which the response repeats.
        context: the id of the response and what else is not of the request.
        written: reasoning, text and calls, each of which becomes an item of the output.
    """

    def __init__(self, call: ResponsesCall, context: AnswerContext, written: Written) -> None:
        self._call = call
        self._context = context
        self._written = written
        self._sent = 0  # events of the stream

    def response(self, status: str | None = None) -> dict[str, Json]:
        """Return the response object.

        Args:
            status: "in_progress" before its end; None for the status at its end.
        """
        call, context, written = self._call, self._context, self._written
        has_ended = status is None
        is_cut = written.ended == "limit"
        output: list[Json] = []
        if has_ended:
            output = [self._item(i) for i in range(len(written.parts))]
        reason: Json = {"reason": "max_output_tokens"} if has_ended and is_cut else None
        return {
            "id": f"resp_{context.hex}",
            "object": "response",
            "created_at": context.created,
            "completed_at": context.created if has_ended and not is_cut else None,
            "status": status or ("incomplete" if is_cut else "completed"),
            "model": call.model,
            "error": None,
            "incomplete_details": reason,
            "output": output,
            **call.echo,
            "previous_response_id": None,
            "background": call.is_background,
            "service_tier": call.tier,
            "usage": self._usage() if has_ended and context.with_usage else None,
        }

    def stream(self) -> ModelAnswer:
        """Return the events of a stream."""
        started = [
            self._event(f"response.{kind}", response=self.response("in_progress"))
            for kind in ("created", "in_progress")
        ]
        by_token = self._call.logprobs is not None
        pieces: list[Piece] = []
        for bit in self._written.bits(self._context.pieces, by_token=by_token):
            events = started + self._bit(bit)
            started = []
            pieces.append(Piece(b"".join(events), bit.tokens))
        kind = "incomplete" if self._written.ended == "limit" else "completed"
        end = self._event(f"response.{kind}", response=self.response())
        failure: Json = {
            "type": "server_error",
            "code": "server_error",
            "message": "The server had an error while processing your request. Sorry about that!",
            "param": None,
        }
        return ModelAnswer(
            tuple(pieces),
            self._call.conversation.tokens,
            end,
            self._event("error", error=failure),
        )

    def _bit(self, bit: Bit) -> list[bytes]:
        part, place = bit.part, {"output_index": bit.index}
        is_shown = part.kind != "reasoning" or self._call.has_summary
        item: dict[str, Json] = {"item_id": self._item_id(bit.index), **place}
        names = {
            "text": "output_text",
            "call": "function_call_arguments",
            "reasoning": "reasoning_summary_text",
        }
        name = f"response.{names[part.kind]}"
        inner: dict[str, Json] = dict(item)
        holder = ""
        if part.kind == "text":
            inner["content_index"], holder = 0, "response.content_part"
        elif part.kind == "reasoning":
            inner["summary_index"], holder = 0, "response.reasoning_summary_part"
        events: list[bytes] = []
        if bit.is_first:
            added = self._item(bit.index, text="")
            events.append(self._event("response.output_item.added", **place, item=added))
            if holder and is_shown:
                events.append(self._event(f"{holder}.added", **inner, part=self._content(part, "")))
        if is_shown:
            more: dict[str, Json] = {}
            if part.kind == "text":
                more["logprobs"] = token_logprobs(bit.text, bit.start, self._call.logprobs)
            events.append(self._event(f"{name}.delta", **inner, delta=bit.text, **more))
        if bit.is_last:
            if is_shown:
                events.append(self._event(f"{name}.done", **inner, **self._whole(part)))
            if holder and is_shown:
                content = self._content(part, part.text)
                events.append(self._event(f"{holder}.done", **inner, part=content))
            done = self._item(bit.index)
            events.append(self._event("response.output_item.done", **place, item=done))
        return events

    def _whole(self, part: Part) -> dict[str, Json]:
        match part.kind:
            case "call":
                return {"name": part.name, "arguments": part.text}
            case "text":
                return {"text": part.text, "logprobs": self._logprobs(part.text)}
            case _:
                return {"text": part.text}

    def _item_id(self, index: int) -> str:
        prefix = {"reasoning": "rs", "text": "msg", "call": "fc"}[self._written.parts[index].kind]
        return f"{prefix}_{self._context.hex[:24]}{index:02}"

    def _item(self, index: int, *, text: str | None = None) -> dict[str, Json]:
        """Return an item of the output; with `text` as its content while it is in progress."""
        part = self._written.parts[index]
        said = part.text if text is None else text
        is_last = index == len(self._written.parts) - 1
        is_cut = self._written.ended == "limit" and is_last
        status = "in_progress" if text is not None else "incomplete" if is_cut else "completed"
        head: dict[str, Json] = {"id": self._item_id(index), "status": status}
        match part.kind:
            case "reasoning":
                shown = [self._content(part, said)] if self._call.has_summary and said else []
                return {"type": "reasoning", **head, "summary": list[Json](shown)}
            case "call":
                return {
                    "type": "function_call",
                    **head,
                    "call_id": f"call_{part.id}",
                    "name": part.name,
                    "arguments": said,
                }
            case "text":
                content = [] if text is not None else [self._content(part, said)]
                return {
                    "type": "message",
                    **head,
                    "role": "assistant",
                    "content": list[Json](content),
                }

    def _content(self, part: Part, text: str) -> dict[str, Json]:
        if part.kind == "reasoning":
            return {"type": "summary_text", "text": text}
        return {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": self._logprobs(text),
        }

    def _logprobs(self, text: str) -> Json:
        return token_logprobs(text, 0, self._call.logprobs)

    def _usage(self) -> dict[str, Json]:
        read, written = self._call.conversation.tokens, self._written
        cache = self._context.cache
        return {
            "input_tokens": read,
            "input_tokens_details": {
                "cached_tokens": cache.read,
                "cache_write_tokens": cache.written,
            },
            "output_tokens": written.tokens,
            "output_tokens_details": {"reasoning_tokens": written.reasoning_tokens},
            "total_tokens": read + written.tokens,
        }

    def _event(self, kind: str, **members: Json) -> bytes:
        self._sent += 1
        return event({"type": kind, "sequence_number": self._sent - 1, **members}, named=True)


def _refuse_state(body: RequestBody) -> None:
    """Refuse what needs responses that the provider does not store."""
    previous = body.text("previous_response_id")
    if previous is not None:
        raise RequestRefused(
            400,
            f"Previous response with id '{previous}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    for name in ("conversation", "prompt"):
        if body.members.get(name):
            raise RequestRefused(400, f"'{name}' is not supported.", param=name)
    if body.flag("background") and body.flag("stream"):
        problem = "'stream' is not supported with 'background'."
        raise RequestRefused(400, problem, param="stream")


def _messages(body: RequestBody) -> list[Json]:
    """Return the input as messages of a chat, the instructions first."""
    given = body.required("input")
    items: list[Json] = []
    if isinstance(given, str):
        items = [{"role": "user", "content": given}]
    elif isinstance(given, list):
        items = body.items("input", MAX_MESSAGES)
    else:
        raise invalid_type("input", "a string or an array", given)
    instructions = body.text("instructions")
    if instructions is not None:
        items = [{"role": "system", "content": instructions}, *items]
    return items


def _read_item(index: int, item: Json) -> ConversationMessage:
    where = f"input[{index}]"
    if not isinstance(item, dict):
        raise invalid_type(where, "an object", item)
    match item.get("type", "message"):
        case "message":
            return read_message(where, item)
        case "function_call":
            return ConversationMessage("assistant", canonical(item))
        case "function_call_output" | "custom_tool_call_output":
            return ConversationMessage("tool", canonical(item.get("output")))
        case "reasoning":
            return ConversationMessage("assistant", canonical(item.get("summary")))
        case "item_reference":
            raise RequestRefused(404, f"Item with id '{item.get('id')}' not found.", param="input")
        case kind:
            raise RequestRefused(
                400,
                f"Invalid value: '{kind}'.",
                param=f"{where}.type",
                code="invalid_value",
            )


def _schema(wanted: RequestBody) -> Mapping[str, Json] | None:
    match wanted.choice("type", _FORMATS):
        case "json_object":
            return _ANY_OBJECT
        case "json_schema":
            wanted.required("name")
            wanted.required("schema")
            return wanted.object("schema").members
        case _:
            return None


def _offer(body: RequestBody) -> ToolOffer:
    """Return the functions of a request; tools that the provider would run itself are ignored."""
    tools: list[OfferedTool] = [
        read_tool(item, "parameters")
        for item in body.list_of_objects("tools")
        if item.members.get("type") in ("function", "custom")
    ]
    choice = body.members.get("tool_choice")
    if not isinstance(choice, dict):
        return offer_of(body, tools, choice)
    if choice.get("type") != "allowed_tools":
        return offer_of(body, tools, {"name": choice.get("name")})
    listed = cast("list[Json]", choice.get("tools") or [])
    names = [item.get("name") for item in listed if isinstance(item, dict)]
    allowed = [tool for tool in tools if tool.name in names]
    return offer_of(body, allowed, choice.get("mode"))


def _echo(body: RequestBody) -> dict[str, Json]:
    """Return the members of the request that the response repeats."""
    given = body.members
    defaults: dict[str, Json] = {
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
    return {
        name: default if (value := given.get(name)) is None else value
        for name, default in defaults.items()
    }
