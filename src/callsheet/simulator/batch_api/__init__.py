"""Batches: OpenAI's, with the files that they come and go in, and Anthropic's."""

from .context import Reply, Route, Visit
from .routes import Batching

__all__ = [
    "Batching",
    "Reply",
    "Route",
    "Visit",
]
