"""The key of a row: rows with the same key have the same response, in any run."""

import hashlib
import json

import orjson

from ...actors import Request


def row_key(name: str | int, url: str, request: Request) -> bytes:
    """Return a digest of the name, the path and the whole request of a row.

    It does not depend on the order of members, on the notation of numbers in known fields, or on
    unset fields: a new field of `Request` changes no key. It is the same in every version, because
    a run may be continued with a later version; a test has examples.

    Args:
        name: the custom id; for a row without one, the number of earlier identical rows.
        url: the path of the request.
        request: the request of the row.

    Raises:
        ValueError: `extra_body` is nested too deeply.
    """
    return hashlib.blake2b(_canonical([name, url, _asked(request)]), digest_size=16).digest()


def _asked(request: Request) -> dict[str, object]:
    asked: dict[str, object] = {"model": request.model}
    if request.messages:
        asked["messages"] = [
            [
                *(message.role, message.content),
                *([message.extra] if message.extra else ()),
                *([[message.native]] if message.native else ()),
            ]
            for message in request.messages
        ]
    else:
        asked["inputs"] = list(request.inputs)
    if request.max_tokens is not None:
        asked["max_tokens"] = request.max_tokens
    if request.temperature is not None:
        asked["temperature"] = float(request.temperature)
    if request.top_p is not None:
        asked["top_p"] = float(request.top_p)
    if request.n > 1:
        asked["n"] = request.n
    if request.stop:
        asked["stop"] = list(request.stop)
    if request.seed is not None:
        asked["seed"] = request.seed
    if request.json_schema is not None:
        asked["json_schema"] = request.json_schema
    if request.returns is not None and request.output_schema is not None:
        asked["returns"] = [request.output_schema.name, request.output_schema.schema]
    if request.dimensions is not None:
        asked["dimensions"] = request.dimensions
    if request.extra_body:
        asked["extra"] = request.extra_body
    return asked


def _canonical(value: list[object]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, deep nesting
        pass
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        raise ValueError("the request is nested too deeply") from None
    return text.encode(errors="replace")
