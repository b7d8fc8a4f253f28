"""Remove a key that a provider quotes, from its bodies, responses and streams (L8).

A gateway may return the headers of a request, and a model what a gateway shows it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, final

import attrs

from ..json_value import Json
from ..responses import Choice, Delta, ToolCall, ToolCallDelta
from ..vendors import DecodedResponse, Endpoint

_SHOWN_CHARACTERS = 12  # of the beginning of a key; so many tell nothing of it


def without_key(endpoint: Endpoint, body: Json | Mapping[str, Json]) -> Mapping[str, Json] | None:
    """Return a body without the endpoint's key (L8); None if it is no JSON object.

    Args:
        endpoint: whose key to remove.
        body: the decoded JSON that a provider sent.
    """
    try:
        scrubbed = _scrubbed(endpoint, dict(body) if isinstance(body, Mapping) else body)
    except RecursionError:  # nested too deep for a real response
        return None
    return scrubbed if isinstance(scrubbed, dict) else None


def _scrubbed(endpoint: Endpoint, value: Json) -> Json:
    if isinstance(value, str):
        return endpoint.scrub(value)
    if isinstance(value, list):
        return [_scrubbed(endpoint, item) for item in value]
    if isinstance(value, dict):
        return {endpoint.scrub(name): _scrubbed(endpoint, item) for name, item in value.items()}
    return value


def response_without_key(
    endpoint: Endpoint, response: DecodedResponse, *, is_quoted: bool
) -> DecodedResponse:
    """Return a response without the endpoint's key in its texts and its body.

    Args:
        endpoint: whose key to remove.
        response: the whole response.
        is_quoted: whether its bytes contain the key. They do not if the key is in pieces, or
            escaped, but a text of the response may contain it.
    """
    if not is_quoted and not _quotes_key(endpoint, response.choices):
        return response
    return attrs.evolve(
        response,
        choices=tuple(_choice_without_key(endpoint, choice) for choice in response.choices),
        body=without_key(endpoint, response.body),
    )


def _quotes_key(endpoint: Endpoint, choices: Sequence[Choice]) -> bool:
    """Return whether a text of the choices contains the endpoint's key."""
    for choice in choices:
        texts = [choice.text, choice.reasoning, choice.refusal]
        texts += [call.arguments for call in choice.tool_calls]
        for text in texts:
            if text and endpoint.is_quoted_in(text.encode(errors="replace")):
                return True
    return False


def _choice_without_key(endpoint: Endpoint, choice: Choice) -> Choice:
    scrub = endpoint.scrub
    calls = (ToolCall(*map(scrub, (it.name, it.arguments, it.id))) for it in choice.tool_calls)
    notes = (without_key(endpoint, note) for note in choice.annotations)
    return attrs.evolve(
        choice,
        text=scrub(choice.text),
        reasoning=scrub(choice.reasoning),
        refusal=None if choice.refusal is None else scrub(choice.refusal),
        tool_calls=tuple(calls),
        annotations=tuple(note for note in notes if note is not None),
    )


_Part = tuple[int, Literal["text", "reasoning", "refusal"] | int]
"""The index of a choice, and which of its texts; a number is that of a tool call."""


@final
class DeltaScrubber:
    """Removes the endpoint's key from the deltas of one response, also where it is in pieces.

    The end of a text that may be the beginning of the key waits for the next delta.

    Args:
        endpoint: whose key to remove.

    Attributes:
        has_hidden: whether a delta contained the key.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._waiting: dict[_Part, str] = {}
        self.has_hidden = False

    @property
    def may_begin_key(self) -> bool:
        """Whether a text waits that is so long that it is no beginning of the key by chance."""
        waiting = self._waiting
        return bool(waiting) and any(len(it) >= _SHOWN_CHARACTERS for it in waiting.values())

    def pieces(self, deltas: Sequence[Delta], *, is_quoted: bool = False) -> Iterator[Delta]:  # noqa: ARG002  # as `PassedEvents.pieces`
        """Return deltas without the key, and without those that wait.

        Args:
            deltas: the next pieces of the response.
            is_quoted: whether the bytes of the response contain the key so far; a delta may
                contain it even if they do not.
        """
        return filter(None, map(self.feed, deltas))

    def feed(self, delta: Delta) -> Delta | None:
        """Return a delta without the key; None if all of it waits.

        Args:
            delta: the next piece of the response.
        """
        if not self._waiting and self._is_plain(delta):
            return delta
        at = delta.index
        text = self._pass((at, "text"), delta.text)
        reasoning = self._pass((at, "reasoning"), delta.reasoning)
        refusal = self._pass((at, "refusal"), delta.refusal)
        calls = tuple(
            attrs.evolve(call, arguments=self._pass((at, call.index), call.arguments))
            for call in delta.tool_calls
        )
        passed = Delta(text, at, reasoning=reasoning, refusal=refusal, tool_calls=calls)
        return delta if passed == delta else passed if _has_text(passed) else None

    def end(self) -> list[Delta]:
        """Return what waits, once the response has ended."""
        waiting, self._waiting = self._waiting, {}
        return [_delta(part, self._hidden(text)) for part, text in waiting.items()]

    def _is_plain(self, delta: Delta) -> bool:
        """Whether a delta has only a text, which neither quotes nor begins the key."""
        text = delta.text
        return not (
            delta.reasoning
            or delta.refusal
            or delta.tool_calls
            or self._endpoint.held_back(text)
            or self._endpoint.is_quoted_in(text.encode(errors="replace"))
        )

    def _pass(self, part: _Part, text: str) -> str:
        if not text:
            return ""
        text = self._waiting.pop(part, "") + text
        if size := self._endpoint.held_back(text):
            self._waiting[part] = text[-size:]
            text = text[:-size]
        return self._hidden(text)

    def _hidden(self, text: str) -> str:
        if not self._endpoint.is_quoted_in(text.encode(errors="replace")):
            return text
        self.has_hidden = True
        return self._endpoint.scrub(text)


def _has_text(delta: Delta) -> bool:
    names = any(call.name or call.id or call.arguments for call in delta.tool_calls)
    return bool(delta.text or delta.reasoning or delta.refusal or names)


def _delta(part: _Part, text: str) -> Delta:
    at, name = part
    if name == "text":
        return Delta(text, at)
    if name == "reasoning":
        return Delta(index=at, reasoning=text)
    if name == "refusal":
        return Delta(index=at, refusal=text)
    return Delta(index=at, tool_calls=(ToolCallDelta(name, arguments=text),))
