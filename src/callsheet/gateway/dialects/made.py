"""What all dialects share when they make an answer from a response of another one."""

import hashlib

import attrs

from ...actors import Choice, Response, ToolCall
from ...bodies import choices_of

_FINISHED = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def call_id(name: str, index: int, given: str = "") -> str:
    """Return the id of a tool call: the provider's, or nine letters and digits.

    Mistral accepts no other form.

    Args:
        name: a text that no other answer has.
        index: the position of the call among those of its choice.
        given: the provider's id; "" for none.
    """
    if given:
        return given
    return hashlib.blake2b(f"{name} {index}".encode(), digest_size=5).hexdigest()[:9]


def complete(response: Response, name: str) -> Response:
    """Return a response as every client can read it.

    Each choice has a finish reason that the SDKs know, and each tool call an id.

    Args:
        response: the response of a provider.
        name: a text that no other answer has, to make ids from.
    """
    choices = tuple(_complete(choice, name) for choice in choices_of(response))
    return attrs.evolve(response, choices=choices)


def finish_reason(choice: Choice) -> str:
    """Return the finish reason of a choice, in the words that OpenAI's SDK knows."""
    reason = choice.finish_reason
    if reason in _FINISHED:
        return str(reason)
    return "tool_calls" if choice.tool_calls else "stop"


def _complete(choice: Choice, name: str) -> Choice:
    calls = tuple(
        ToolCall(call.name, call.arguments, call_id(name, at, call.id))
        for at, call in enumerate(choice.tool_calls)
    )
    return attrs.evolve(choice, finish_reason=finish_reason(choice), tool_calls=calls)
