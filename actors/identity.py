"""Which requests may share one answer (L6).

What a cached answer is found by (L6).

Which request is the same as one that was asked before, perhaps by a process that died.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

import attrs
import orjson

from .messages import Json, Request

__all__ = [
    "cache_key",
    "content_key",
    "sharing_key",
    "text_of_fields",
]


_NOT_ASKED = ("cacheable", "deadline", "idempotency_key")  # fields that no answer depends on
_ASKED = tuple(field.name for field in attrs.fields(Request) if field.name not in _NOT_ASKED)


def sharing_key(request: Request) -> str | None:
    """What two requests must have in common to share one answer; None if it may not be shared.

    It covers every field that the body is made of, and with them everything that can change the
    answer; the endpoint is the same for all that go through one troupe (L6).
    """
    text = text_of_fields(request, _ASKED) if request.cacheable else None
    return None if text is None else hashlib.blake2b(text, digest_size=16).hexdigest()


def text_of_fields(request: Request, names: Iterable[str]) -> bytes | None:
    """Some fields of a request as canonical JSON; None if they are no JSON, so nobody can send it.

    Args:
        request: the request.
        names: of the fields.
    """
    values = {name: getattr(request, name) for name in names}
    if "messages" in values:
        values["messages"] = [
            (turn.role, turn.content, *([turn.extra] if turn.extra else ()))
            for turn in request.messages
        ]
    try:
        return orjson.dumps(values, default=dict, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None


def cache_key(scope: str, request: Request) -> str | None:
    """The key of the answer; None if the request is not declared cacheable.

    It covers the endpoint and everything that the body is made of (L6). It is a digest: neither a
    prompt nor anything else can be read from it (L8).

    Args:
        scope: which endpoint answers, such as its base URL.
        request: what is asked of it.
    """
    shared = sharing_key(request)
    if shared is None:
        return None
    return hashlib.blake2b(f"{scope}\n{shared}".encode(), digest_size=16).hexdigest()


def content_key(account: str, path: str, body: Mapping[str, Json]) -> str:
    """What two requests have in common that are asked in the same words.

    It covers everything that can change the answer: endpoint, path, model and the whole canonical
    body (L6). Unlike `sharing_key` it is there for every request: an answer is for one who asks,
    not for all.

    Args:
        account: the endpoint.
        path: after the base URL.
        body: as it would be sent.
    """
    asked = [account, path, body]
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()
