"""Google's Gemini format: generateContent."""

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

import attrs

from ..messages import Choice, Delta, Json, Request, Usage
from .decoding import (
    EVENT,
    Collector,
    count_of,
    in_order,
    object_of,
    read_error,
    read_object,
    text_of,
)
from .encoding import add_extra, check_supported, expected_choices, split_system
from .format import (
    ApiError,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    StreamFailed,
    UnsupportedField,
)
from .sse import ServerSentEvent

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
    streams = True
    supports: ClassVar[frozenset[str]] = frozenset(
        {"messages", "max_tokens", "n", "temperature", "top_p", "stop", "seed", "json_schema"}
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
        check_supported(request, self.name, self.supports)
        system, messages = split_system(request, self.name)
        if any(message.extra for message in messages):
            raise UnsupportedField("extra in a message", self.name)
        body: dict[str, Json] = {
            "contents": [
                {
                    "role": "model" if message.role == "assistant" else "user",
                    "parts": [{"text": message.content}],
                }
                for message in messages
            ]
        }
        if system:
            body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
        if config := _config(request):
            body["generationConfig"] = config
        if "candidateCount" in object_of(request.extra_body, "generationConfig"):
            raise UnsupportedField("extra_body's candidateCount", self.name, "set the request's n")
        return add_extra(body, request, self.name, _RESERVED)

    def decode(self, body: Json, request: Request) -> DecodedResponse | ApiError:
        """Read a response body, or the error in it.

        Raises:
            Malformed: it is neither, or does not have exactly `request.n` choices.
        """
        if isinstance(body, list) and len(body) == 1:
            body = body[0]
        if not isinstance(body, dict):
            raise Malformed("the response is JSON, but not an object")
        if body.get("error"):
            return read_error(body)
        expected = expected_choices(request)
        candidates = body.get("candidates")
        if not isinstance(candidates, list):
            if not _is_blocked(body):
                raise Malformed('the response has no "candidates"')
            choices = (Choice("", "content_filter"),) * expected
        else:
            choices = in_order(map(_candidate, candidates), expected)
        return DecodedResponse(
            choices=choices,
            model=text_of(body, "modelVersion") or None,
            usage=_usage(object_of(body, "usageMetadata")),
            body=body,
        )

    def decode_error(self, body: Json) -> ApiError:
        """Return the error in a body."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Return a decoder for one streamed response."""
        return _GeminiDecoder(expected_choices(request))


class _GeminiDecoder:
    """Decodes a stream of partial responses. None of them is marked as the last."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._choices = Collector(expected)
        self._model: str | None = None
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event."""
        if not event.data or event.data.isspace():
            return ()
        part = read_object(event.data, EVENT)
        if part.get("error"):
            raise StreamFailed(read_error(part))
        self.usage = _usage(object_of(part, "usageMetadata")) or self.usage
        self._model = self._model or text_of(part, "modelVersion") or None
        candidates = part.get("candidates")
        if not isinstance(candidates, list):
            if _is_blocked(part):
                for place in range(self._expected):
                    self._choices.finish(place, "content_filter")
            return ()
        return [delta for each in candidates if (delta := self._add(each)) is not None]

    def end(self) -> DecodedResponse:
        """Return the whole response, once the body has ended."""
        return DecodedResponse(choices=self._choices.choices(), model=self._model, usage=self.usage)

    def _add(self, candidate: Json) -> Delta | None:
        index, choice = _candidate(candidate)
        place = self._choices.place(index)
        if choice.finish_reason:
            self._choices.finish(place, choice.finish_reason)
        if not choice.text:
            return None
        self._choices.add(place, choice.text)
        return Delta(choice.text, place)


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
    if request.json_schema is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = dict(request.json_schema)
    return config


def _candidate(candidate: Json) -> tuple[Json, Choice]:
    """Read index and choice of a candidate, or of a part of one. Thoughts are left out."""
    if not isinstance(candidate, dict):
        raise Malformed("a candidate is not an object")
    parts = object_of(candidate, "content").get("parts")
    text = "".join(
        text_of(part, "text")
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and not part.get("thought")
    )
    reason = text_of(candidate, "finishReason")
    reason = _REASONS.get(reason, reason.lower())
    return candidate.get("index"), Choice(text, reason or None)


def _is_blocked(body: dict[str, Json]) -> bool:
    return text_of(object_of(body, "promptFeedback"), "blockReason") not in _UNBLOCKED


def _usage(usage: dict[str, Json]) -> Usage | None:
    """Read the usage. Google counts thoughts separately, and cached tokens as prompt tokens."""
    prompt, output = count_of(usage, "promptTokenCount"), count_of(usage, "candidatesTokenCount")
    if prompt is None and output is None:
        return None
    thoughts = count_of(usage, "thoughtsTokenCount") or 0
    return Usage(
        (prompt or 0) + (count_of(usage, "toolUsePromptTokenCount") or 0),
        (output or 0) + thoughts,
        count_of(usage, "cachedContentTokenCount") or 0,
        reasoning_tokens=thoughts,
    )
