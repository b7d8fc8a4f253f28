"""The key of a row: what has the same key has the same answer, in whatever run it was had."""

import hashlib
import json

import orjson

from ...actors import Request

__all__ = ["row_key"]


def row_key(name: str | int, url: str, request: Request) -> bytes:
    """A digest of what a row is called, where it goes and all that it asks.

    It does not depend on the order of members, on how numbers are written in fields that are read,
    or on fields that are not set: a field that `Request` gains changes no key. It is the same in
    every version, because people resume with another one; a test has examples.

    Args:
        name: the custom id, or how often the same was asked before by a row that has none.
        url: the path.
        request: what it asks.

    Raises:
        ValueError: `extra` is nested too deep.
    """
    return hashlib.blake2b(_canonical([name, url, _asked(request)]), digest_size=16).digest()


def _asked(request: Request) -> dict[str, object]:
    asked: dict[str, object] = {"model": request.model}
    if request.messages:
        asked["messages"] = [
            [turn.role, turn.content, *([turn.extra] if turn.extra else ())]
            for turn in request.messages
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
    if request.dimensions is not None:
        asked["dimensions"] = request.dimensions
    if request.extra_body:
        asked["extra"] = request.extra_body
    return asked


def _canonical(value: list[object]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair, a number beyond 64 bits, many levels
        pass
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return text.encode(errors="replace")
