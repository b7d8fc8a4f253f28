"""Google's Gemini: generateContent."""

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

import attrs

from ..messages import Choice, Delta, Json, Request, Usage
from .decoding import Collector, count_of, in_order, object_of, read_error, read_event, text_of
from .encoding import add_extra, expected_answers, refuse_unless_expressed, system_and_turns
from .format import (
    ApiError,
    DecodedResponse,
    Malformed,
    StreamDecoder,
    StreamFailed,
    UnsupportedField,
)
from .sse import ServerSentEvent

__all__ = [
    "GeminiContent",
]


_RESERVED = frozenset({"contents"})

# Gemini's reasons for the end of an answer, in OpenAI's words; others are put in small letters.
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

    A prompt that Gemini blocks is an empty answer with the finish reason "content_filter".
    """

    name = "Gemini's generateContent format"
    streams = True
    expresses: ClassVar[frozenset[str]] = frozenset(
        {"messages", "max_tokens", "n", "temperature", "top_p", "stop", "seed", "json_schema"}
    )

    def path(self, request: Request, *, stream: bool) -> str:
        """What to append to the base URL; the model stands in it, not in the body."""
        model = request.model if "/" in request.model else f"models/{request.model}"
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/{quote(model)}:{verb}"

    def encode(self, request: Request, *, stream: bool) -> dict[str, Json]:  # noqa: ARG002  # the path tells
        """The JSON body.

        Raises:
            Inexpressible: Gemini has no word for a field of the request.
        """
        refuse_unless_expressed(request, self.name, self.expresses)
        system, turns = system_and_turns(request, self.name)
        if any(turn.extra for turn in turns):
            raise UnsupportedField("extra of a turn", self.name)
        body: dict[str, Json] = {
            "contents": [
                {
                    "role": "model" if turn.role == "assistant" else "user",
                    "parts": [{"text": turn.content}],
                }
                for turn in turns
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
        """The answers in a body, or the error in it.

        Raises:
            Malformed: it is neither, or has not exactly `request.n` answers.
        """
        if isinstance(body, list) and len(body) == 1:
            body = body[0]
        if not isinstance(body, dict):
            raise Malformed("the answer is JSON, but not an object")
        if body.get("error"):
            return read_error(body)
        expected = expected_answers(request)
        candidates = body.get("candidates")
        if not isinstance(candidates, list):
            if not _is_blocked(body):
                raise Malformed('the answer has no "candidates"')
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
        """The error in a body."""
        return read_error(body)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        """Reads one streamed answer."""
        return _GeminiDecoder(expected_answers(request))


class _GeminiDecoder:
    """Reads a stream of partial answers. None of them says that it is the last."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._answers = Collector(expected)
        self._model: str | None = None
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """What one event adds to the answers."""
        if not event.data or event.data.isspace():
            return ()
        part = read_event(event.data)
        if part.get("error"):
            raise StreamFailed(read_error(part))
        self.usage = _usage(object_of(part, "usageMetadata")) or self.usage
        self._model = self._model or text_of(part, "modelVersion") or None
        candidates = part.get("candidates")
        if not isinstance(candidates, list):
            if _is_blocked(part):
                for place in range(self._expected):
                    self._answers.finish(place, "content_filter")
            return ()
        return [delta for each in candidates if (delta := self._add(each)) is not None]

    def end(self) -> DecodedResponse:
        """The whole, once the body has ended."""
        return DecodedResponse(choices=self._answers.choices(), model=self._model, usage=self.usage)

    def _add(self, candidate: Json) -> Delta | None:
        index, choice = _candidate(candidate)
        place = self._answers.place(index)
        if choice.finish_reason:
            self._answers.finish(place, choice.finish_reason)
        if not choice.text:
            return None
        self._answers.add(place, choice.text)
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
    """The index and the answer, or a part of it, of one candidate. Thoughts are no answer."""
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
    """Google counts thoughts beside the answer, and cached tokens among those of the prompt."""
    prompt, answer = count_of(usage, "promptTokenCount"), count_of(usage, "candidatesTokenCount")
    if prompt is None and answer is None:
        return None
    thoughts = count_of(usage, "thoughtsTokenCount") or 0
    return Usage(
        (prompt or 0) + (count_of(usage, "toolUsePromptTokenCount") or 0),
        (answer or 0) + thoughts,
        count_of(usage, "cachedContentTokenCount") or 0,
        reasoning_tokens=thoughts,
    )
