"""Which requests may share one answer (L6)."""

import hashlib
from collections.abc import Iterable

import attrs
import orjson

from .messages import Request

__all__ = ["sharing_key", "text_of_fields"]

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
