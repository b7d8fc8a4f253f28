"""The body of an answer as OpenAI gives it: the provider's own where it is one, or made of it."""

import base64
import struct
from collections.abc import Mapping
from typing import cast

from ...actors import (
    ApiError,
    Choice,
    DecodedResponse,
    Json,
    Malformed,
    Response,
    Task,
    read_chat,
    read_completion,
    read_embeddings,
)
from ..row import Row

__all__ = [
    "made_body",
    "own_body",
    "read_body",
]


_ANSWERS: Mapping[Task, str] = {"chat": "choices", "completion": "choices", "embedding": "data"}
_ALONE = ("live", "flex", "batch")  # routes of answers whose usage is theirs alone


def own_body(row: Row, response: Response) -> Mapping[str, Json] | None:
    """The provider's own body, where that is OpenAI's; None where it is not.

    Of an answer that was had with others, or before, the usage is what it took itself.
    """
    body = response.body
    if body is None or not isinstance(body.get(_ANSWERS[row.request.task]), list):
        return None
    is_alone = response.route in _ALONE and ("usage" in body or not response.usage.total_tokens)
    return body if is_alone else {**body, "usage": _tokens(response)}


def made_body(row: Row, response: Response, name: str, created: int) -> dict[str, Json]:
    """What OpenAI would have said in the place of whoever did.

    Args:
        row: that was asked for.
        response: the answer.
        name: for an id, if the provider has none.
        created: when, in seconds of Unix time.
    """
    task = row.request.task
    if task == "embedding":
        write = _packed if row.request.extra_body.get("encoding_format") == "base64" else _listed
        vectors: list[Json] = [
            {"object": "embedding", "index": at, "embedding": write(vector)}
            for at, vector in enumerate(response.embeddings)
        ]
        model = response.model
        return {"object": "list", "data": vectors, "model": model, "usage": _tokens(response)}
    found = response.choices or (Choice(response.text, response.finish_reason),)
    said = response.body.get("id") if response.body is not None else None
    prefix = "cmpl" if task == "completion" else "chatcmpl"
    write_choice = _completion_choice if task == "completion" else _chat_choice
    choices: list[Json] = [write_choice(at, one) for at, one in enumerate(found)]
    return {
        "id": said if isinstance(said, str) and said else f"{prefix}-{name}",
        "object": "text_completion" if task == "completion" else "chat.completion",
        "created": created,
        "model": response.model,
        "choices": choices,
        "usage": _tokens(response),
    }


def read_body(body: dict[str, Json]) -> DecodedResponse:
    """The answer in a body of OpenAI's, whichever of them it is.

    Raises:
        Malformed: it is none.
    """
    vectors, choices = body.get("data"), body.get("choices")
    found: DecodedResponse | ApiError
    if isinstance(vectors, list):
        found = read_embeddings(body, len(vectors))
    elif isinstance(choices, list):
        first = choices[0] if choices else None
        read = read_completion if isinstance(first, dict) and "text" in first else read_chat
        found = read(body, len(choices))
    else:
        raise Malformed("it has neither choices nor data")
    if isinstance(found, ApiError):
        raise Malformed("it is an error")
    return found


def _tokens(response: Response) -> dict[str, Json]:
    usage = response.usage
    tokens: dict[str, Json] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        tokens["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        tokens["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return tokens


def _chat_choice(at: int, one: Choice) -> dict[str, Json]:
    message: dict[str, Json] = {"role": "assistant", "content": one.text, "refusal": None}
    return {"index": at, "message": message, "logprobs": None, "finish_reason": one.finish_reason}


def _completion_choice(at: int, one: Choice) -> dict[str, Json]:
    return {"index": at, "text": one.text, "logprobs": None, "finish_reason": one.finish_reason}


def _listed(vector: tuple[float, ...]) -> Json:
    return cast("list[Json]", list(vector))


def _packed(vector: tuple[float, ...]) -> Json:
    """As 32-bit floats in base 64, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
