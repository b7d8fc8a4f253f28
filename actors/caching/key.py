"""What a cached answer is found by (L6)."""

import hashlib

from ..messages import Request
from ..sharing import sharing_key

__all__ = ["cache_key"]


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
