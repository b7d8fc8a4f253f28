"""The batch endpoints: OpenAI's batches and files, and Anthropic's batches."""

from .context import BatchRequestContext, HttpRoute, JsonReply
from .routes import BatchEndpoints

__all__ = ["BatchEndpoints", "BatchRequestContext", "HttpRoute", "JsonReply"]
