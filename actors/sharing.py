"""Which requests may share one answer (L6)."""

import hashlib
import json

import attrs

from .messages import Request

__all__ = ["sharing_key"]

_NOT_ASKED = ("cacheable", "deadline", "idempotency_key")  # fields that no answer depends on


def sharing_key(request: Request) -> str | None:
    """What two requests must have in common to share one answer; None if it may not be shared.

    It covers every field that the body is made of, and with them everything that can change the
    answer; the endpoint is the same for all that go through one troupe (L6).
    """
    if not request.cacheable:
        return None
    asked = {
        field.name: getattr(request, field.name)
        for field in attrs.fields(Request)
        if field.name not in _NOT_ASKED
    }
    asked["messages"] = [(turn.role, turn.content) for turn in request.messages]
    try:
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=dict)
    except (TypeError, ValueError):  # `extra` is no JSON: nobody can send it, let alone share it
        return None
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
