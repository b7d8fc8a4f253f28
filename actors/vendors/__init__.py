"""The providers: endpoints, wire formats, Batch API dialects and prices. No actor, no I/O."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .answer_reader import AnswerReader
    from .batch_catalog import dialect_named
    from .batch_dialect import BatchDialect, BatchView, ControlCall, LineResult
    from .catalog import VENDORS, vendor_at, vendor_named
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
    from .openai_lists import (
        OpenAICompletions,
        OpenAIEmbeddings,
        read_completion,
        read_embeddings,
        read_moderations,
    )
    from .openai_response_output import read_response
    from .price import FAST_MODE, PeakHours, Price, TierPrice, tier_named
    from .price_file import PriceError
    from .prices import OLD_DAYS, PriceBook, default_prices
    from .sse import ServerSentEvent
    from .vendor import Vendor
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        answer_reader="AnswerReader",
        batch_catalog="dialect_named",
        batch_dialect="BatchDialect BatchView ControlCall LineResult",
        catalog="VENDORS vendor_at vendor_named",
        decoding="dumps loads",
        endpoint="Endpoint Timeouts",
        format=(
            "ApiError BatchLimits BatchWeight BrokeOff DecodedResponse Full Malformed "
            "StreamFailed UnsupportedField WireFormat"
        ),
        openai_chat="OpenAIChat read_chat",
        openai_lists=(
            "OpenAICompletions OpenAIEmbeddings read_completion read_embeddings read_moderations"
        ),
        openai_response_output="read_response",
        price="FAST_MODE PeakHours Price TierPrice tier_named",
        price_file="PriceError",
        prices="OLD_DAYS PriceBook default_prices",
        sse="ServerSentEvent",
        vendor="Vendor",
    )

__all__ = [
    "FAST_MODE",
    "OLD_DAYS",
    "VENDORS",
    "AnswerReader",
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
    "PeakHours",
    "Price",
    "PriceBook",
    "PriceError",
    "ServerSentEvent",
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
    "read_moderations",
    "read_response",
    "tier_named",
    "vendor_at",
    "vendor_named",
]
