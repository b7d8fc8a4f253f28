"""Put the chunks of an OpenAI stream together to the body of a whole response.

The body is then decoded like any other, so that a streamed response has the same fields as a whole
one (L10). Compatible servers differ, so reading is tolerant: usage may be in every chunk, in the
last or in none, and a stream may end with or without ``[DONE]``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import final

from ..json_value import Json
from ..responses import Delta, ToolCallDelta, Usage
from .decoding import (
    has_error,
    index_of,
    is_end_mark,
    object_of,
    read_error,
    read_event,
    text_of,
)
from .format import ApiError, BrokeOff, DecodedResponse, Malformed, StreamFailed
from .openai_answers import (
    CALLS,
    NO_REASON,
    REASONING,
    Content,
    arguments_in,
    arguments_text,
    content_of,
    flat_text,
    own_members,
    reasoning_of,
)
from .repeats import Repeats
from .sse import ServerSentEvent

_FIRST = frozenset({"id", "created", "model", "object"})  # the first value counts, not the last
_OF_CHOICE = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs"})
_OF_TEXT = frozenset({"role", "content"})
_LISTS = frozenset({"annotations", "reasoning_details", "images"})
_PADDING = b',"obfuscation":"'
_FILTERED = "content_filter"


@final
class ChunkDecoder:
    """Decodes a stream of OpenAI's chunks, of chats or completions.

    Args:
        expected: number of choices.
        read_usage: reads the tokens in a `usage`.
        decode: decodes the body that is put together.
    """

    def __init__(
        self,
        expected: int,
        read_usage: Callable[[Json], Usage | None],
        decode: Callable[[Json], DecodedResponse | ApiError],
    ) -> None:
        self._expected = expected
        self._read_usage = read_usage
        self._decode = decode
        self._body: dict[str, Json] = {}
        self._choices: dict[int, _PartialChoice] = {}
        self._settled = {"choices", "obfuscation"}  # members that no chunk changes any more
        self._only: Json = None  # the index of the only choice
        self._latest: tuple[Json, int, _PartialChoice] | None = None
        self._repeats = Repeats()
        self.done = False

    @property
    def usage(self) -> Usage | None:
        """The tokens that were reported so far."""
        return self._read_usage(self._body.get("usage") or self._groq_usage)

    @property
    def _groq_usage(self) -> Json:
        return object_of(self._body, "x_groq").get("usage")

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event.

        Raises:
            StreamFailed: the event is an error.
            Malformed: the event is not a chunk.
        """
        if self.done:
            return ()
        event = _without_padding(event)
        if (deltas := self._repeats.feed(event)) is not None:
            return deltas
        if is_end_mark(event.data):
            self.done = True
            return ()
        chunk = read_event(event)
        is_error = chunk.get("error") and has_error(chunk)  # nearly no chunk has the member
        if is_error or "error" in (event.name, chunk.get("object"), chunk.get("type")):
            raise StreamFailed(read_error(chunk))
        self._merge(chunk)
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return ()  # some servers send keep-alive events
        found = [delta for choice in choices if (delta := self._add(choice)) is not None]
        if self._latest is not None and _is_text(choices):
            _, place, choice = self._latest
            self._repeats.expect(event, "content", partial(choice.add_text, place))
        return found

    def _merge(self, chunk: dict[str, Json]) -> None:
        body, settled = self._body, self._settled
        for name, value in chunk.items():
            if value is None or name in settled:
                continue
            if name == "usage":
                if name in body and self._read_usage(value) is None:
                    continue
            elif name == "x_groq":
                _check_groq(value)
            elif name in _FIRST and value:
                settled.add(name)
            body[name] = value

    def _add(self, choice: Json) -> Delta | None:
        if choice is None:
            return None
        if not isinstance(choice, dict):
            raise Malformed("a choice in the stream is not an object")
        index, latest = choice.get("index"), self._latest
        if latest is None or latest[0] != index:
            latest = self._latest = self._choice_at(index)
        return latest[2].add(choice, latest[1])

    def _choice_at(self, index: Json) -> "tuple[Json, int, _PartialChoice]":
        place = self._place(index)
        partial = self._choices.get(place)
        if partial is None:
            partial = self._choices[place] = _PartialChoice()
        return index, place, partial

    def _place(self, index: Json) -> int:
        """Return the position of the choice with that index.

        The index of the only choice may be any, but always the same. Those of several may start at
        1; this shows at the end.

        Raises:
            Malformed: there is no such choice.
        """
        if self._expected == 1:
            if index is not None and index != self._only:
                if self._only is not None:
                    raise Malformed("the stream has more choices than the one requested")
                self._only = index
            return 0
        number = index_of(index, 0)
        if not 0 <= number <= self._expected:
            raise Malformed(
                f"the stream has the index {index!r:.40}, but {self._expected} choices "
                "were requested"
            )
        return number

    def end(self) -> DecodedResponse | ApiError:
        """Return the whole response, or why its generation failed; see `StreamDecoder`."""
        if not self._choices:  # some servers send an error in an event of its own shape
            return self._end_without_choices()
        # Some servers mark the end, and never send a finish reason.
        complete = sum(choice.is_complete for choice in self._choices.values())
        if complete < self._expected and (complete or not self.done):
            raise BrokeOff(
                f"the stream ended before the response was complete ({self._expected - complete} "
                f"of {self._expected} choices without a finish reason)"
            )
        kind = text_of(self._body, "object").removesuffix(".chunk")
        usage = self._groq_usage
        body: dict[str, Json] = {
            **self._body,
            **({"object": kind} if kind else {}),
            **({} if "usage" in self._body or usage is None else {"usage": usage}),
            "choices": [choice.body(at) for at, choice in sorted(self._choices.items())],
        }
        return self._decode(body)

    def _end_without_choices(self) -> DecodedResponse | ApiError:
        try:
            return self._decode(self._body)
        except Malformed:
            if self.done:
                raise
            text = "the stream ended before the response began (no choice with a finish reason)"
            raise BrokeOff(text) from None


@final
class _PartialChoice:
    """One choice, as far as it has arrived."""

    def __init__(self) -> None:
        self._content: list[Json] = []
        self._joined: dict[str, list[str]] = {}  # texts beside the content
        self._lists: dict[str, list[Json]] = {}
        self._message: dict[str, Json] = {}  # its other members
        self._calls: list[_PartialCall] = []
        self._logprobs: dict[str, Json] = {}
        self._rest: dict[str, Json] = {}  # other members of the choice
        self._reason: Json = None
        self._is_text = False  # a choice of a completion
        self._has_messages = False  # in place of deltas

    @property
    def is_complete(self) -> bool:
        """Whether it has a finish reason."""
        return self._reason is not None or has_error(self._rest) or has_error(self._message)

    def add(self, choice: dict[str, Json], place: int) -> Delta | None:
        """Add a piece; return its delta, if it has one."""
        if not choice.keys() <= _OF_CHOICE:
            others = choice.keys() - _OF_CHOICE
            self._rest |= {name: choice[name] for name in others if choice[name] is not None}
        if logprobs := choice.get("logprobs"):
            self._add_logprobs(logprobs)
        delta = choice.get("delta")
        if not delta:
            delta = choice.get("message")
            if isinstance(delta, dict):
                delta = self._new_in(delta)  # before the finish reason is noted
        reason = choice.get("finish_reason")
        if reason and (self._reason is None or reason == _FILTERED):  # Azure's filter is late
            self._reason = None if reason in NO_REASON else reason
        if isinstance(delta, dict) and delta.keys() <= _OF_TEXT:
            text = delta.get("content")
            if isinstance(text, str):
                if role := delta.get("role"):
                    self._message["role"] = role
                return self.add_text(place, text)
        if not delta:
            text = choice.get("text")
            if text is None:
                return None
            self._is_text, delta = True, {"content": text}
        elif isinstance(delta, str):
            delta = {"content": delta}
        elif not isinstance(delta, dict):
            raise Malformed('the "delta" of a choice is not an object')
        return self._add_delta(delta, place)

    def add_text(self, place: int, text: str) -> Delta | None:
        """Add a piece of the content; return its delta, if it has one."""
        if not text:
            return None
        self._content.append(text)
        return Delta(text, place)

    def _new_in(self, message: dict[str, Json]) -> dict[str, Json]:
        """Return a message without what has arrived; some servers end with the whole of it."""
        is_first = not (self._content or self._calls or self._joined)
        if is_first or (self._has_messages and self._reason is None):
            self._has_messages = True
            return message
        known = {*self._joined, *(("tool_calls", "function_call") if self._calls else ())}
        new = {name: value for name, value in message.items() if name not in known}
        content, text = new.get("content"), _joined_content(self._content)
        if isinstance(content, str) and isinstance(text, str) and content.startswith(text):
            new["content"] = content[len(text) :]
        elif content == text:
            new.pop("content", None)
        return new

    def _add_delta(self, delta: Mapping[str, Json], place: int) -> Delta | None:
        content = Content()
        content.add(content_of(delta))
        calls: list[ToolCallDelta] = []
        for call in content.calls:
            calls += self._add_call(dict(call))
        for name, value in delta.items():
            if (
                value is None
                or value == ""
                or (name == "function_call" and delta.get("tool_calls"))
            ):
                continue
            if name == "content" or (name == "text" and "content" not in delta):
                self._content.append(_without_calls(value) if content.calls else value)
            elif name in ("tool_calls", "function_call"):
                for fragment in value if isinstance(value, list) else (value,):
                    calls += self._add_call(fragment)
            elif name in REASONING or name == "refusal":
                self._joined.setdefault(name, []).append(flat_text(value))
            elif name in _LISTS and isinstance(value, list):
                self._lists.setdefault(name, []).extend(value)
            elif name == "audio" and isinstance(value, dict):
                self._message[name] = _joined_audio(object_of(self._message, name), value)
            else:
                self._message[name] = value
        reasoning = reasoning_of(delta) or content.reasoning
        refusal = flat_text(delta.get("refusal")) or content.refusal
        if not (content.text or reasoning or refusal or calls):
            return None
        return Delta(
            content.text, place, reasoning=reasoning, refusal=refusal, tool_calls=tuple(calls)
        )

    def _add_call(self, fragment: Json) -> Sequence[ToolCallDelta]:
        if fragment is None:
            return ()
        if not isinstance(fragment, dict):
            raise Malformed("a tool call in the stream is not an object")
        own = own_members(fragment)
        name, call_id = text_of(own, "name"), text_of(fragment, "id")
        arguments = arguments_text(arguments_in(own))
        call = self._call_of(fragment.get("index"), call_id, name)
        if call is None:
            call = _PartialCall(fragment.get("index"))
            self._calls.append(call)
        new_name, new_id = "" if call.name == name else name, "" if call.id else call_id
        call.name += new_name
        call.id += new_id
        call.kind = "custom" if "custom" in fragment else call.kind
        call.arguments.append(arguments)
        return (ToolCallDelta(self._calls.index(call), new_name, arguments, new_id),)

    def _call_of(self, index: Json, call_id: str, name: str) -> "_PartialCall | None":
        """Return the call that a fragment continues; None if it begins one.

        OpenAI tells calls apart by their index. Some servers send none, or the same for all calls;
        then an id or a name begins a call. A name may come in pieces, and each piece with an id of
        its own.
        """
        same = (call for call in reversed(self._calls) if index is None or call.index == index)
        found = next(same, None)
        if found is None or (call_id and call_id == found.id):
            return found
        if index is None:
            begins = bool(name or call_id)
        elif call_id:
            begins = bool(found.id and name)
        else:
            in_pieces = found.id and not any(found.arguments)
            begins = bool(name and found.name and name != found.name and not in_pieces)
        return None if begins else found

    def _add_logprobs(self, logprobs: Json) -> None:
        if isinstance(logprobs, list):
            logprobs = {"content": logprobs}
        for name, value in (logprobs if isinstance(logprobs, dict) else {}).items():
            known = self._logprobs.get(name)
            if isinstance(known, list) and isinstance(value, list):
                known.extend(value)
            elif value is not None:
                self._logprobs[name] = list(value) if isinstance(value, list) else value

    def body(self, index: int) -> dict[str, Json]:
        """Return the choice of a whole response."""
        whole: dict[str, Json] = {
            "index": index,
            "finish_reason": self._reason,
            "logprobs": self._logprobs or None,
            **self._rest,
        }
        content = _joined_content(self._content)
        joined: dict[str, Json] = {name: "".join(texts) for name, texts in self._joined.items()}
        if self._is_text and not self._message:
            return {**whole, "text": content or "", **joined}
        message: dict[str, Json] = {"role": "assistant", **self._message, "content": content}
        message |= joined
        message.update(self._lists)
        if self._calls:
            message["tool_calls"] = [call.body() for call in self._calls]
        return {**whole, "message": message}


@final
class _PartialCall:
    """One tool call, as far as it has arrived."""

    def __init__(self, index: Json) -> None:
        self.index = index
        self.id = self.name = ""
        self.kind = "function"
        self.arguments: list[str] = []

    def body(self) -> dict[str, Json]:
        """Return the call as a whole response has it."""
        written = "input" if self.kind == "custom" else "arguments"
        own: dict[str, Json] = {"name": self.name, written: "".join(self.arguments)}
        return {"id": self.id, "type": self.kind, self.kind: own}


def _without_padding(event: ServerSentEvent) -> ServerSentEvent:
    """Return a chunk without the random member with which OpenAI hides the length of its text."""
    data = event.data
    start = data.rfind(_PADDING)
    if start < 0 or not data.endswith(b'"}'):
        return event
    padding = data[start + len(_PADDING) : -2]
    is_random = padding.isalnum() or not padding  # so it has no quotes: the JSON ends with it
    return ServerSentEvent(data[:start] + b"}", event.name) if is_random else event


def _check_groq(member: Json) -> None:
    """Check that Groq's own member of a chunk has no error."""
    if isinstance(member, dict) and has_error(member):
        raise StreamFailed(read_error(member))


def _is_text(choices: list[Json]) -> bool:
    """Return whether the choices of a chunk are one, of which only a text is new."""
    choice = choices[0] if len(choices) == 1 else None
    if not isinstance(choice, dict) or choice.get("logprobs"):
        return False
    delta = choice.get("delta")
    if not isinstance(delta, dict) or not delta.keys() <= _OF_TEXT:
        return False
    return bool(delta.get("content")) and isinstance(delta["content"], str)


def _without_calls(content: Json) -> Json:
    """Return a content without the parts that are tool calls."""
    parts = content if isinstance(content, list) else [content]
    return [part for part in parts if not (isinstance(part, dict) and part.get("type") in CALLS)]


def _joined_content(pieces: list[Json]) -> Json:
    """Return the pieces of a content as one: a text, or a list if there are parts among them."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) == len(pieces):
        return "".join(texts) if texts else None
    if len(pieces) == 1:
        return pieces[0]
    parts: list[Json] = []
    for piece in pieces:
        if isinstance(piece, list):
            parts += piece
        else:
            parts.append({"type": "text", "text": piece} if isinstance(piece, str) else piece)
    return parts


def _joined_audio(known: Mapping[str, Json], more: Mapping[str, Json]) -> dict[str, Json]:
    """Return a sound with a further piece of its data or transcript."""
    joined = {**known, **more}
    for name in ("data", "transcript"):
        if text := text_of(known, name):
            joined[name] = text + text_of(more, name)
    return joined
