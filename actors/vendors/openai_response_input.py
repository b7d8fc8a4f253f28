"""Write the messages of a chat as the input items of OpenAI's Responses. Pure (R14).

A message keeps its role. Tool calls and their results are items of their own there, and the parts
of a content have other names:

{"role": "assistant", "tool_calls": [{"id"}]}  {"type": "function_call", "call_id"}
{"role": "tool", "tool_call_id"}               {"type": "function_call_output", "call_id"}
{"type": "text"}, {"type": "image_url"}        {"type": "input_text"}, {"type": "input_image"}
"""

from collections.abc import Iterator, Mapping, Sequence

from ..chat_message import ChatMessage
from ..json_value import Json
from .decoding import object_of, text_of
from .encoding import tool_calls_in
from .format import UnsupportedField
from .openai_answers import arguments_text

# What a message of a chat has besides its role, and an item has not.
_OWN = frozenset(
    {
        *("content", "tool_calls", "tool_call_id", "refusal", "annotations", "audio"),
        *("reasoning", "reasoning_content", "reasoning_details", "function_call"),
    }
)
_NATIVE = ("input_", "output_", "summary_", "refusal")  # the types of its own parts begin so


def input_items(
    messages: Sequence[ChatMessage], format_name: str, *, names_messages: bool = False
) -> list[Json]:
    """Return the input items of a chat.

    The member ``output`` of an assistant's message, as in the body of a response, is sent back
    unchanged: it has the reasoning, which no other member can express.

    Args:
        messages: the messages of the chat.
        format_name: name of the format, for the error.
        names_messages: whether each message names its type, which OpenAI does not require.

    Raises:
        UnsupportedField: a message has a part or a role that Responses do not have.
    """
    items: list[Json] = []
    custom = set[str]()  # ids of the calls of tools that take text
    for message in messages:
        items += _items_of(message.body_with("output"), custom, format_name)
    if names_messages:
        return [
            {"type": "message", **item} if isinstance(item, dict) and "role" in item else item
            for item in items
        ]
    return items


def _items_of(message: dict[str, Json], custom: set[str], name: str) -> Iterator[Json]:
    output = message.get("output")
    if isinstance(output, list):
        custom |= {
            text_of(item, "call_id")
            for item in output
            if isinstance(item, dict) and item.get("type") == "custom_tool_call"
        }
        yield from output
        return
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        call_id = text_of(message, "tool_call_id")
        kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
        parts = _parts(content, "input", name)
        yield {"type": kind, "call_id": call_id, "output": parts if parts is not None else ""}
        return
    if role == "function" or message.get("function_call"):
        why = "use tool_calls, and a message with the role 'tool' for each result"
        raise UnsupportedField("function_call in a message", name, why)
    said: Json = _parts(content, "output" if role == "assistant" else "input", name)
    refusal = message.get("refusal")
    if refusal and isinstance(refusal, str) and not said:
        said = [{"type": "refusal", "refusal": refusal}]
    calls = tool_calls_in(message, name)
    if said or not calls:
        more = {key: value for key, value in message.items() if key not in _OWN}
        yield {**more, "content": said if said is not None else ""}
    for call in calls:
        yield _call_item(call, custom)


def _parts(content: Json, side: str, name: str) -> Json:
    """Return a content with parts of a side: "input" or "output"."""
    if not isinstance(content, list):
        return content
    return [_part(part, side, name) if isinstance(part, dict) else part for part in content]


def _part(part: Mapping[str, Json], side: str, name: str) -> Json:
    kind = text_of(part, "type")
    more = {key: value for key, value in part.items() if key not in ("type", kind)}
    if kind == "text":
        return {"type": f"{side}_text", "text": part.get("text"), **more}
    if kind.startswith(_NATIVE) and kind != "input_audio":
        return dict(part)
    if kind == "image_url":
        image = part.get("image_url")
        own = image if isinstance(image, dict) else {"url": image}
        rest = {key: value for key, value in own.items() if key != "url"}
        return {"type": "input_image", "image_url": own.get("url"), **rest, **more}
    if kind == "file":
        return {"type": "input_file", **object_of(part, "file"), **more}
    raise UnsupportedField(f"a part of the type {kind!r:.40} in a message", name)


def _call_item(call: Mapping[str, Json], custom: set[str]) -> Json:
    """Return the item of a tool call in the shape of a chat."""
    call_id, own = text_of(call, "id"), object_of(call, "custom")
    if own:
        custom.add(call_id)
        written = {"name": own.get("name"), "input": own.get("input")}
        return {"type": "custom_tool_call", "call_id": call_id, **written}
    own = object_of(call, "function")
    written = {"name": own.get("name"), "arguments": arguments_text(own.get("arguments"))}
    return {"type": "function_call", "call_id": call_id, **written}
