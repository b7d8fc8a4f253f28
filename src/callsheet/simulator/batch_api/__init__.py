"""The batches of OpenAI, Together and Anthropic, and the files of their inputs and outputs."""

from .anthropic import MessageBatches
from .files import Files
from .openai import OpenAIBatches

__all__ = ["Files", "MessageBatches", "OpenAIBatches"]
