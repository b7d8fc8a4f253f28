"""The batch endpoints: OpenAI's batches and files, and Anthropic's batches."""

from .control import BatchEndpoints

__all__ = ["BatchEndpoints"]
