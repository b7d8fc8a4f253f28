"""Batches: OpenAI's, with the files that they come and go in, and Anthropic's."""

from .routes import Batching
from .visit import Reply, Route, Visit

__all__ = ["Batching", "Reply", "Route", "Visit"]
