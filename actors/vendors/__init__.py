"""The providers: endpoints, wire formats, Batch API dialects and prices. No actor, no I/O."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .batch_catalog import dialect_named
    from .batch_dialect import BatchDialect, BatchView, ControlCall, LineResult
    from .catalog import VENDORS, Vendor, vendor_at, vendor_named
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
    from .sse import ServerSentEvent, SseParser
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        batch_catalog="dialect_named",
        batch_dialect="BatchDialect BatchView ControlCall LineResult",
        catalog="VENDORS Vendor vendor_at vendor_named",
        decoding="dumps loads",
        endpoint="Endpoint Timeouts",
        format=(
            "ApiError BatchLimits BatchWeight BrokeOff DecodedResponse Full Malformed "
            "StreamFailed UnsupportedField WireFormat"
        ),
        openai_chat="OpenAIChat read_chat",
        openai_lists="OpenAICompletions OpenAIEmbeddings read_completion read_embeddings",
        prices="Price PriceBook PriceError TierPrice default_prices tier_named",
        sse="ServerSentEvent SseParser",
    )

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
    "ServerSentEvent",
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
