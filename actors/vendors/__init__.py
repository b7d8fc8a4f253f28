"""The providers: endpoints, wire formats, Batch API dialects and prices."""

from .batch_anthropic import ANTHROPIC_BATCHES, DIALECTS, AnthropicBatches, dialect_named
from .batch_dialect import BatchDialect, BatchView, ControlCall, LineError, LineResult, Page
from .batch_openai import OPENAI_BATCHES, TOGETHER_BATCHES, OpenAIBatches
from .catalog import VENDORS, Vendor, vendor_at, vendor_named
from .decoding import dumps, loads
from .endpoint import Endpoint, Timeouts
from .format import (
    Answer,
    ApiError,
    Bounds,
    BrokeOff,
    Full,
    Inexpressible,
    Malformed,
    StreamFailed,
    Weight,
    WireFormat,
)
from .openai_chat import OpenAIChat, read_chat
from .openai_lists import OpenAICompletions, OpenAIEmbeddings, read_completion, read_embeddings
from .prices import Price, PriceBook, PriceError, TierPrice, default_prices, tier_named
from .sse import SseParser

__all__ = [
    "ANTHROPIC_BATCHES",
    "DIALECTS",
    "OPENAI_BATCHES",
    "TOGETHER_BATCHES",
    "VENDORS",
    "Answer",
    "AnthropicBatches",
    "ApiError",
    "BatchDialect",
    "BatchView",
    "Bounds",
    "BrokeOff",
    "ControlCall",
    "Endpoint",
    "Full",
    "Inexpressible",
    "LineError",
    "LineResult",
    "Malformed",
    "OpenAIBatches",
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIEmbeddings",
    "Page",
    "Price",
    "PriceBook",
    "PriceError",
    "SseParser",
    "StreamFailed",
    "TierPrice",
    "Timeouts",
    "Vendor",
    "Weight",
    "WireFormat",
    "default_prices",
    "dialect_named",
    "dumps",
    "loads",
    "read_chat",
    "read_completion",
    "read_embeddings",
    "tier_named",
    "vendor_at",
    "vendor_named",
]
