"""The providers: endpoints, wire formats, Batch API dialects and prices. No actor, no I/O."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .answer_reader import AnswerReader as AnswerReader
    from .batch_catalog import dialect_named as dialect_named
    from .batch_dialect import BatchDialect as BatchDialect
    from .batch_dialect import BatchView as BatchView
    from .batch_dialect import ControlCall as ControlCall
    from .batch_dialect import LineResult as LineResult
    from .catalog import VENDORS as VENDORS
    from .catalog import vendor_at as vendor_at
    from .catalog import vendor_named as vendor_named
    from .decoding import dumps as dumps
    from .decoding import is_end_mark as is_end_mark
    from .decoding import loads as loads
    from .endpoint import Endpoint as Endpoint
    from .endpoint import Timeouts as Timeouts
    from .format import ApiError as ApiError
    from .format import BatchLimits as BatchLimits
    from .format import BatchWeight as BatchWeight
    from .format import BrokeOff as BrokeOff
    from .format import DecodedResponse as DecodedResponse
    from .format import Full as Full
    from .format import Malformed as Malformed
    from .format import StreamFailed as StreamFailed
    from .format import UnsupportedField as UnsupportedField
    from .format import WireFormat as WireFormat
    from .openai_chat import OpenAIChat as OpenAIChat
    from .openai_chat import read_chat as read_chat
    from .openai_lists import OpenAICompletions as OpenAICompletions
    from .openai_lists import OpenAIEmbeddings as OpenAIEmbeddings
    from .openai_lists import read_completion as read_completion
    from .openai_lists import read_embeddings as read_embeddings
    from .openai_lists import read_moderations as read_moderations
    from .openai_response_output import read_response as read_response
    from .price import FAST_MODE as FAST_MODE
    from .price import PeakHours as PeakHours
    from .price import Price as Price
    from .price import TierPrice as TierPrice
    from .price import tier_named as tier_named
    from .price_file import PriceError as PriceError
    from .prices import OLD_DAYS as OLD_DAYS
    from .prices import PriceBook as PriceBook
    from .prices import default_prices as default_prices
    from .sse import ServerSentEvent as ServerSentEvent
    from .vendor import Vendor as Vendor
