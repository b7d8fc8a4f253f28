"""A call through the gateway: read, queued, answered, or ended with its client."""

from .callers import Caller, Callers
from .count_tokens import CountTokens
from .endpoint import CallEndpoint
from .places import LeftPlaces
from .reply import Reply, headers_of
from .response_headers import json_headers
from .service import CallRules, CallService

__all__ = [
    "CallEndpoint",
    "CallRules",
    "CallService",
    "Caller",
    "Callers",
    "CountTokens",
    "LeftPlaces",
    "Reply",
    "headers_of",
    "json_headers",
]
