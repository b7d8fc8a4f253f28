"""Anthropic's messages format."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import ClassVar, final

import attrs

from ..json_value import Json
from ..messages import Request
from ..responses import Choice, Delta, ToolCall, ToolCallDelta, Usage
from ..validation import gt
from .anthropic_input import anthropic_chat
from .decoding import (
    count_of,
    is_end_mark,
    json_text,
    loads,
    object_of,
    read_error,
    read_event,
    read_members,
    text_of,
    within_depth,
)
from .encoding import add_extra, check_supported
from .format import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    StreamFailed,
    UnsupportedField,
)
from .openai_answers import Content, arguments_text
from .price import FAST_MODE
from .repeats import Repeats
from .sse import ServerSentEvent
from .token_counts import TokenCounts
from .tool_members import anthropic_tools
from .translation import translated

_RESERVED = frozenset({"stream", "messages"})
_TOOL_USE = "tool_use"
_SEARCH_USD = Decimal("0.01")  # for a web search; docs/providers.md, Anthropic
_REFUSAL = "refusal"
_NOT_OF_BODY = frozenset({"usage", "content", "delta"})
_PIECES = frozenset({"text", "thinking", "signature", "input", "citations"})

# {Anthropic's stop reason: OpenAI's finish reason}
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    _REFUSAL: "content_filter",
}


@attrs.frozen(kw_only=True)
class AnthropicMessages:
    """`POST /messages`.

    Messages may have OpenAI's shape or Anthropic's; see `anthropic_input`.

    Args:
        default_max_tokens: the most tokens of a response if the request sets no limit, because
            Anthropic requires one. Every model accepts this value. A response that reaches it has
            the finish reason "length".
    """

    name = "Anthropic's messages format"
    form = "anthropic"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {
            *("messages", "max_tokens", "temperature", "top_p", "stop", "json_schema", "returns"),
            *("tools", "tool_choice"),
        }
    )

    default_max_tokens: int = attrs.field(default=4096, validator=gt(0))

    def path(self, request: Request, *, stream: bool) -> str:  # noqa: ARG002  # the same for all requests
        """Return what to append to the base URL."""
        return "/messages"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: Anthropic does not support a field of the request.
        """
        request = translated(request, self.form, self.name)
        check_supported(request, self.name, self.supports)
        system, messages = anthropic_chat(request.messages, self.name)
        body: dict[str, Json] = {
            "model": request.model,
            "max_tokens": request.max_tokens or self.default_max_tokens,
            "messages": messages,
        }
        if system:
            body["system"] = system
        if request.temperature is not None:
            if request.temperature > 1:
                raise UnsupportedField("a temperature above 1", self.name, "lower it")
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if (output := request.output_schema) is not None:
            if output.not_strict or output.is_recursive:
                why = output.not_strict or "a part of the result contains itself"
                raise UnsupportedField("returns", self.name, why)
            schema: dict[str, Json] = {"type": "json_schema", "schema": dict(output.schema)}
            body["output_config"] = {"format": schema}
        body |= anthropic_tools(request)
        if stream:
            body["stream"] = True
        return add_extra(body, request, self.name, _RESERVED)

    @within_depth
    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:  # noqa: ARG002  # always one choice
        """Read a response body, or the error in it.

        Raises:
            Malformed: it is neither.
        """
        members = read_members(body, "content")
        if isinstance(members, ApiError):
            return members
        if members.get("content") is None and not members.get("stop_reason"):
            raise Malformed('the response has no "content"')
        usage = object_of(members, "usage")
        searches = object_of(usage, "server_tool_use")
        return DecodedResponse(
            choices=(_choice(members),),
            model=text_of(members, "model") or None,
            usage=(counts := _counts(usage)).usage,
            usage_doubt=counts.doubt,
            beside_usd=_SEARCH_USD * (count_of(searches, "web_search_requests") or 0),
            tier=_tier(usage),
            body=members,
        )

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        return _AnthropicDecoder(lambda body: self.decode(body, request))


@final
class _AnthropicDecoder:
    """Decodes a stream of Anthropic's events, by putting the body of the message together.

    Args:
        decode: decodes the body of a whole response.
    """

    def __init__(self, decode: Callable[[Json], DecodedResponse | ApiError]) -> None:
        self._decode = decode
        self._body: dict[str, Json] = {}
        self._blocks: dict[int, _PartialBlock] = {}
        self._counts: dict[str, Json] = {}
        self._repeats = Repeats()
        self.done = False

    @property
    def usage(self) -> Usage | None:
        """The tokens that were reported so far."""
        return _counts(self._counts).usage

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event."""
        if self.done:
            return ()
        if (deltas := self._repeats.feed(event)) is not None:
            return deltas
        if is_end_mark(event.data):
            self.done = True
            return ()
        return self._read(event, read_event(event))

    def _read(self, event: ServerSentEvent, members: dict[str, Json]) -> Sequence[Delta]:
        kind = members.get("type") or event.name
        if kind == "content_block_delta":  # nearly all events
            block, delta = self._block(members.get("index")), object_of(members, "delta")
            if delta.get("type") == "text_delta" and isinstance(members.get("index"), int):
                self._repeats.expect(event, "text", block.add_text)
            return block.add(delta)
        if kind == "content_block_start":
            return self._begin(members.get("index"), members.get("content_block"))
        if kind == "message_start":
            self._merge(object_of(members, "message"))
        elif kind == "message_delta":
            further = {**members, "type": "message"}  # not the type of the event
            self._merge({**further, **object_of(members, "delta")})
        elif kind == "message_stop":
            self.done = True
        elif kind == "error" or members.get("error"):
            raise StreamFailed(read_error(members))
        elif kind == "message":  # the whole response in one event
            return self._take_whole(members)
        return ()  # pings, and events that Anthropic may add later

    def end(self) -> DecodedResponse | ApiError:
        """Return the whole response, or why there is none; see `StreamDecoder`."""
        if not self.done and not self._body.get("stop_reason"):
            raise BrokeOff(
                "the stream ended before the response was complete (it has no finish reason)"
            )
        if not self._body and not self._blocks:
            raise Malformed("the stream has no message")
        content: list[Json] = [
            block.body() for _, block in sorted(self._blocks.items(), key=itemgetter(0))
        ]
        decoded = self._decode({**self._body, "content": content, "usage": self._counts})
        if isinstance(decoded, ApiError):
            return decoded
        return attrs.evolve(decoded, is_assembled=True)

    def _take_whole(self, message: dict[str, Json]) -> Sequence[Delta]:
        self._merge(message)
        content = message.get("content")
        deltas: list[Delta] = []
        for index, block in enumerate(content if isinstance(content, list) else [content]):
            deltas += self._begin(index, block)
        return deltas

    def _merge(self, members: dict[str, Json]) -> None:
        counts = object_of(members, "usage")  # cumulative
        self._counts |= {name: count for name, count in counts.items() if count is not None}
        for name, value in members.items():
            if value is not None and name not in _NOT_OF_BODY:
                self._body[name] = value

    def _begin(self, index: Json, block: Json) -> Sequence[Delta]:
        if isinstance(block, str):
            block = {"type": "text", "text": block}
        if not isinstance(block, dict):
            return ()
        partial = self._block(index)
        return partial.begin(block)

    def _block(self, index: Json) -> "_PartialBlock":
        if not isinstance(index, int):
            index = max(self._blocks, default=0)
        partial = self._blocks.get(index)
        if partial is None:
            calls = sum(one.is_call for one in self._blocks.values())
            partial = self._blocks[index] = _PartialBlock(calls)
        return partial


@final
class _PartialBlock:
    """One block of the content, as far as it has arrived.

    Args:
        calls: number of tool calls in the blocks before it.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._members: dict[str, Json] = {}
        self._pieces: dict[str, list[str]] = {}
        self._citations: list[Json] = []

    @property
    def is_call(self) -> bool:
        """Whether it is a tool call."""
        return self._members.get("type") == _TOOL_USE

    def begin(self, block: dict[str, Json]) -> Sequence[Delta]:
        """Add the members that the block begins with; some servers send its text here."""
        self._members |= {name: value for name, value in block.items() if name not in _PIECES}
        if isinstance(citations := block.get("citations"), list):
            self._citations += citations
        text, thinking = text_of(block, "text"), text_of(block, "thinking")
        for name, piece in (("text", text), ("thinking", thinking)):
            if piece:
                self._pieces.setdefault(name, []).append(piece)
        if signature := text_of(block, "signature"):
            self._pieces.setdefault("signature", []).append(signature)
        call: tuple[ToolCallDelta, ...] = ()
        if self.is_call:
            given = block.get("input")
            written = json_text(given) if isinstance(given, dict) and given else ""
            if written:
                self._pieces["input"] = [written]
            call = (
                ToolCallDelta(self._calls, text_of(block, "name"), written, text_of(block, "id")),
            )
        if not (text or thinking or call):
            return ()
        return (Delta(text, reasoning=thinking, tool_calls=call),)

    def add(self, delta: dict[str, Json]) -> Sequence[Delta]:
        """Add a piece; return its delta, if it has one."""
        kind = delta.get("type")
        if kind == "text_delta":
            added = self.add_text(text_of(delta, "text"))
            return () if added is None else (added,)
        if kind == "thinking_delta":
            thinking = self._join("thinking", delta, "thinking")
            return (Delta(reasoning=thinking),) if thinking else ()
        if kind == "input_json_delta":
            written = self._join("input", delta, "partial_json")
            call = ToolCallDelta(self._calls, arguments=written)
            return (Delta(tool_calls=(call,)),) if written and self.is_call else ()
        if kind == "signature_delta":
            self._join("signature", delta, "signature")
        elif kind == "citations_delta":
            self._citations.append(delta.get("citation"))
        return ()

    def add_text(self, text: str) -> Delta | None:
        """Add a piece of the text; return its delta, if it has one."""
        self._pieces.setdefault("text", []).append(text)
        return Delta(text) if text else None

    def _join(self, name: str, delta: dict[str, Json], member: str) -> str:
        piece = text_of(delta, member)
        self._pieces.setdefault(name, []).append(piece)
        return piece

    def body(self) -> dict[str, Json]:
        """Return the block as a whole response has it."""
        block = dict(self._members)
        for name, pieces in self._pieces.items():
            block[name] = "".join(pieces)
        if self._citations:
            block["citations"] = self._citations
        if "input" in block or self.is_call:
            block["input"] = _input(block.get("input"))
        block.setdefault("type", "thinking" if "thinking" in block else "text")
        return block


def _input(written: Json) -> Json:
    """Return the arguments of a tool call as an object; as their text if they are no JSON."""
    if not isinstance(written, str):
        return {}
    try:
        return loads(written.encode(errors="replace")) if written.strip() else {}
    except ValueError:  # the response was cut off
        return written


def _choice(members: dict[str, Json]) -> Choice:
    """Read the only choice of a response. Thinking is its reasoning."""
    blocks = members.get("content")
    content, calls = Content(), list[ToolCall]()
    for block in blocks if isinstance(blocks, list) else [blocks]:
        if isinstance(block, dict) and block.get("type") == _TOOL_USE:
            arguments = arguments_text(block.get("input"))
            calls.append(ToolCall(text_of(block, "name"), arguments, text_of(block, "id")))
        else:
            content.add(block)
    reason = text_of(members, "stop_reason")
    refusal = None
    if reason == _REFUSAL:
        details = object_of(members, "stop_details")
        refusal = text_of(details, "explanation") or text_of(details, "category") or _REFUSAL
    return Choice(
        content.text,
        _REASONS.get(reason, reason) or None,
        tool_calls=tuple(calls),
        reasoning=content.reasoning,
        refusal=refusal,
        annotations=tuple(content.notes),
    )


def _tier(usage: dict[str, Json]) -> str | None:
    """Return the tier whose price applies: fast mode has prices of its own."""
    if usage.get("speed") == "fast":
        return FAST_MODE
    return text_of(usage, "service_tier") or None


def _counts(usage: dict[str, Json]) -> TokenCounts:
    """Read the usage. Unlike OpenAI, Anthropic does not count cached tokens as input tokens."""
    fresh, output = count_of(usage, "input_tokens"), count_of(usage, "output_tokens")
    read = count_of(usage, "cache_read_input_tokens") or 0
    creation = object_of(usage, "cache_creation")
    for_an_hour = count_of(creation, "ephemeral_1h_input_tokens") or 0
    split = for_an_hour + (count_of(creation, "ephemeral_5m_input_tokens") or 0)
    written = max(count_of(usage, "cache_creation_input_tokens") or 0, split)
    thought = count_of(object_of(usage, "output_tokens_details"), "thinking_tokens") or 0
    prompt = None if fresh is None else fresh + read + written
    return TokenCounts(prompt, output, read, written, thought, kept_1h=for_an_hour)
