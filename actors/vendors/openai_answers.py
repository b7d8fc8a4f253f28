"""Read what a model generated, in OpenAI's formats: text, reasoning, refusals, tool calls.

Compatible servers differ, so reading is tolerant: the content may be a text or a list of parts,
reasoning has several names, and a choice may be that of a stream or of the other format. What
cannot be read raises `Malformed`; it is never dropped without an error.
"""

import math
from collections.abc import Iterable, Mapping
from typing import final

from ..json_value import Json
from ..responses import Choice, TokenLogprob, ToolCall
from .decoding import has_error, json_text, object_of, read_error, text_of
from .format import ApiError, Malformed

REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Members of a message that have the reasoning; a server that sends several repeats it."""

_THOUGHTS = frozenset(
    {"thinking", "think", "reasoning", "reasoning_text", "thought", "redacted_thinking"}
)
_NOTES = frozenset({"reference", "citation", "url_citation"})
CALLS = frozenset({"tool_use", "tool_call", "function_call"})
"""Types of the parts of a content that are tool calls."""

_CONTENT = frozenset({"role", "content"})
_OF_PART = frozenset({"type", "text", "content", "parts", "refusal", "thought", *REASONING})

# {finish reason of a compatible server: OpenAI's}
_REASONS = {
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "end_turn": "stop",
    "eos": "stop",  # Together
    "eos_token": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "sensitive": "content_filter",  # Zhipu
    "insufficient_system_resource": "error",  # DeepSeek
    "network_error": "error",  # Zhipu
    "abort": "error",  # SGLang, vLLM
    **dict.fromkeys(("aborted", "cancelled", "canceled", "failed", "timeout"), "error"),
    **{
        reason: reason
        for reason in ("stop", "length", "tool_calls", "function_call", "content_filter", "error")
    },
}
ERROR = "error"
"""The finish reason of a generation that failed."""

NO_REASON = ("null", "none")
"""Texts that stand for no finish reason, such as DashScope's in the chunks of a stream."""


@final
class Content:
    """Collects the parts of a message's content."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self.notes: list[Mapping[str, Json]] = []
        self.calls: list[Mapping[str, Json]] = []  # of tools

    @property
    def text(self) -> str:
        """The text, without reasoning and without a refusal."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning that is among the parts."""
        return "".join(self._reasoning)

    @property
    def refusal(self) -> str:
        """The refusal that is among the parts."""
        return "".join(self._refusal)

    def add(self, content: Json) -> None:
        """Read a content: a text, a part, or a list of both.

        Some servers decode JSON that a model wrote; that is a text, too.
        """
        if isinstance(content, str):
            self._text.append(content)
        elif _is_written_json(content):
            self._text.append(json_text(content))
        elif isinstance(content, list):
            for part in content:
                self.add(part)
        elif isinstance(content, dict):
            self._add_part(content)

    def _add_part(self, part: dict[str, Json]) -> None:
        kind = text_of(part, "type")
        if kind == "refusal":
            self._refusal.append(flat_text(part.get("refusal")))
        elif kind in _THOUGHTS or part.get("thought") is True:
            self._reasoning.append(flat_text(part))
        elif kind in _NOTES:
            self.notes.append(part)
        elif kind in CALLS:
            self.calls.append(part)
        elif part.get("text") is None:
            self.add(part.get("content") or part.get("parts"))
        else:
            self._text.append(flat_text(part["text"]))
            self.notes += (*notes_in(part, "annotations"), *notes_in(part, "citations"))


def _is_written_json(content: Json) -> bool:
    """Return whether a content is neither a text nor parts, but JSON that a model wrote."""
    if isinstance(content, list):
        return bool(content) and all(map(_is_written_json, content))
    if isinstance(content, dict):
        return bool(content) and _OF_PART.isdisjoint(content)
    return isinstance(content, int | float)


def content_of(message: Mapping[str, Json]) -> Json:
    """Return the content of a message or delta, which some servers call "text"."""
    content = message.get("content")
    return message.get("text") if content is None else content


def flat_text(value: Json) -> str:
    """Return the text of a value: a text, an object that has one, or a list of both."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(flat_text, value))
    if isinstance(value, dict):
        names = ("thinking", "reasoning", "text", "value", "summary", "content", "think")
        return next((flat_text(value[name]) for name in names if value.get(name)), "")
    return ""


def notes_in(members: Mapping[str, Json], name: str) -> list[Mapping[str, Json]]:
    """Return the objects of a list, which are citations or the like; none for another value."""
    value = members.get(name)
    return [note for note in value if isinstance(note, dict)] if isinstance(value, list) else []


def read_choice(choice: Json) -> Choice:
    """Read one choice of a whole response, of a chat or of a completion.

    Raises:
        Malformed: it cannot be read.
    """
    if not isinstance(choice, dict):
        raise Malformed('the response has no "choices" that are objects')
    message, reason = _message_of(choice), read_reason(choice)
    if message is None:
        if reason is None:
            raise Malformed('a choice has no "message"')
        message = {}
    logprobs = tuple(read_logprobs(choice.get("logprobs")))
    if isinstance(text := message.get("content"), str) and _has_only_content(message):
        return Choice(text, reason, logprobs=logprobs)  # nearly always
    content = Content()
    content.add(content_of(message))
    if has_error(message):
        reason = ERROR
    refusal = content.refusal or flat_text(message.get("refusal"))
    return Choice(
        content.text,
        "content_filter" if refusal and reason != ERROR else reason,
        tool_calls=(*_tool_calls(message), *map(_tool_call, content.calls)),
        reasoning=reasoning_of(message) or content.reasoning,
        refusal=refusal or None,
        logprobs=logprobs,
        annotations=(*content.notes, *notes_in(message, "annotations")),
    )


def _has_only_content(message: Mapping[str, Json]) -> bool:
    """Return whether no member of a message but its role and content has a value."""
    for name, value in message.items():  # noqa: SIM110  # `all` takes twice as long
        if value and name not in _CONTENT:
            return False
    return True


def _message_of(choice: dict[str, Json]) -> dict[str, Json] | None:
    """Return the message of a choice, in whatever member it is; None without one."""
    for name in ("message", "delta"):
        message = choice.get(name)
        if isinstance(message, dict):
            return message
        if isinstance(message, str):
            return {"content": message}
        if message is not None:
            raise Malformed(f'the "{name}" of a choice is not an object')
    text = choice.get("text")
    return None if text is None else {"content": text, **_only(choice, REASONING)}


def _only(members: Mapping[str, Json], names: Iterable[str]) -> dict[str, Json]:
    return {name: members[name] for name in names if name in members}


def reasoning_of(message: Mapping[str, Json]) -> str:
    """Return the reasoning in the members of a message or delta beside its content."""
    for name in REASONING:
        if value := message.get(name):
            return flat_text(value)
    details = message.get("reasoning_details")  # OpenRouter's
    return flat_text(details) if details else ""


def read_reason(choice: Mapping[str, Json]) -> str | None:
    """Return the finish reason of a choice, in OpenAI's words; None if it has none."""
    if has_error(choice):
        return ERROR
    reason = choice.get("finish_reason")
    if isinstance(reason, dict):  # SGLang
        reason = reason.get("type")
    if not reason or not isinstance(reason, str) or reason in NO_REASON:
        return None
    return _REASONS.get(reason.lower(), reason)


def read_failure(choice: Json) -> ApiError:
    """Return the error of a choice whose finish reason is "error"."""
    if isinstance(choice, dict):
        for members in (choice, object_of(choice, "message"), object_of(choice, "delta")):
            if has_error(members):
                return read_error({"error": members["error"]})
    return ApiError("the generation ended with an error")


def _tool_calls(message: Mapping[str, Json]) -> Iterable[ToolCall]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else (calls,):
        if call is not None:
            yield _tool_call(call)
    call = message.get("function_call")  # the older form, which some servers send besides
    if call is not None and not calls:
        yield _tool_call(call)


def _tool_call(call: Json | Mapping[str, Json]) -> ToolCall:
    if not isinstance(call, Mapping):
        raise Malformed("a tool call is not an object")
    function = own_members(call)
    return ToolCall(
        text_of(function, "name"), arguments_text(arguments_in(function)), text_of(call, "id")
    )


def own_members(call: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the object that has the name and the arguments of a tool call."""
    return object_of(call, "function") or object_of(call, "custom") or call


def arguments_in(function: Mapping[str, Json]) -> Json:
    """Return the arguments of a tool call, or a piece of them, in whatever member they are."""
    names = ("arguments", "input", "parameters")
    return next((function[name] for name in names if function.get(name)), None)


def arguments_text(arguments: Json) -> str:
    """Return the text of a tool call's arguments, which some servers send as an object."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else json_text(arguments)


def read_logprobs(logprobs: Json) -> Iterable[TokenLogprob]:
    """Return the log probabilities of a choice, of a chat or of a completion."""
    if isinstance(logprobs, list):
        logprobs = {"content": logprobs}
    if not isinstance(logprobs, dict):
        return ()
    tokens = logprobs.get("content") or logprobs.get("refusal")
    if isinstance(tokens, list):
        return [_token(token) for token in tokens if isinstance(token, dict)]
    return _older_logprobs(logprobs)


def _token(token: dict[str, Json]) -> TokenLogprob:
    top = token.get("top_logprobs")
    return TokenLogprob(
        text_of(token, "token"),
        number_of(token.get("logprob")),
        likely_tokens(
            (text_of(one, "token"), one.get("logprob"))
            for one in (top if isinstance(top, list) else ())
            if isinstance(one, dict)
        ),
    )


def _older_logprobs(logprobs: dict[str, Json]) -> Iterable[TokenLogprob]:
    """Read the log probabilities of a completion: parallel lists, of tokens and of numbers."""
    tokens, numbers, top = (
        value if isinstance(value := logprobs.get(name), list) else []
        for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    for at, token in enumerate(tokens):
        likely = top[at] if at < len(top) else None
        yield TokenLogprob(
            token if isinstance(token, str) else "",
            number_of(numbers[at] if at < len(numbers) else None),
            likely_tokens(likely.items() if isinstance(likely, dict) else ()),
        )


def number_of(value: Json) -> float | None:
    """Return a finite number; None for any other value, such as null for the first token."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def likely_tokens(pairs: Iterable[tuple[str, Json]]) -> tuple[tuple[str, float], ...]:
    """Return tokens with their log probabilities, without those that have none."""
    return tuple(
        (token, number) for token, value in pairs if (number := number_of(value)) is not None
    )
