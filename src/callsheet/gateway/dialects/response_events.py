"""Write the events of a stream of OpenAI's Responses.

    response.created, response.in_progress
    response.output_item.added                      for each item
      response.content_part.added                   for each part of a message
        response.output_text.delta ...
        response.output_text.done
      response.content_part.done
    response.output_item.done
    response.completed, or response.incomplete      with the whole response

Events of a provider that speaks the same dialect go to the client as they are.
"""

from typing import final

import attrs

from ...actors import Delta, Json, ProviderEvent, Response, ToolCallDelta
from ...bodies import choices_of, response_body
from .dialect import InboundCall
from .made import call_id, complete
from .response_objects import item_id, whole_response
from .sse import DONE_MARK, named_event, passed_event, type_in


@final
class ResponseWriter:
    """Writes the stream of one answer.

    Args:
        call: the call that is answered.
        name: a text that no other answer has, to make ids from.
        created: the time of the response, in seconds of Unix time.
    """

    def __init__(self, call: InboundCall, name: str, created: int) -> None:
        self._call = call
        self._name = name
        self._created = created
        self._number = 0
        self._items: list[_OutputItem] = []
        self._current: _OutputItem | None = None  # a message or reasoning, or the latest call
        self._calls: dict[int, _OutputItem] = {}
        self._has_begun = False
        self._has_passed = False  # an event of the provider

    def feed(self, item: ProviderEvent | Delta) -> bytes:
        """Return the events for one piece; see `StreamWriter`."""
        if isinstance(item, Delta):
            return self._made(item)
        if item.form != "responses" or self._has_begun:
            return b"".join(map(self._made, item.deltas))
        if item.data.strip() == DONE_MARK:
            return b""
        self._has_passed = True
        self._number += 1
        return passed_event(item, item.name or type_in(item.data))

    def _made(self, delta: Delta) -> bytes:
        if delta.index:  # there is one choice only
            return b""
        written = [self._begin()]
        if delta.reasoning:
            written.append(self._add_text("reasoning", "reasoning", delta.reasoning))
        if delta.text:
            written.append(self._add_text("message", "text", delta.text))
        if delta.refusal:
            written.append(self._add_text("message", "refusal", delta.refusal))
        written += [self._add_call(call) for call in delta.tool_calls]
        return b"".join(written)

    def _event(self, kind: str, members: dict[str, Json]) -> bytes:
        number, self._number = self._number, self._number + 1
        name = f"response.{kind}"
        return named_event(name, {"type": name, "sequence_number": number, **members})

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        if self._has_passed:  # the provider has begun the response
            return b""
        made: dict[str, Json] = {
            "id": f"resp_{self._name}",
            "object": "response",
            "created_at": self._created,
            "model": self._call.request.model,
            "status": "in_progress",
            "usage": None,
        }
        members: dict[str, Json] = {"response": whole_response(made, self._call.echoes, self._name)}
        return self._event("created", members) + self._event("in_progress", members)

    # ------------------------------------------------------------------------------- items

    def _open(self, kind: str, **members: Json) -> tuple["_OutputItem", bytes]:
        closed = self._close_current()
        item = _OutputItem(
            kind, len(self._items), item_id(kind, self._name, len(self._items)), members
        )
        self._items.append(item)
        self._current = item
        added: dict[str, Json] = {"output_index": item.index, "item": item.body("in_progress")}
        return item, closed + self._event("output_item.added", added)

    def _add_text(self, kind: str, part: str, text: str) -> bytes:
        item, written = self._current, b""
        if item is None or item.kind != kind:
            item, written = self._open(kind)
        if not item.parts or item.parts[-1].kind != part:
            written += self._close_part(item)
            item.parts.append(_OutputPart(part))
            written += self._part_event(item, "added")
        item.parts[-1].texts.append(text)
        return written + self._text_event(item, "delta", "delta", text)

    def _add_call(self, call: ToolCallDelta) -> bytes:
        item, written = self._calls.get(call.index), b""
        if item is None:
            made = call_id(self._name, call.index, call.id)
            item, written = self._open("function_call", call_id=made, name=call.name)
            self._calls[call.index] = item
        if not call.arguments:
            return written
        item.arguments.append(call.arguments)
        place: dict[str, Json] = {"item_id": item.id, "output_index": item.index}
        delta = self._event("function_call_arguments.delta", {**place, "delta": call.arguments})
        return written + delta

    def _place(self, item: "_OutputItem") -> dict[str, Json]:
        name = "summary_index" if item.kind == "reasoning" else "content_index"
        at = len(item.parts) - 1
        return {"item_id": item.id, "output_index": item.index, name: at}

    def _part_event(self, item: "_OutputItem", what: str) -> bytes:
        kind = "reasoning_summary_part" if item.kind == "reasoning" else "content_part"
        part = item.parts[-1].body(is_empty=what == "added")
        return self._event(f"{kind}.{what}", {**self._place(item), "part": part})

    def _text_event(self, item: "_OutputItem", what: str, member: str, text: str) -> bytes:
        kind = {"reasoning": "reasoning_summary_text", "text": "output_text"}.get(
            item.parts[-1].kind, "refusal"
        )
        more: dict[str, Json] = {"logprobs": []} if kind == "output_text" else {}
        return self._event(f"{kind}.{what}", {**self._place(item), member: text, **more})

    def _close_part(self, item: "_OutputItem") -> bytes:
        if not item.parts:
            return b""
        part = item.parts[-1]
        member = "refusal" if part.kind == "refusal" else "text"
        done = self._text_event(item, "done", member, part.text)
        return done + self._part_event(item, "done")

    def _close_current(self) -> bytes:
        """Return the end of the message or the reasoning; calls end at the end of the stream."""
        item, self._current = self._current, None
        if item is None or item.kind == "function_call":
            return b""
        return self._close(item)

    def _close(self, item: "_OutputItem") -> bytes:
        if item.kind == "function_call":
            members: dict[str, Json] = {"item_id": item.id, "output_index": item.index}
            said: dict[str, Json] = {"name": item.members["name"], "arguments": item.written}
            written = self._event("function_call_arguments.done", {**members, **said})
        else:
            written = self._close_part(item)
        done: dict[str, Json] = {"output_index": item.index, "item": item.body("completed")}
        return written + self._event("output_item.done", done)

    def end(self, response: Response) -> bytes:
        """Return the last events; see `StreamWriter`."""
        if self._has_passed and not self._has_begun:
            return b""
        whole = Delta.whole(choices_of(response)[0], 0)
        written = [self._begin()]
        if not self._items and whole != Delta():  # it arrived in no pieces
            written.append(self._made(whole))
        written.append(self._close_current())
        written += [self._close(item) for item in self._calls.values()]
        made = response_body(complete(response, self._name), f"resp_{self._name}", self._created)
        made["output"] = [item.body("completed") for item in self._items] or made["output"]
        finished = whole_response(made, self._call.echoes, self._name)
        kind = "incomplete" if made["status"] == "incomplete" else "completed"
        written.append(self._event(kind, {"response": finished}))
        return b"".join(written)


@final
@attrs.define
class _OutputPart:
    """A part of a message, or of the summary of the reasoning.

    Args:
        kind: "text", "refusal" or "reasoning".
        texts: the pieces of its text.
    """

    kind: str
    texts: list[str] = attrs.field(factory=list[str])

    @property
    def text(self) -> str:
        """The text as far as it has arrived."""
        return "".join(self.texts)

    def body(self, *, is_empty: bool = False) -> dict[str, Json]:
        """Return the part as it is written.

        Args:
            is_empty: whether its text is left out, because the part is new.
        """
        text = "" if is_empty else self.text
        if self.kind == "reasoning":
            return {"type": "summary_text", "text": text}
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


@final
@attrs.define
class _OutputItem:
    """An item of the output.

    Args:
        kind: the type of the item.
        index: its position in the output.
        id: the id of the item.
        members: its members beside what is generated.
        parts: the parts of a message or of the reasoning.
        arguments: the pieces of a tool call's arguments.
    """

    kind: str
    index: int
    id: str
    members: dict[str, Json]
    parts: list[_OutputPart] = attrs.field(factory=list[_OutputPart])
    arguments: list[str] = attrs.field(factory=list[str])

    @property
    def written(self) -> str:
        """The arguments as far as they have arrived."""
        return "".join(self.arguments)

    def body(self, status: str) -> dict[str, Json]:
        """Return the item as it is written.

        Args:
            status: "in_progress" for a new item, or "completed".
        """
        head: dict[str, Json] = {"id": self.id, "type": self.kind, "status": status}
        if self.kind == "function_call":
            return {**head, **self.members, "arguments": self.written}
        parts: list[Json] = [part.body() for part in self.parts]
        if self.kind == "reasoning":
            return {**head, "summary": parts}
        return {**head, "role": "assistant", "content": parts}
