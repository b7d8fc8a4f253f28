"""JSON to and from bytes, fast where it is as it should be and forgiving where it is not."""

import json
from collections.abc import Mapping
from typing import cast

import orjson

from ..messages import Json

__all__ = ["dumps", "loads"]


def loads(text: bytes) -> Json:
    """The value that a JSON text says.

    What is not whole Unicode (half a surrogate pair, broken UTF-8) is read as "?" or U+FFFD, and
    numbers beyond all bounds as infinity. Whole numbers beyond 64 bits lose their last digits.

    Raises:
        ValueError: it is not JSON, or too deep.
    """
    try:
        return cast("Json", orjson.loads(text))
    except orjson.JSONDecodeError:
        pass
    try:  # the standard library takes what orjson is too strict for
        return _whole(cast("Json", json.loads(text.decode("utf-8-sig", errors="replace"))))
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def dumps(value: Mapping[str, Json]) -> bytes:
    """The JSON text of an object, in UTF-8.

    Text that is not whole Unicode, such as what a shell makes of a file name, is written with "?".

    Raises:
        ValueError: it has NaN or infinity in it, which JSON cannot say, or is too deep.
        TypeError: it has something in it that is no JSON value.
    """
    try:
        text = orjson.dumps(value, default=_plain)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits; or really no JSON
        text = b"null"
    if b"null" not in text:  # which orjson also writes for NaN
        return bytes(memoryview(text))  # a copy: orjson's keeps 4 KiB, however short it is
    try:
        exact = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except RecursionError:
        raise ValueError("the value is nested too deep for JSON") from None
    return exact.encode(errors="replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Json]", value))
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _whole(value: Json) -> Json:
    """The same with "?" for every half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {cast("str", _whole(name)): _whole(item) for name, item in value.items()}
    return value
