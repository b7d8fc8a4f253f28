"""Marks and keys for the prompt cache of a provider, in a request. Pure (R14).

They are added only where the user has allowed them and set none (L15). The text of the prompt and
its order stay as they are.

{"content": "..."}   {"content": [{"type": "text", "text": "...", MARK}]}
tools: the last one  {"name": ..., "input_schema": ..., "cache_control": {"type": "ephemeral"}}
"""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import NamedTuple, cast

import attrs

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from ..responses import ResultT_co
from .terms import CacheMark, CacheTerms

_KEY = "prompt_cache_key"
_OPTIONS = "prompt_cache_options"
_CACHE_CONTROL: CacheMark = "cache_control"
_BREAKPOINT: CacheMark = "prompt_cache_breakpoint"
_ASKING = frozenset({"system", "developer", "user"})
_MARKS = frozenset({_CACHE_CONTROL, _BREAKPOINT})
# OpenAI refuses its older member for how long a cache lives beside the newer options.
_WHOLE = frozenset({_KEY, _OPTIONS, "prompt_cache_retention", "cachedContent", "cached_content"})
_MARK: Mapping[CacheMark, dict[str, Json]] = {
    _CACHE_CONTROL: {"type": "ephemeral"},
    _BREAKPOINT: {"mode": "explicit"},
}


class PromptPlace(NamedTuple):
    """A place in a prompt at which a beginning that requests share can end.

    Args:
        message: index of the last message before it; -1 if only the tools are before it.
        part: index of the last part of that message before it; None for the whole message.
        chars: how many characters of the text of that part, or of a message that is one text, are
            before it; None for all.
    """

    message: int
    part: int | None = None
    chars: int | None = None


def is_marked(request: Request[object]) -> bool:
    """Return whether the user has set marks, keys or options for the provider's prompt cache.

    Args:
        request: the request as the user wrote it.
    """
    extra = request.extra_body
    if extra and (not _WHOLE.isdisjoint(extra) or _has_mark(extra.values()) or _has(extra)):
        return True
    if any(tool.definition is not None and _has(tool.definition) for tool in request.tools):
        return True
    return any(
        (message.extra is not None and _has(message.extra))
        or (message.native is not None and _has(message.native))
        for message in request.messages
    )


def _has(members: Mapping[str, Json]) -> bool:
    return not _MARKS.isdisjoint(members) or _has_mark(members.values())


def _has_mark(values: Iterable[Json]) -> bool:
    return any(
        (isinstance(value, dict) and _has(value)) or (isinstance(value, list) and _has_mark(value))
        for value in values
    )


def with_key(request: Request[ResultT_co], key: str) -> Request[ResultT_co]:
    """Return the request with a key that leads it to one of the provider's caches.

    Args:
        request: a request without such a key.
        key: a name without any content of the prompt (L8).
    """
    return attrs.evolve(request, extra_body={**request.extra_body, _KEY: key})


def with_mark(
    request: Request[ResultT_co], place: PromptPlace, terms: CacheTerms
) -> Request[ResultT_co]:
    """Return the request with a mark at a place; the same request if there can be none.

    With OpenAI's marks, the beginning up to the mark is all that the request writes to the cache.

    Args:
        request: a request without marks.
        place: where the shared beginning ends.
        terms: how the provider caches prompts.
    """
    if terms.mark is None:
        return request
    if place.message < 0:
        return request if terms.on_parts_only else _with_marked_tools(request)
    if terms.on_parts_only and request.messages[place.message].role not in _ASKING:
        return request
    at_anthropic = not terms.on_parts_only
    messages = _marked(request.messages, place, terms.mark, joins_system=at_anthropic)
    if messages is None:
        return request
    extra_body = dict(request.extra_body)
    if terms.mark == _BREAKPOINT:
        extra_body[_OPTIONS] = {"mode": "explicit"}
    return attrs.evolve(request, messages=messages, extra_body=extra_body)


def _with_marked_tools(request: Request[ResultT_co]) -> Request[ResultT_co]:
    """Return the request with Anthropic's mark on its last tool."""
    if not request.tools:
        return request
    last = request.tools[-1]
    own = last.definition
    if own is None or last.dialect not in ("anthropic", None):
        written: dict[str, Json] = {"name": last.name}
        if last.description:
            written["description"] = last.description
        own = {**written, "input_schema": last.schema}
    marked = attrs.evolve(last, definition={**own, _CACHE_CONTROL: {**_MARK[_CACHE_CONTROL]}})
    return attrs.evolve(request, tools=(*request.tools[:-1], marked))


def _marked(
    messages: tuple[ChatMessage, ...], place: PromptPlace, mark: CacheMark, *, joins_system: bool
) -> tuple[ChatMessage, ...] | None:
    """Return the messages with a mark at a place; None if there can be none."""
    at = place.message
    leading = list(takewhile(_is_text_of_system, messages))
    if joins_system and 1 < len(leading) > at and place.chars is None:
        # Anthropic gets them as one text, which a mark must not change.
        texts = [message.content for message in leading]
        before, after = "\n\n".join(texts[: at + 1]), "\n\n".join(texts[at + 1 :])
        first = attrs.evolve(leading[0], content=f"{before}\n\n" if after else before)
        rest = (attrs.evolve(leading[0], content=after),) if after else ()
        messages, at = (first, *rest, *messages[len(leading) :]), 0
    message = messages[at]
    marked = _marked_message(message, place, mark)
    return None if marked is None else (*messages[:at], marked, *messages[at + 1 :])


def _is_text_of_system(message: ChatMessage) -> bool:
    return message.role in ("system", "developer") and not message.extra


def _marked_message(
    message: ChatMessage, place: PromptPlace, mark: CacheMark
) -> ChatMessage | None:
    if message.role not in _ASKING:
        return _marked_turn(message, mark) if place == (place.message, None, None) else None
    if message.native is not None:
        return None
    content = message.content if message.extra is None else message.extra.get("content")
    if content is None:
        content = message.content
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        return None
    marked = _marked_parts(cast("list[Json]", parts), place, mark)
    if marked is None:
        return None
    return attrs.evolve(message, extra={**(message.extra or {}), "content": marked})


def _marked_parts(parts: list[Json], place: PromptPlace, mark: CacheMark) -> list[Json] | None:
    # Marks are set from the last to the first, so a text that has one already is in two parts, and
    # the place is in the first of them.
    whole = len(parts) - 1 if place.chars is None else 0
    at = whole if place.part is None else place.part
    part = parts[at] if 0 <= at < len(parts) else None
    if not isinstance(part, dict):
        return None
    text = part.get("text")
    if place.chars is None:
        return None if text == "" else [*parts[:at], _with(part, mark), *parts[at + 1 :]]
    if not isinstance(text, str) or not 0 < place.chars < len(text):
        return None
    before = _with({**part, "text": text[: place.chars]}, mark)
    after: Json = {**part, "text": text[place.chars :]}
    return [*parts[:at], before, after, *parts[at + 1 :]]


def _marked_turn(message: ChatMessage, mark: CacheMark) -> ChatMessage | None:
    """Return an answer or the result of a tool with Anthropic's mark at its end."""
    if message.native is None:
        is_empty = not message.content and not message.extra
        return None if is_empty else attrs.evolve(message, extra=_with(message.extra or {}, mark))
    blocks = message.native.get("content")
    last = blocks[-1] if isinstance(blocks, list) and blocks else None
    if not isinstance(blocks, list) or not isinstance(last, dict) or last.get("text") == "":
        return None
    if str(last.get("type")).endswith("thinking"):
        return None
    native = {**message.native, "content": [*blocks[:-1], _with(last, mark)]}
    return attrs.evolve(message, native=native)


def _with(members: Mapping[str, Json], mark: CacheMark) -> dict[str, Json]:
    return {**members, mark: {**_MARK[mark]}}
