"""How requests are written and answers are read, one module for each wire format.

Pure: no addresses, no keys, no HTTP. `callsheet.actors.vendors` says who speaks which.
"""

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
from .jsontext import dumps, loads
from .openai_chat import OpenAIChat
from .sse import Event, EventTooLarge, SseParser

__all__ = [
    "Answer",
    "ApiError",
    "BrokeOff",
    "Event",
    "EventTooLarge",
    "Inexpressible",
    "Malformed",
    "OpenAIChat",
    "SseParser",
    "StreamDecoder",
    "StreamFailed",
    "WireFormat",
    "dumps",
    "loads",
]
