"""Batches: OpenAI's, with the files that they come and go in, and Anthropic's."""

from .context import BatchRequestContext, HttpRoute, JsonReply
from .routes import BatchEndpoints

__all__ = [
    "BatchEndpoints",
    "BatchRequestContext",
    "HttpRoute",
    "JsonReply",
]
