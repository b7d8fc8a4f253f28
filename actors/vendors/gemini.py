"""Google's Gemini format: generateContent."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, final
from urllib.parse import quote

import attrs

from ..json_value import Json
from ..messages import Request
from ..responses import Choice, Delta, TokenLogprob, ToolCall, ToolCallDelta, Usage
from .decoding import (
    count_of,
    in_order,
    is_end_mark,
    object_of,
    read_error,
    read_event,
    read_members,
    text_of,
    within_depth,
)
from .encoding import add_extra, check_supported, expected_choices
from .format import (
    ApiError,
    BrokeOff,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    StreamFailed,
    UnsupportedField,
)
from .gemini_input import gemini_chat
from .openai_answers import arguments_text, likely_tokens, notes_in, number_of
from .sse import ServerSentEvent
from .token_counts import TokenCounts
from .tool_members import gemini_tools
from .translation import translated

_RESERVED = frozenset({"contents"})

# {Gemini's finish reason: OpenAI's}; other reasons are put in lower case.
_REASONS = {
    "": "",
    "FINISH_REASON_UNSPECIFIED": "",
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
_UNBLOCKED = ("", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED")


@attrs.frozen(kw_only=True)
class GeminiContent:
    """`POST /models/MODEL:generateContent`, or ``:streamGenerateContent``.

    A prompt that Gemini blocks becomes an empty response with the finish reason "content_filter".
    """

    name = "Gemini's generateContent format"
    form = "gemini"
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {
            *("messages", "max_tokens", "n", "temperature", "top_p", "stop", "seed"),
            *("json_schema", "returns", "tools", "tool_choice"),
        }
    )

    def path(self, request: Request, *, stream: bool) -> str:
        """Return what to append to the base URL; it contains the model, which the body does not."""
        model = request.model if "/" in request.model else f"models/{request.model}"
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/{quote(model)}:{verb}"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:  # noqa: ARG002  # it changes the path only
        """Return the JSON body of a request.

        Raises:
            UnsupportedField: Gemini does not support a field of the request.
        """
        request = translated(request, self.form, self.name)
        check_supported(request, self.name, self.supports)
        body = gemini_chat(request.messages, self.name) | gemini_tools(request)
        if config := _config(request):
            body["generationConfig"] = config
        if "candidateCount" in object_of(request.extra_body, "generationConfig"):
            raise UnsupportedField("extra_body's candidateCount", self.name, "set the request's n")
        return add_extra(body, request, self.name, _RESERVED)

    @within_depth
    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Read a response body, or the error in it.

        Raises:
            Malformed: it is neither, or does not have exactly `request.n` choices.
        """
        members = read_members(body, "candidates")
        if isinstance(members, ApiError):
            return members
        expected = expected_choices(request)
        candidates = members.get("candidates")
        if candidates and isinstance(candidates, list):
            numbered = [
                (one.get("index") if isinstance(one, dict) else None, one) for one in candidates
            ]
            ordered = in_order(numbered, expected, is_list=False)
            choices = tuple(map(_candidate, ordered))
        else:
            blocked = _blocked(members)
            if blocked is None:
                raise Malformed('the response has no "candidates"')
            choices = (Choice("", "content_filter", refusal=blocked),) * expected
        counts = _counts(object_of(members, "usageMetadata"))
        return DecodedResponse(
            choices=choices,
            model=text_of(members, "modelVersion") or None,
            usage=counts.usage,
            usage_doubt=counts.doubt,
            body=members,
        )

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        return _GeminiDecoder(lambda body: self.decode(body, request))


@final
class _GeminiDecoder:
    """Decodes a stream of partial responses. None of them is marked as the last.

    Args:
        decode: decodes the body of a whole response.
    """

    def __init__(self, decode: Callable[[Json], DecodedResponse | ApiError]) -> None:
        self._decode = decode
        self._body: dict[str, Json] = {}
        self._candidates: dict[int, _PartialCandidate] = {}
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event."""
        if is_end_mark(event.data):  # by gateways only
            self.done = True
        if self.done:
            return ()
        members = read_event(event)
        if members.get("error") or event.name == "error":
            raise StreamFailed(read_error(members))
        self.usage = _counts(object_of(members, "usageMetadata")).usage or self.usage
        for name, value in members.items():
            if value is not None and name != "candidates":
                self._body[name] = value
        candidates = members.get("candidates")
        if not isinstance(candidates, list):
            return ()
        return [delta for each in candidates if (delta := self._add(each)) is not None]

    def _add(self, candidate: Json) -> Delta | None:
        if not isinstance(candidate, dict):
            raise Malformed("a candidate is not an object")
        index = candidate.get("index")
        place = index if isinstance(index, int) and index >= 0 else 0
        partial = self._candidates.get(place)
        if partial is None:
            partial = self._candidates[place] = _PartialCandidate()
        return partial.add(candidate, place)

    def end(self) -> DecodedResponse | ApiError:
        """Return the whole response, or why there is none; see `StreamDecoder`."""
        partial = self._candidates
        is_complete = all(one.is_complete for one in partial.values())
        if not (self.done or is_complete) or not (partial or self._body):
            raise BrokeOff(
                "the stream ended before the response was complete "
                "(a candidate has no finish reason)"
            )
        body = dict(self._body)
        if partial:
            body["candidates"] = [one.body(at) for at, one in sorted(partial.items())]
        decoded = self._decode(body)
        if isinstance(decoded, ApiError):
            return decoded
        return attrs.evolve(decoded, usage=self.usage, is_assembled=True)


@final
class _PartialCandidate:
    """One candidate, as far as it has arrived."""

    def __init__(self) -> None:
        self._members: dict[str, Json] = {}
        self._parts: list[dict[str, Json]] = []
        self._pieces: list[str] = []  # of the text of the last part
        self._calls = 0

    @property
    def is_complete(self) -> bool:
        """Whether it has a finish reason."""
        return bool(_reason(self._members))

    def add(self, candidate: dict[str, Json], place: int) -> Delta | None:
        """Add a piece; return its delta, if it has one."""
        for name, value in candidate.items():
            if value is not None and name not in ("content", "index"):
                self._members[name] = value
        text, thoughts, calls = "", "", list[ToolCallDelta]()
        for part in _parts_of(candidate):
            if isinstance(call := part.get("functionCall"), dict):
                calls.append(ToolCallDelta(self._calls, *attrs.astuple(_tool_call(call))))
                self._calls += 1
            if part.get("thought"):
                thoughts += text_of(part, "text")
            else:
                text += text_of(part, "text")
            self._join(part)
        if not (text or thoughts or calls):
            return None
        return Delta(text, place, reasoning=thoughts, tool_calls=tuple(calls))

    def _join(self, part: dict[str, Json]) -> None:
        """Add a part; if it is only a text, it continues a text of the same kind."""
        last = self._parts[-1] if self._parts else {}
        is_same = bool(part.get("thought")) == bool(last.get("thought"))
        if is_same and "text" in last and part.keys() <= {"text", "thought"}:
            self._pieces.append(text_of(part, "text"))
            return
        self._close()
        self._parts.append(dict(part))
        self._pieces = [text_of(part, "text")] if "text" in part else []

    def _close(self) -> None:
        if len(self._pieces) > 1:
            self._parts[-1]["text"] = "".join(self._pieces)

    def body(self, index: int) -> dict[str, Json]:
        """Return the candidate as a whole response has it."""
        self._close()
        content: dict[str, Json] = {"parts": list(self._parts), "role": "model"}
        has_content = bool(self._parts) or not self._members
        return {**({"content": content} if has_content else {}), **self._members, "index": index}


def _config(request: Request) -> dict[str, Json]:
    config: dict[str, Json] = {}
    if request.max_tokens is not None:
        config["maxOutputTokens"] = request.max_tokens
    if request.n > 1:
        config["candidateCount"] = request.n
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if request.top_p is not None:
        config["topP"] = request.top_p
    if request.stop:
        config["stopSequences"] = list(request.stop)
    if request.seed is not None:
        config["seed"] = request.seed
    if (output := request.output_schema) is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = dict(output.schema)
    return config


def _candidate(candidate: Json) -> Choice:
    """Read a whole candidate. Thoughts are its reasoning."""
    if not isinstance(candidate, dict):
        raise Malformed("a candidate is not an object")
    text, thoughts, calls = list[str](), list[str](), list[ToolCall]()
    for part in _parts_of(candidate):
        (thoughts if part.get("thought") else text).append(text_of(part, "text"))
        if isinstance(call := part.get("functionCall"), dict):
            calls.append(_tool_call(call))
    reason = _reason(candidate)
    if not reason and "content" not in candidate:
        raise Malformed('a candidate has no "content"')
    return Choice(
        "".join(text),
        "tool_calls" if calls and reason == "stop" else reason or None,
        tool_calls=tuple(calls),
        reasoning="".join(thoughts),
        logprobs=_logprobs(object_of(candidate, "logprobsResult")),
        annotations=_notes(candidate),
    )


def _parts_of(candidate: dict[str, Json]) -> list[dict[str, Json]]:
    """Return the parts of a candidate's content.

    Raises:
        Malformed: the content has another type.
    """
    content = candidate.get("content")
    if isinstance(content, dict):
        content = content.get("parts")
    if isinstance(content, str):
        return [{"text": content}]
    parts = content if isinstance(content, list) else [content]
    found: list[dict[str, Json]] = []
    for part in parts:
        if isinstance(part, dict):
            found.append(part)
        elif isinstance(part, str):
            found.append({"text": part})
        elif part is not None:
            raise Malformed("a part of a candidate is not an object")
    return found


def _tool_call(call: dict[str, Json]) -> ToolCall:
    arguments = call.get("args")
    written = "{}" if arguments is None else arguments_text(arguments)
    return ToolCall(text_of(call, "name"), written, text_of(call, "id"))


def _reason(candidate: dict[str, Json]) -> str:
    reason = text_of(candidate, "finishReason")
    return _REASONS.get(reason, reason.lower())


def _logprobs(result: dict[str, Json]) -> tuple[TokenLogprob, ...]:
    chosen, top = result.get("chosenCandidates"), result.get("topCandidates")
    tops = top if isinstance(top, list) else []
    found: list[TokenLogprob] = []
    for at, token in enumerate(chosen if isinstance(chosen, list) else []):
        if isinstance(token, dict):
            likely = tops[at] if at < len(tops) else None
            pairs = notes_in(likely, "candidates") if isinstance(likely, dict) else []
            found.append(
                TokenLogprob(
                    text_of(token, "token"),
                    number_of(token.get("logProbability")),
                    likely_tokens(
                        (text_of(one, "token"), one.get("logProbability")) for one in pairs
                    ),
                )
            )
    return tuple(found)


def _notes(candidate: dict[str, Json]) -> tuple[Mapping[str, Json], ...]:
    """Return the sources of a candidate: cited ones, and those of a search."""
    cited, searched = (
        object_of(candidate, "citationMetadata"),
        object_of(candidate, "groundingMetadata"),
    )
    return (
        *notes_in(cited, "citationSources"),
        *notes_in(cited, "citations"),
        *notes_in(searched, "groundingChunks"),
    )


def _blocked(members: dict[str, Json]) -> str | None:
    """Return why a prompt was blocked, in Google's words; None if it was not."""
    feedback = object_of(members, "promptFeedback")
    reason = text_of(feedback, "blockReason")
    return None if reason in _UNBLOCKED else text_of(feedback, "blockReasonMessage") or reason


def _counts(usage: dict[str, Json]) -> TokenCounts:
    """Read the usage. Google counts thoughts separately, and cached tokens as prompt tokens."""
    prompt, output = count_of(usage, "promptTokenCount"), count_of(usage, "candidatesTokenCount")
    if prompt is not None:
        prompt += count_of(usage, "toolUsePromptTokenCount") or 0
        if "candidatesTokenCount" not in usage:  # Google leaves out numbers that are 0
            output = 0
    thoughts = count_of(usage, "thoughtsTokenCount") or 0
    return TokenCounts(
        prompt,
        None if output is None else output + thoughts,
        count_of(usage, "cachedContentTokenCount") or 0,
        reasoning=thoughts,
        total=count_of(usage, "totalTokenCount"),
    )
