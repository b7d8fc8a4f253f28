"""The providers: endpoints, wire formats, Batch API dialects and prices."""

from .batch_dialect import BatchDialect, BatchView, ControlCall, LineResult
from .catalog import VENDORS, Vendor, dialect_named, vendor_at, vendor_named
from .decoding import dumps, loads
from .endpoint import Endpoint, Timeouts
from .format import (
    ApiError,
    BatchLimits,
    BatchWeight,
    BrokeOff,
    DecodedResponse,
    Full,
    Malformed,
    StreamFailed,
    UnsupportedField,
    WireFormat,
)
from .openai_chat import OpenAIChat, read_chat
from .openai_lists import OpenAICompletions, OpenAIEmbeddings, read_completion, read_embeddings
from .prices import Price, PriceBook, PriceError, TierPrice, default_prices, tier_named
from .sse import SseParser

__all__ = [
    "VENDORS",
    "ApiError",
    "BatchDialect",
    "BatchLimits",
    "BatchView",
    "BatchWeight",
    "BrokeOff",
    "ControlCall",
    "DecodedResponse",
    "Endpoint",
    "Full",
    "LineResult",
    "Malformed",
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIEmbeddings",
    "Price",
    "PriceBook",
    "PriceError",
    "SseParser",
    "StreamFailed",
    "TierPrice",
    "Timeouts",
    "UnsupportedField",
    "Vendor",
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
