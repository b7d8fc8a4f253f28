"""What a chat carries for its provider: signed thinking, which goes back with the next request.

Anthropic wants the thinking before a tool call back, and Gemini the signature of the call. OpenAI's
chats have no members for them. Their clients send the messages of an answer back as they were, so
an answer has them in the members that are usual for that:

    {"thinking_blocks": [{"type": "thinking", "thinking", "signature"}]}            of Anthropic
    {"tool_calls": [{"extra_content": {"google": {"thought_signature": "..."}}}]}   of Gemini

A request with them that goes to such a provider again is translated back; see `Request.dialect`.
"""

from collections.abc import Mapping

from ...actors import Json, Response

_THINKING = ("thinking", "redacted_thinking")


def thinking_blocks(response: Response) -> list[Json]:
    """Return the blocks of thinking in the body of Anthropic; none for another body.

    Args:
        response: the response of a provider.
    """
    return [block for block in _listed(response.body, "content") if _kind(block) in _THINKING]


def call_members(response: Response) -> Mapping[int, dict[str, Json]]:
    """Return further members of tool calls, by their index: the signatures of Gemini.

    Args:
        response: the response of a provider.
    """
    candidates = _listed(response.body, "candidates")
    first = candidates[0] if candidates else None
    content = first.get("content") if isinstance(first, dict) else None
    parts = _listed(content if isinstance(content, dict) else None, "parts")
    calls = [part for part in parts if isinstance(part, dict) and "functionCall" in part]
    found: dict[int, dict[str, Json]] = {}
    for index, part in enumerate(calls):
        if signature := part.get("thoughtSignature"):
            found[index] = {"extra_content": {"google": {"thought_signature": signature}}}
    return found


def carry(message: Json, response: Response) -> None:
    """Add to a message of a chat what goes back to its provider.

    Args:
        message: the message, which is changed.
        response: the response that it is made from.
    """
    if not isinstance(message, dict):
        return
    if blocks := thinking_blocks(response):
        message["thinking_blocks"] = blocks
    calls = _listed(message, "tool_calls")
    for index, more in call_members(response).items():
        call = calls[index] if index < len(calls) else None
        if isinstance(call, dict):
            call |= more


def carried_delta(response: Response) -> dict[str, Json]:
    """Return the same as the delta of a stream; empty for most providers.

    Args:
        response: the response that the stream is made from.
    """
    delta: dict[str, Json] = {}
    if blocks := thinking_blocks(response):
        delta["thinking_blocks"] = blocks
    if members := call_members(response):
        delta["tool_calls"] = [{"index": index, **more} for index, more in members.items()]
    return delta


def _listed(members: Mapping[str, Json] | None, name: str) -> list[Json]:
    value = None if members is None else members.get(name)
    return value if isinstance(value, list) else []


def _kind(block: Json) -> Json:
    return block.get("type") if isinstance(block, dict) else None
