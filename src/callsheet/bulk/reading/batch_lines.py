"""Read lines of batch files as requests: those of OpenAI, Anthropic and Gemini.

    {"custom_id", "method", "url", "body"}   OpenAI; Together, Mistral and OpenRouter leave out more
    {"custom_id", "params"}                  Anthropic
    {"key", "request"}                       Gemini; or {"request", "metadata": {"key"}}

A request that is sent to the provider of its file is equivalent to the line's. Messages keep what
only that provider has, in its own shape.
"""

import re
from collections.abc import Mapping
from typing import cast

from ...actors import ChatMessage, Json, Request, kind_of
from ...bodies import GENERATION, MESSAGES
from ..row import ANTHROPIC_URL, gemini_url
from .bodies import (
    BodyReader,
    RequestBuilder,
    shape_of,
    shape_of_url,
    stated,
    url_of,
)
from .errors import BadRecord

_WORD_AFTER_BAR = re.compile(r"_([a-z0-9])")
_ROLES = {"model": "assistant", "user": "user", "function": "user"}


def is_batch_line(record: Mapping[str, Json]) -> bool:
    """Return whether a JSON object is a line of a batch file."""
    is_anthropics = "custom_id" in record and isinstance(record.get("params"), dict)
    return "body" in record or is_anthropics or _is_geminis(record)


def _is_geminis(record: Mapping[str, Json]) -> bool:
    request = record.get("request")
    return isinstance(request, dict) and "contents" in request


def with_key(record: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return a line of Gemini's with its key as `custom_id`; any other record as it is."""
    if not _is_geminis(record) or "custom_id" in record:
        return record
    metadata = record.get("metadata")
    key = record.get("key", metadata.get("key") if isinstance(metadata, dict) else None)
    return {**record, "custom_id": key}


def batch_request(
    record: Mapping[str, Json], bodies: BodyReader, builder: RequestBuilder
) -> tuple[str, Request]:
    """Return the path and the request of a line of a batch file.

    Args:
        record: the line as a JSON object, for which `is_batch_line` is true.
        bodies: reads bodies in OpenAI's format.
        builder: builds the other requests.

    Raises:
        BadRecord: the line is invalid; the text names the member.
    """
    if "body" in record:
        return _of_openai(record, bodies)
    if "params" in record:
        return ANTHROPIC_URL, _of_anthropic(_object(record, "params"), builder)
    request = _of_gemini(_object(record, "request"), builder)
    return gemini_url(request.model), request


def _object(record: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = record[name]
    if not isinstance(value, dict):
        raise BadRecord(f'"{name}" must be an object, not {kind_of(value)}')
    return value


def _of_openai(record: Mapping[str, Json], bodies: BodyReader) -> tuple[str, Request]:
    body = _object(record, "body")
    method = record.get("method", "POST")
    if method != "POST":
        raise BadRecord(f"\"method\" must be 'POST', not {kind_of(method)}")
    shape = shape_of_url(record["url"]) if "url" in record else shape_of(body)
    if shape is None:
        raise BadRecord('the line has no "url", and its body no "messages", "prompt" or "input"')
    return url_of(shape), bodies.request(shape, body)


def _of_anthropic(params: Mapping[str, Json], builder: RequestBuilder) -> Request:
    fields, extra = stated(params, MESSAGES)
    extra.pop("stream", None)
    if "messages" not in fields:
        raise BadRecord('"params" has no "messages"')
    system = extra.pop("system", None)
    if isinstance(system, str) and system:
        fields["messages"] = (ChatMessage("system", system), *_messages_of(fields))
    elif isinstance(system, list) and system:
        texts = [_text_of(part) for part in system]
        blocks = ChatMessage("system", "\n".join(texts), extra={"content": system})
        fields["messages"] = (blocks, *_messages_of(fields))
    if extra:
        fields["extra_body"] = extra
    return builder.request("chat", fields)


def _messages_of(fields: Mapping[str, object]) -> tuple[ChatMessage, ...]:
    return cast("tuple[ChatMessage, ...]", fields["messages"])


def _of_gemini(request: Mapping[str, Json], builder: RequestBuilder) -> Request:
    members = _in_camel_case(request)
    contents = members.pop("contents", None)
    if isinstance(contents, str):
        whole: Json = {"parts": contents}
        contents = [whole]
    if not isinstance(contents, list) or not contents:
        raise BadRecord(f'"contents" must be a list, not {kind_of(contents)}')
    system = [
        ChatMessage("system", _text_of(part))
        for part in _parts_of(members.pop("systemInstruction", None) or {"parts": []})
    ]
    config = members.pop("generationConfig", None) or {}
    if not isinstance(config, dict):
        raise BadRecord(f'"generationConfig" must be an object, not {kind_of(config)}')
    fields, rest = stated(_in_camel_case(config), GENERATION)
    if rest:
        members["generationConfig"] = rest
    model = members.pop("model", None)
    if isinstance(model, str) and model:
        fields["model"] = model.removeprefix("models/")
    fields["messages"] = (*system, *map(_gemini_message, contents))
    if members:
        fields["extra_body"] = members
    return builder.request("chat", fields)


def _gemini_message(content: Json) -> ChatMessage:
    role = content.get("role", "user") if isinstance(content, dict) else None
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise BadRecord(f'a "role" in "contents" must be user or model, not {kind_of(role)}')
    parts = _parts_of(content)
    text = "\n".join(filter(None, map(_text_of, parts)))
    if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].keys() == {"text"}:
        return ChatMessage("assistant" if known == "assistant" else "user", text)
    native: Mapping[str, Json] = {"parts": parts}
    return ChatMessage("assistant" if known == "assistant" else "user", text, native=native)


def _parts_of(content: Json) -> list[Json]:
    """Return the parts of a content: a list, one part, or the text of one."""
    parts = content.get("parts") if isinstance(content, dict) else content
    if isinstance(parts, str):
        return [{"text": parts}]
    if isinstance(parts, dict):
        return [parts]
    if not isinstance(parts, list):
        raise BadRecord(f'"parts" must be a list, not {kind_of(parts)}')
    return parts


def _text_of(part: Json) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


def _in_camel_case(members: Mapping[str, Json]) -> dict[str, Json]:
    """Return members by Gemini's own names; its examples write `generation_config`, too."""
    return {
        _WORD_AFTER_BAR.sub(lambda found: found[1].upper(), name): value
        for name, value in members.items()
    }
