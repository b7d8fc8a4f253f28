"""Write the events of a stream of Anthropic's messages.

    message_start, then for each block content_block_start, content_block_delta ... and
    content_block_stop, then message_delta with the stop reason and the usage, and message_stop

Events of Anthropic itself go to the client as they are.
"""

from typing import final

import attrs

from ...actors import Delta, Json, ProviderEvent, Response, ToolCallDelta, loads
from ...bodies import choices_of, message_usage, stop_reason
from .made import call_id
from .sse import named_event, passed_event, type_in

_START: dict[str, Json] = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}


@final
class MessageWriter:
    """Writes the stream of one answer.

    Args:
        message_id: the id of the message.
        model: the model that was requested.
        name: a text that no other answer has, to make ids from.
    """

    def __init__(self, message_id: str, model: str, name: str) -> None:
        self._id = message_id
        self._model = model
        self._name = name
        self._blocks = _BlockWriter()
        self._has_begun = False
        self._has_passed = False  # an event of Anthropic

    def feed(self, item: ProviderEvent | Delta) -> bytes:
        """Return the events for one piece; see `StreamWriter`."""
        if isinstance(item, Delta):
            return self._made(item)
        if item.form != "anthropic" or self._has_begun:
            return b"".join(map(self._made, item.deltas))
        name = item.name or type_in(item.data)
        if not name:  # clients skip an event without a name
            return b""
        self._has_passed = True
        return passed_event(item, name)

    def _made(self, delta: Delta) -> bytes:
        if delta.index:  # a message has one choice only
            return b""
        written = [self._begin()]
        blocks = self._blocks
        if delta.reasoning:
            opened: dict[str, Json] = {"type": "thinking", "thinking": "", "signature": ""}
            piece: dict[str, Json] = {"type": "thinking_delta", "thinking": delta.reasoning}
            written.append(blocks.add("thinking", opened, piece))
        if text := delta.text or delta.refusal:
            opened, piece = {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
            written.append(blocks.add("text", opened, piece))
        written += [self._call(call) for call in delta.tool_calls]
        return b"".join(written)

    def _call(self, call: ToolCallDelta) -> bytes:
        made = call_id(self._name, call.index, call.id)
        head: dict[str, Json] = {"type": "tool_use", "id": made, "name": call.name}
        piece: dict[str, Json] = {"type": "input_json_delta", "partial_json": call.arguments}
        return self._blocks.add(call.index, {**head, "input": {}}, piece)

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        if self._has_passed:  # Anthropic has begun the message
            return b""
        message: dict[str, Json] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _START,
        }
        return named_event("message_start", {"type": "message_start", "message": message})

    def end(self, response: Response) -> bytes:
        """Return the last events; see `StreamWriter`."""
        if self._has_passed and not self._has_begun:
            return b""
        first = choices_of(response)[0]
        whole = Delta.whole(first, 0)
        written = [self._begin()]
        if not self._blocks.count and whole != Delta():  # it arrived in no pieces
            written.append(self._made(whole))
        written.append(self._blocks.close_all())
        delta: dict[str, Json] = {"stop_reason": stop_reason(first), "stop_sequence": None}
        usage = message_usage(response.usage)
        members: dict[str, Json] = {"type": "message_delta", "delta": delta, "usage": usage}
        written.append(named_event("message_delta", members))
        written.append(named_event("message_stop", {"type": "message_stop"}))
        return b"".join(written)


@final
@attrs.define
class _OpenBlock:
    """A block that is open.

    Args:
        index: its index in the message.
        arguments: the pieces of a tool call's arguments.
    """

    index: int
    arguments: list[str] = attrs.field(factory=list[str])

    @property
    def is_complete(self) -> bool:
        """Whether no piece can follow, because what has arrived is JSON."""
        try:
            loads("".join(self.arguments).encode(errors="replace"))
        except ValueError:
            return False
        return True


@final
class _BlockWriter:
    """The blocks of a message, one after the other.

    A block is closed when another one begins. A tool call whose arguments are not complete stays
    open beside it, because some providers write several calls at the same time.

    Attributes:
        count: the number of blocks that were opened.
    """

    def __init__(self) -> None:
        self.count = 0
        self._open: dict[str | int, _OpenBlock] = {}  # {kind of a text, or index of a call: block}
        self._called: set[int] = set()  # indexes of the calls that were opened

    def add(self, key: str | int, opened: dict[str, Json], piece: dict[str, Json]) -> bytes:
        """Return the events for a piece of a block.

        Args:
            key: what identifies the block: the kind of text, or the index of a tool call.
            opened: the block as it begins.
            piece: the delta, as it is written.
        """
        written: list[bytes] = []
        block = self._open.get(key)
        if block is None:
            if isinstance(key, int):
                if key in self._called:  # what follows a complete JSON object is white space
                    return b""
                self._called.add(key)
            written = self._close_others()
            block = self._open[key] = _OpenBlock(self.count)
            self.count += 1
            members: dict[str, Json] = {"index": block.index, "content_block": opened}
            start = {"type": "content_block_start", **members}
            written.append(named_event("content_block_start", start))
        if isinstance(key, int):
            arguments = piece["partial_json"]
            if not arguments:
                return b"".join(written)
            block.arguments.append(str(arguments))
        kind = "content_block_delta"
        written.append(named_event(kind, {"type": kind, "index": block.index, "delta": piece}))
        return b"".join(written)

    def _close_others(self) -> list[bytes]:
        closed = [
            key for key, block in self._open.items() if isinstance(key, str) or block.is_complete
        ]
        return [_stop(self._open.pop(key)) for key in closed]

    def close_all(self) -> bytes:
        """Return the ends of all blocks that are open."""
        written = b"".join(map(_stop, self._open.values()))
        self._open.clear()
        return written


def _stop(block: _OpenBlock) -> bytes:
    return named_event("content_block_stop", {"type": "content_block_stop", "index": block.index})
