"""Which request is the same as one that was asked before, perhaps by a process that died."""

import hashlib
import json
from collections.abc import Mapping

from ..messages import Json

__all__ = ["content_key"]


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
