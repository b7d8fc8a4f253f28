"""Write the chunks of a stream of OpenAI: of chats and of completions.

    {"choices": [{"delta": {"role": "assistant", "content": ""}}]}   the first one of each choice
    {"choices": [{"delta": {"content": "Hi"}}]}                      as often as there is a piece
    {"choices": [{"delta": {}, "finish_reason": "stop"}]}            the last one of each choice
    {"choices": [], "usage": {...}}                                  if the client asks for it
    [DONE]

Chunks of a provider that speaks the same dialect go to the client as they are.
"""

import re
from typing import Protocol, final

import attrs

from ...actors import Choice, Delta, Json, ProviderEvent, Response, loads
from ...bodies import chat_usage, choices_of
from .carried import carried_delta
from .made import call_id, finish_reason
from .sse import DONE, DONE_MARK, data_event, passed_event

_USAGE = re.compile(rb'"usage"\s*:\s*\{')


class Chunks(Protocol):
    """Makes the chunks of one answer."""

    def first(self, index: int) -> Json:
        """Return the choice of the first chunk; None if there is none.

        Args:
            index: the index of the choice.
        """
        ...

    def piece(self, delta: Delta, name: str) -> Json:
        """Return the choice of a chunk with a piece.

        Args:
            delta: what is appended to the choice.
            name: a text that no other answer has, to make ids from.
        """
        ...

    def carried(self, response: Response) -> Json:
        """Return the choice of a chunk with what goes back to the provider; None for nothing.

        Args:
            response: the whole response.
        """
        ...

    def last(self, index: int, reason: str) -> Json:
        """Return the choice of the last chunk.

        Args:
            index: the index of the choice.
            reason: why it ended.
        """
        ...

    def chunk(self, choices: list[Json], usage: Json = None) -> dict[str, Json]:
        """Return a chunk.

        Args:
            choices: its choices; empty for the chunk with the usage.
            usage: the tokens of the call; None in all chunks but one.
        """
        ...


@final
@attrs.frozen
class ChatChunks:
    """Makes the chunks of a chat.

    Args:
        id: the id of all chunks.
        created: the time of the response, in seconds of Unix time.
        model: the model that was requested.
    """

    id: str
    created: int
    model: str

    def first(self, index: int) -> Json:
        """Return the choice of the first chunk, which has the role."""
        return _choice(index, {"role": "assistant", "content": ""})

    def piece(self, delta: Delta, name: str) -> Json:
        """Return the choice of a chunk with a piece; see `Chunks`."""
        members: dict[str, Json] = {}
        if delta.text:
            members["content"] = delta.text
        if delta.reasoning:
            members["reasoning_content"] = delta.reasoning
        if delta.refusal:
            members["refusal"] = delta.refusal
        calls: list[Json] = []
        for call in delta.tool_calls:
            function: dict[str, Json] = {"arguments": call.arguments}
            head: dict[str, Json] = {"index": call.index}
            if call.name:  # the first piece of the call
                function = {"name": call.name, **function}
                head |= {"id": call_id(name, call.index, call.id), "type": "function"}
            calls.append({**head, "function": function})
        if calls:
            members["tool_calls"] = calls
        return _choice(delta.index, members)

    def carried(self, response: Response) -> Json:
        """Return the choice of a chunk with what goes back to the provider; see `Chunks`."""
        delta = carried_delta(response)
        return _choice(0, delta) if delta else None

    def last(self, index: int, reason: str) -> Json:
        """Return the choice of the last chunk; see `Chunks`."""
        return _choice(index, {}, reason)

    def chunk(self, choices: list[Json], usage: Json = None) -> dict[str, Json]:
        """Return a chunk; see `Chunks`."""
        return _chunk(self, "chat.completion.chunk", choices, usage)


@final
@attrs.frozen
class CompletionChunks:
    """Makes the chunks of a completion.

    Args:
        id: the id of all chunks.
        created: the time of the response, in seconds of Unix time.
        model: the model that was requested.
    """

    id: str
    created: int
    model: str

    def first(self, index: int) -> Json:  # noqa: ARG002  # as the protocol has it
        """Return None: a completion has no role."""
        return None

    def piece(self, delta: Delta, name: str) -> Json:  # noqa: ARG002  # as the protocol has it
        """Return the choice of a chunk with a piece; see `Chunks`."""
        return _text_choice(delta.index, delta.text)

    def carried(self, response: Response) -> Json:  # noqa: ARG002  # as the protocol has it
        """Return None: a completion is not continued."""
        return None

    def last(self, index: int, reason: str) -> Json:
        """Return the choice of the last chunk; see `Chunks`."""
        return _text_choice(index, "", reason)

    def chunk(self, choices: list[Json], usage: Json = None) -> dict[str, Json]:
        """Return a chunk; see `Chunks`."""
        return _chunk(self, "text_completion", choices, usage)


def _choice(index: int, delta: dict[str, Json], reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _text_choice(index: int, text: str, reason: str | None = None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _chunk(
    chunks: ChatChunks | CompletionChunks, kind: str, choices: list[Json], usage: Json
) -> dict[str, Json]:
    members: dict[str, Json] = {
        "id": chunks.id,
        "object": kind,
        "created": chunks.created,
        "model": chunks.model,
        "choices": choices,
    }
    return members if usage is None else {**members, "usage": usage}


@final
class ChunkWriter:
    """Writes the stream of one answer.

    Args:
        chunks: makes the chunks that the provider does not send.
        form: the wire format whose events are passed on; see `ProviderEvent.form`.
        name: a text that no other answer has, to make ids from.
        include_usage: whether the client asked for the chunk with the usage.
    """

    def __init__(self, chunks: Chunks, form: str, name: str, *, include_usage: bool) -> None:
        self._chunks = chunks
        self._form = form
        self._name = name
        self._include_usage = include_usage
        self._begun: set[int] = set()  # choices of which a chunk was made
        self._has_passed = False  # an event of the provider
        self._has_usage = False

    def feed(self, item: ProviderEvent | Delta) -> bytes:
        """Return the chunks for one piece; see `StreamWriter`."""
        if isinstance(item, Delta):
            return self._made(item)
        if item.form != self._form or self._begun:
            return b"".join(map(self._made, item.deltas))
        if item.data.strip() == DONE_MARK:
            return b""
        self._has_passed = True
        if _USAGE.search(item.data) and self._is_usage(item.data):
            return b""
        return passed_event(item, item.name)

    def _is_usage(self, data: bytes) -> bool:
        """Return whether a chunk has the usage only, and the client did not ask for it."""
        try:
            chunk = loads(data)
        except ValueError:
            return False
        if not isinstance(chunk, dict) or not isinstance(chunk.get("usage"), dict):
            return False
        self._has_usage = True
        return not chunk.get("choices") and not self._include_usage

    def _made(self, delta: Delta) -> bytes:
        begins = self._begin(delta.index)
        return begins + self._event([self._chunks.piece(delta, self._name)])

    def _begin(self, index: int) -> bytes:
        if index in self._begun:
            return b""
        self._begun.add(index)
        first = None if self._has_passed else self._chunks.first(index)
        return b"" if first is None else self._event([first])

    def _event(self, choices: list[Json]) -> bytes:
        return data_event(self._chunks.chunk(choices))

    def end(self, response: Response) -> bytes:
        """Return the last chunks; see `StreamWriter`."""
        written: list[bytes] = []
        if self._begun or not self._has_passed:
            for index, choice in enumerate(choices_of(response)):
                written.append(self._rest_of(choice, index))
                carried = None if index else self._chunks.carried(response)
                if carried is not None:
                    written.append(self._event([carried]))
                last = self._chunks.last(index, finish_reason(choice))
                written.append(self._event([last]))
        if self._include_usage and not self._has_usage:
            usage = self._chunks.chunk([], chat_usage(response.usage))
            written.append(data_event(usage))
        return b"".join((*written, DONE))

    def _rest_of(self, choice: Choice, index: int) -> bytes:
        """Return a choice of which no piece has arrived, such as that of a cached response."""
        if index in self._begun:
            return b""
        delta = Delta.whole(choice, index)
        return self._begin(index) if delta == Delta(index=index) else self._made(delta)
