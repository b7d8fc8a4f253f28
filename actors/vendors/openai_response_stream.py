"""Decode the events of a stream of OpenAI's Responses. Pure (R14).

The last event has the whole response object, which is decoded as a body (L10). The events before it
have pieces of the items of its output. Where a server leaves out the pieces of an item, the item
itself stands for them; where it leaves out the items at the end, the pieces stand for them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import final

import attrs

from ..json_value import Json
from ..responses import Delta, ToolCallDelta, Usage
from .decoding import is_end_mark, object_of, read_error, read_event, text_of
from .format import ApiError, BrokeOff, DecodedResponse, Malformed, StreamFailed
from .openai_answers import arguments_text, flat_text
from .openai_response_output import CALLS, PARAGRAPH, listed, read_tokens
from .sse import ServerSentEvent

_LAST = ("completed", "incomplete", "failed", "cancelled")
_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
# {event with a piece: (what the piece is of, member with the index of its part)}
_PIECES = {
    "response.output_text.delta": ("text", "content_index"),
    "response.refusal.delta": ("refusal", "content_index"),
    "response.reasoning_text.delta": ("thoughts", "content_index"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index"),
    "response.function_call_arguments.delta": ("arguments", ""),
    "response.custom_tool_call_input.delta": ("arguments", ""),
}
# {event with a whole text: (what it is, member with the index of its part, member with the text)}
_WHOLES = {
    f"{kind.removesuffix('delta')}done": (what, part, member)
    for (kind, (what, part)), member in zip(
        _PIECES.items(), ("text", "refusal", "text", "text", "arguments", "input"), strict=True
    )
}
_REASONING = ("thoughts", "summary")


@final
class ResponsesDecoder:
    """Decodes one streamed response.

    Args:
        decode: decodes the response object.
    """

    def __init__(self, decode: Callable[[Json], DecodedResponse | ApiError]) -> None:
        self._decode = decode
        self._response: dict[str, Json] = {}
        self._items: dict[int, _PartialItem] = {}  # by their place in the output
        self._calls = 0
        self._has_reasoning = self._has_ended = False
        self.usage: Usage | None = None
        self.done = False

    def feed(self, event: ServerSentEvent) -> Sequence[Delta]:
        """Return the deltas of one event.

        Raises:
            StreamFailed: the event is an error.
            Malformed: the event is not an object.
        """
        if self.done:
            return ()
        if is_end_mark(event.data):
            self.done = True
            return ()
        members = read_event(event)
        return self._read(members, text_of(members, "type") or event.name)

    def _read(self, members: dict[str, Json], kind: str) -> Sequence[Delta]:
        if piece_of := _PIECES.get(kind):  # nearly all events
            part = members.get(piece_of[1])
            place = (piece_of[0], part if isinstance(part, int) else 0)
            item = self._item_at(members.get("output_index"))
            delta = self._add(item, place, text_of(members, "delta"))
            return () if delta is None else (delta,)
        if whole_of := _WHOLES.get(kind):
            return self._complete(members, *whole_of)
        if kind in (_ADDED, _DONE):
            item = self._item_at(members.get("output_index"))
            item.is_whole = kind == _DONE
            return self._take(item, object_of(members, "item"))
        if "output" in members:  # the whole response in one event
            return self._take_last(members, text_of(members, "status") or _LAST[0])
        if kind == "error" or members.get("error"):
            raise StreamFailed(read_error(members))
        response = object_of(members, "response")
        self.usage = read_tokens(response.get("usage")) or self.usage
        ended = kind.removeprefix("response.")
        if ended in _LAST:
            return self._take_last(response, ended)
        self._response |= response
        return ()  # tools that the provider runs, and events that may be added later

    def _complete(
        self, members: dict[str, Json], what: str, part_name: str, text_name: str
    ) -> Sequence[Delta]:
        """Take a whole text; return what its pieces did not have. Some servers send no pieces."""
        part = members.get(part_name)
        place = (what, part if isinstance(part, int) else 0)
        item, text = self._item_at(members.get("output_index")), text_of(members, text_name)
        known = item.text_at(place)
        rest = text[len(known) :] if text.startswith(known) else ""
        delta = self._add(item, place, rest)
        return () if delta is None else (delta,)

    def end(self) -> DecodedResponse | ApiError:
        """Return the whole response, or why its generation failed; see `StreamDecoder`."""
        if not self._has_ended and not self.done:
            raise BrokeOff(
                "the stream ended before the response was complete (it has no last event)"
            )
        if not self._has_ended:
            if not self._items:
                raise Malformed("the stream has no response")
            self._response["status"] = _LAST[0]  # some servers mark the end in no other way
        if not self._response.get("output") and self._items:
            ordered = sorted(self._items.items(), key=itemgetter(0))
            self._response["output"] = [item.body() for _, item in ordered]
        decoded = self._decode(self._response)
        if isinstance(decoded, ApiError):
            return decoded
        return attrs.evolve(decoded, is_assembled=True)

    def _item_at(self, place: Json) -> "_PartialItem":
        if isinstance(place, bool) or not isinstance(place, int):
            place = max(self._items, default=0)
        item = self._items.get(place)
        if item is None:
            item = self._items[place] = _PartialItem()
        return item

    def _take_last(self, response: Mapping[str, Json], status: str) -> Sequence[Delta]:
        """Take the response object at the end; return what no earlier event had."""
        self._has_ended = self.done = True
        known = self._response
        self._response = {
            **response,
            **{name: value for name, value in known.items() if response.get(name) is None},
            "status": status,
        }
        self.usage = read_tokens(response.get("usage")) or self.usage
        output = response.get("output")
        return [
            delta
            for place, item in enumerate(listed(output))
            if isinstance(item, dict)
            for delta in self._take(self._item_at(place), item)
        ]

    def _take(self, item: "_PartialItem", members: dict[str, Json]) -> Sequence[Delta]:
        """Take an item, whole or as it begins; return what no earlier event had."""
        begins = not item.members
        item.members = members
        deltas: list[Delta | None] = []
        kind = text_of(members, "type")
        if kind in CALLS and begins:
            call_id = text_of(members, "call_id") or text_of(members, "id")
            call = ToolCallDelta(self._call_of(item), text_of(members, "name"), id=call_id)
            deltas.append(Delta(tool_calls=(call,)))
        for place, text in _texts_in(members, kind):
            known = item.text_at(place)
            if text.startswith(known):
                deltas.append(self._add(item, place, text[len(known) :]))
        return [delta for delta in deltas if delta is not None]

    def _add(self, item: "_PartialItem", place: tuple[str, int], piece: str) -> Delta | None:
        """Add a piece of a text; return its delta, if it is not empty."""
        if not piece:
            return None
        pieces, name = item.pieces.setdefault(place, []), place[0]
        begins = not pieces
        pieces.append(piece)
        if name == "text":
            return Delta(piece)
        if name == "refusal":
            return Delta(refusal=piece)
        if name == "arguments":
            return Delta(tool_calls=(ToolCallDelta(self._call_of(item), arguments=piece),))
        prefix = PARAGRAPH if begins and self._has_reasoning else ""
        self._has_reasoning = True
        return Delta(reasoning=prefix + piece)

    def _call_of(self, item: "_PartialItem") -> int:
        if item.call is None:
            item.call, self._calls = self._calls, self._calls + 1
        return item.call


@final
class _PartialItem:
    """One item of the output, as far as it has arrived.

    Attributes:
        members: the item, whole or as it begins.
        is_whole: whether `members` are whole.
        pieces: the pieces of its texts: {(what, index of the part): pieces}.
        call: its position among the tool calls; None if it is none.
    """

    def __init__(self) -> None:
        self.members: dict[str, Json] = {}
        self.is_whole = False
        self.pieces: dict[tuple[str, int], list[str]] = {}
        self.call: int | None = None

    def text_at(self, place: tuple[str, int]) -> str:
        """Return a text as far as it has arrived."""
        return "".join(self.pieces.get(place, ()))

    def body(self) -> dict[str, Json]:
        """Return the item as a whole response has it."""
        if self.is_whole or not self.pieces:
            return self.members
        texts = {place: "".join(pieces) for place, pieces in self.pieces.items()}
        names = {name for name, _ in texts}
        kind, whole = text_of(self.members, "type"), dict[str, Json]()
        if "arguments" in names:
            kind = kind or "function_call"
            whole[CALLS.get(kind, "arguments")] = texts["arguments", 0]
        elif names & set(_REASONING):
            kind = "reasoning"
            whole["summary"] = _parts(texts, {"summary": "summary_text"})
            whole["content"] = _parts(texts, {"thoughts": "reasoning_text"})
        else:
            kind = kind or "message"
            whole["content"] = _parts(texts, {"text": "output_text", "refusal": "refusal"})
        return {**self.members, "type": kind, **whole}


def _parts(texts: Mapping[tuple[str, int], str], kinds: Mapping[str, str]) -> list[Json]:
    """Return the parts of an item with these texts; `kinds` are their types, by what they are."""
    return [
        {"type": kinds[name], "refusal" if name == "refusal" else "text": text}
        for (name, _), text in sorted(texts.items(), key=lambda it: it[0][1])
        if name in kinds
    ]


def _texts_in(item: Mapping[str, Json], kind: str) -> Iterable[tuple[tuple[str, int], str]]:
    """Return the texts of an item, by what they are and the index of their part."""
    if kind in CALLS:
        yield ("arguments", 0), arguments_text(item.get(CALLS[kind]))
        return
    content = enumerate(listed(item.get("content")))
    if kind == "reasoning":
        for index, part in enumerate(listed(item.get("summary"))):
            yield ("summary", index), flat_text(part)
        for index, part in content:
            yield ("thoughts", index), flat_text(part)
    elif kind == "message":
        for index, part in content:
            members = part if isinstance(part, dict) else {"text": part}
            own = text_of(members, "type")
            if own == "refusal":
                yield (own, index), flat_text(members.get(own))
            elif own in ("", "text", "output_text"):
                yield ("text", index), flat_text(part)
