"""Change the texts of requests and responses, wherever they stand in them. Pure (R14)."""

from collections.abc import Callable, Mapping
from typing import overload

import attrs
import orjson

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from ..responses import Choice, Delta, Response, ResultT_co

# Members of a JSON object that have texts for or by a model; others have ids, URLs and data.
_TEXTS = frozenset(
    (
        *("arguments", "cited_text", "content", "context", "input", "instructions", "output"),
        *("prompt", "reasoning", "reasoning_content", "refusal", "suffix", "system", "text"),
        "thinking",
    )
)
_ARGUMENTS = frozenset({"args", "arguments", "input"})  # objects whose members have any name
_RESULTS = frozenset({"functionResponse", "function_response"})  # Gemini's, with such a `response`
_DOCUMENTS = frozenset({"document", "search_result"})  # Anthropic's, whose `title` is for the model


@overload
def replace_text(
    value: Request[ResultT_co], change: Callable[[str], str]
) -> Request[ResultT_co]: ...


@overload
def replace_text(
    value: Response[ResultT_co], change: Callable[[str], str]
) -> Response[ResultT_co]: ...


@overload
def replace_text(value: Delta, change: Callable[[str], str]) -> Delta: ...


def replace_text(
    value: Request[object] | Response[object] | Delta, change: Callable[[str], str]
) -> Request[object] | Response[object] | Delta:
    """Return a request, a response or a piece of one with all its texts changed.

    Of a request, these are the texts of its messages with their parts, tool calls and results, its
    `inputs`, and what has texts in `extra_body`. Of a response, the texts, reasoning, refusals and
    arguments of tool calls of each choice, and the same in `body`; not `logprobs`, which have
    single tokens. Where arguments are JSON, `change` gets the texts in it, so that they stay valid
    whatever it returns.

    Args:
        value: the request, response or piece.
        change: returns the new text for a text; it is not called for an empty one.
    """

    def changed(text: str) -> str:
        return change(text) if text else text

    return _replaced(value, changed)


def _replaced(
    value: Request[object] | Response[object] | Delta, change: Callable[[str], str]
) -> Request[object] | Response[object] | Delta:
    if isinstance(value, Request):
        return attrs.evolve(
            value,
            messages=tuple(_message(one, change) for one in value.messages),
            inputs=tuple(map(change, value.inputs)),
            extra_body=_members(value.extra_body, change),
        )
    if isinstance(value, Response):
        return attrs.evolve(
            value,
            text=change(value.text),
            choices=tuple(_choice(one, change) for one in value.choices),
            body=None if value.body is None else _body(value.body, change),
        )
    return attrs.evolve(
        value,
        text=change(value.text),
        reasoning=change(value.reasoning),
        refusal=change(value.refusal),
        tool_calls=tuple(
            attrs.evolve(one, arguments=change(one.arguments)) for one in value.tool_calls
        ),
    )


def _message(message: ChatMessage, change: Callable[[str], str]) -> ChatMessage:
    extra = None if message.extra is None else _members(message.extra, change)
    native = None if message.native is None else _members(message.native, change)
    return attrs.evolve(message, content=change(message.content), extra=extra, native=native)


def _body(body: Mapping[str, Json], change: Callable[[str], str]) -> Mapping[str, Json] | None:
    """Change the texts of a provider's body; None if it is nested too deeply."""
    try:
        return _members(body, change)
    except RecursionError:
        return None


def _choice(choice: Choice, change: Callable[[str], str]) -> Choice:
    return attrs.evolve(
        choice,
        text=change(choice.text),
        reasoning=change(choice.reasoning),
        refusal=None if choice.refusal is None else change(choice.refusal),
        tool_calls=tuple(
            attrs.evolve(one, arguments=_arguments(one.arguments, change))
            for one in choice.tool_calls
        ),
        annotations=tuple(_members(one, change) for one in choice.annotations),
    )


def _members(
    members: Mapping[str, Json], change: Callable[[str], str], *, is_all: bool = False
) -> dict[str, Json]:
    kind = members.get("type")
    more = "data" if kind == "text" else "title" if kind in _DOCUMENTS else None
    return {
        name: _value(name, value, change, is_all=is_all or name == more)
        for name, value in members.items()
    }


def _value(name: str, value: Json, change: Callable[[str], str], *, is_all: bool) -> Json:
    if isinstance(value, str):
        if name == "arguments" and not is_all:
            return _arguments(value, change)
        return change(value) if is_all or name in _TEXTS else value
    if isinstance(value, list):
        return [_value(name, one, change, is_all=is_all) for one in value]
    if isinstance(value, dict):
        found = _members(value, change, is_all=is_all or name in _ARGUMENTS)
        if name in _RESULTS and isinstance(result := value.get("response"), dict):
            found["response"] = _members(result, change, is_all=True)
        return found
    return value


def _arguments(text: str, change: Callable[[str], str]) -> str:
    """Change the texts in JSON; the whole text if it is no JSON object."""
    changed = change(text)
    if changed == text:
        return text
    try:
        value: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        return changed
    if not isinstance(value, dict):
        return changed
    return orjson.dumps(_members(value, change, is_all=True)).decode()
