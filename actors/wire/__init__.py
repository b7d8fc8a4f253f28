"""How requests are written and answers are read, one module for each wire format.

Pure: no addresses, no keys, no HTTP. `callsheet.actors.vendors` says who speaks which.
"""

from .anthropic import AnthropicMessages
from .format import (
    Answer,
    ApiError,
    BrokeOff,
    Inexpressible,
    Malformed,
    StreamDecoder,
    StreamFailed,
    WireFormat,
)
from .gemini import GeminiContent
from .jsontext import dumps, loads
from .openai_chat import OpenAIChat, read_chat
from .openai_completions import OpenAICompletions, read_completion
from .openai_embeddings import OpenAIEmbeddings, read_embeddings
from .sse import Event, EventTooLarge, SseParser

__all__ = [
    "Answer",
    "AnthropicMessages",
    "ApiError",
    "BrokeOff",
    "Event",
    "EventTooLarge",
    "GeminiContent",
    "Inexpressible",
    "Malformed",
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIEmbeddings",
    "SseParser",
    "StreamDecoder",
    "StreamFailed",
    "WireFormat",
    "dumps",
    "loads",
    "read_chat",
    "read_completion",
    "read_embeddings",
]
