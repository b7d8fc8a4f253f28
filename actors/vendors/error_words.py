"""The words of a refusal, and the parameters that it names, in any of the usual shapes. Pure (R14).

{"error": {"message": "...", "param": "..."}}         OpenAI, Anthropic, Groq, vLLM, OpenRouter
{"detail": "..."}, {"detail": [{"loc", "msg"}]}       FastAPI: Mistral, DeepInfra, SGLang
{"message": "..."}, {"message": {"detail": [...]}}    Cohere, AWS; Mistral
{"errors": ["..."]}, {"errors": [{"message": "..."}]} Cloudflare, watsonx
{"error": "..."}, a JSON text, plain text             Ollama, TGI, gateways
"""

from collections.abc import Iterator
from typing import cast

import orjson

from ..json_value import Json

_MAX_DEPTH = 6
_MAX_ITEMS = 5  # of a list of errors
_MAX_PARAMETERS = 20
# The members that contain words, the most precise first. "error" and "errors" may contain objects.
_WORDS = (
    *("message", "msg", "detail", "error_description", "error", "errors", "raw"),
    *("error_message", "error_msg", "errorMessage", "description"),
    *("Message", "faultstring", "fault", "title", "reason", "base_resp", "status_msg"),
)
_ROOTS = ("body", "query", "json")  # where FastAPI's locations begin


def words_of(value: Json, depth: int = 0) -> str:
    """Return the words in the body of a refusal; "" if there are none.

    Args:
        value: the JSON value, or the text of a body that is no JSON.
        depth: how deep the value is nested in the body.
    """
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        return _of_text(value.strip(), depth)
    if isinstance(value, list):
        found = (words_of(item, depth + 1) for item in value[:_MAX_ITEMS])
        return "; ".join(dict.fromkeys(words for words in found if words))
    return _of_object(value, depth) if isinstance(value, dict) else ""


def _of_text(text: str, depth: int) -> str:
    """Return a text; the words in it if it is JSON once more, as gateways quote it."""
    if text.startswith(("{", "[")):
        try:
            return words_of(cast("Json", orjson.loads(text)), depth + 1) or text
        except ValueError:
            pass
    return text


def _of_object(members: dict[str, Json], depth: int) -> str:
    for name in _WORDS:
        words = words_of(members.get(name), depth + 1)
        if words:
            break
    else:
        # Django and Rails: the messages of each field, by its name.
        fields = (
            f"{name}: {words}"
            for name, value in list(members.items())[:_MAX_ITEMS]
            if isinstance(value, list) and (words := words_of(value, depth + 1))
        )
        # A whole body with a single list of another kind may be anything, such as an answer.
        return "; ".join(fields) if depth or all(map(_is_texts, members.values())) else ""
    location = ".".join(_location(members))
    if location and location not in words:
        words = f"{location}: {words}"
    metadata = members.get("metadata")  # OpenRouter quotes the refusal of the provider behind it
    if isinstance(metadata, dict) and (raw := words_of(metadata.get("raw"), depth + 1)):
        words = f"{words}: {raw}"
    return words


def _is_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def parameters_in(value: Json) -> tuple[str, ...]:
    """Return the names of the parameters that a refusal blames in members of its own.

    Args:
        value: the body of the refusal.
    """
    return tuple(dict.fromkeys(_parameters(value, 0)))[:_MAX_PARAMETERS]


def _parameters(value: Json, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value[:_MAX_PARAMETERS]:
            yield from _parameters(item, depth + 1)
    elif isinstance(value, dict):
        for name in ("param", "parameter"):
            if isinstance(blamed := value.get(name), str) and blamed:
                yield blamed.partition(".")[0].partition("[")[0]
        yield from _location(value)[:1]
        for name in ("error", "errors", "detail", "details", "message"):
            yield from _parameters(value.get(name), depth + 1)


def _location(members: dict[str, Json]) -> tuple[str, ...]:
    """Return where FastAPI found an error: ("stream_options",) for ["body", "stream_options"]."""
    location = members.get("loc")
    if not isinstance(location, list):
        return ()
    return tuple(str(part) for part in location if part not in _ROOTS and part is not None)
