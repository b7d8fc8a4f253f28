"""Keys of requests: two requests with the same key may share one response (L6)."""

import hashlib
import json
from collections.abc import Iterable, Mapping

import attrs
import orjson

from .json_value import Json
from .messages import Request

# Fields that cannot change the response.
_LEFT_OUT = ("cacheable", "deadline", "idempotency_key", "max_tokens_name")
_CACHE_KEYS = b"callsheet cache2"  # 1 had responses of fallbacks under keys of the first target
_FIELDS = tuple(field.name for field in attrs.fields(Request) if field.name not in _LEFT_OUT)


def sharing_key(request: Request) -> str | None:
    """Return the key of requests that may share one call; None if the request is not cacheable.

    The key covers every field that can change the response. It does not cover the endpoint, which
    is the same for all calls of one troupe (L6).

    Args:
        request: the request to be compared with others.
    """
    text = text_of_fields(request, _FIELDS) if request.cacheable else None
    return None if text is None else hashlib.blake2b(text, digest_size=16).hexdigest()


def text_of_fields(request: Request, names: Iterable[str]) -> bytes | None:
    """Return fields of a request as canonical JSON; None if a value cannot be written as JSON.

    Args:
        request: the request whose fields are written.
        names: the names of these fields, in any order.
    """
    values = {name: getattr(request, name) for name in names}
    if "messages" in values:
        values["messages"] = [
            (
                *(message.role, message.content),
                *([message.extra] if message.extra else ()),
                *([[message.native]] if message.native else ()),
            )
            for message in request.messages
        ]
    if not values.get("extra_headers"):  # keys of earlier versions have no such field
        values.pop("extra_headers", None)
    if "tools" in values:
        values["tools"] = [tool.told for tool in request.tools]
    if values.get("returns") is not None and (output := request.output_schema) is not None:
        values["returns"] = (output.name, output.schema, not output.not_strict)
    try:
        return orjson.dumps(values, default=dict, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None


def cache_keys(scopes: Iterable[str], request: Request) -> tuple[str, ...]:
    """Return the key of a response in the cache, by each scope; none if it is not cacheable.

    The key covers the endpoint and every field that can change the response (L6). It is a digest,
    from which no prompt can be recovered (L8).

    Args:
        scopes: the identities of the endpoints that may have sent it, such as their base URLs.
        request: the request to be looked up.
    """
    shared = sharing_key(request)
    if shared is None:
        return ()
    return tuple(
        hashlib.blake2b(
            f"{scope}\n{shared}".encode(), digest_size=16, person=_CACHE_KEYS
        ).hexdigest()
        for scope in scopes
    )


def content_key(account: str, path: str, body: Mapping[str, Json]) -> str:
    """Return the key of requests with the same body, whether or not they are cacheable.

    The key covers everything that can change the response: endpoint, path, model and the whole
    canonical body (L6). With it, a batch that an earlier process submitted is found again.

    Args:
        account: the identity of the endpoint.
        path: the path after the base URL.
        body: the JSON body as it would be sent.
    """
    content = [account, path, body]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()
