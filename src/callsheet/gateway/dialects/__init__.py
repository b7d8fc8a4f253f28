"""The dialects that clients of the gateway speak, by the paths of their calls. Pure (R14)."""

from collections.abc import Mapping
from types import MappingProxyType

from .chat import ChatDialect
from .completions import CompletionsDialect
from .dialect import Dialect as Dialect
from .dialect import DialectName as DialectName
from .dialect import InboundCall as InboundCall
from .dialect import StreamWriter as StreamWriter
from .embeddings import EmbeddingsDialect
from .messages import MessagesDialect
from .messages import count_body as count_body
from .messages import estimate_tokens as estimate_tokens
from .models import model_entry as model_entry
from .models import model_list as model_list
from .responses import ResponsesDialect

MESSAGES = MessagesDialect()
"""Anthropic's messages, whose tokens can be counted, too."""

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "/chat/completions": ChatDialect(),
        "/completions": CompletionsDialect(),
        "/embeddings": EmbeddingsDialect(),
        "/responses": ResponsesDialect(),
        "/messages": MESSAGES,
    }
)
"""{path after the version: dialect}"""
