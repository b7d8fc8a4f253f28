"""The known vendors: one row each, with address, key variables, wire formats, quirks and prices.

Differences between OpenAI-compatible servers are settings of a `Vendor`. Use "compatible" for a
server that is not listed, or create a `Vendor`, for example with ``attrs.evolve`` from a listed
one. docs/providers.md has the sources, and says how to add a row.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from urllib.parse import urlsplit

import attrs

from ..messages import Task
from .anthropic import AnthropicMessages
from .format import WireFormat
from .gemini import GeminiContent
from .openai_chat import OpenAIChat
from .openai_lists import OpenAICompletions, OpenAIEmbeddings, OpenAIModerations
from .openai_responses import OpenAIResponses
from .vendor import AccessTokens, Vendor


def _openai_formats(
    chat: OpenAIChat,
    completions: OpenAICompletions | None = None,
    embeddings: OpenAIEmbeddings | None = None,
    moderations: OpenAIModerations | None = None,
) -> Mapping[Task, WireFormat]:
    formats: dict[Task, WireFormat] = {"chat": chat}
    if completions is not None:
        formats["completion"] = completions
    if embeddings is not None:
        formats["embedding"] = embeddings
    if moderations is not None:
        formats["moderation"] = moderations
    return MappingProxyType(formats)


# OpenAI's newer models refuse max_tokens; its older ones accept both names.
_OPENAI_CHAT = OpenAIChat(
    limit_name="max_completion_tokens", asks_for_usage=True, strict_tools=True
)
# The oldest member names. Nearly all servers can report usage in a stream, and without it the cost
# is not known. From a server that refuses, the whole response is requested.
_COMPATIBLE_CHAT = OpenAIChat(asks_for_usage=True)
_COMPLETIONS = OpenAICompletions(asks_for_usage=True)
_ONE_PROMPT = OpenAICompletions(asks_for_usage=True, several_prompts=False)
_EMBEDDINGS = OpenAIEmbeddings()
_MODERATIONS = OpenAIModerations()
_OPENAI_RESPONSES = OpenAIResponses(strict_tools=True)
_RESPONSES = OpenAIResponses()
_AGENT = OpenAIResponses(  # Perplexity's
    path_name="/agent",
    stores=False,
    has_text=False,
    names_messages=True,
    unknown=frozenset({"temperature", "top_p", "tool_choice"}),
)
_NO_N = frozenset({"n"})

_ALL = (
    Vendor(
        name="openai",
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",),
        url_variables=("OPENAI_BASE_URL",),
        version_path="/v1",
        formats=_openai_formats(_OPENAI_CHAT, _COMPLETIONS, _EMBEDDINGS, _MODERATIONS),
        responses=_OPENAI_RESPONSES,
        tiers=MappingProxyType({"flex": Decimal("0.5"), "priority": Decimal(2)}),
        model="gpt-5.4-nano",
        batches="openai",
        price_list="openai",
    ),
    Vendor(
        name="azure",
        title="Azure OpenAI",
        key_variables=("AZURE_OPENAI_API_KEY",),
        url_variables=("AZURE_OPENAI_ENDPOINT",),
        key_header="api-key",
        key_prefix="",
        version_path="/openai/v1",
        formats=_openai_formats(_OPENAI_CHAT, _COMPLETIONS, _EMBEDDINGS),
        responses=_OPENAI_RESPONSES,
        price_list="azure",
    ),
    Vendor(
        name="anthropic",
        title="Anthropic",
        base_url="https://api.anthropic.com/v1",
        key_variables=("ANTHROPIC_API_KEY",),
        url_variables=("ANTHROPIC_BASE_URL",),
        key_header="x-api-key",
        key_prefix="",
        tokens=AccessTokens(
            prefix="sk-ant-oat",
            variables=("ANTHROPIC_AUTH_TOKEN",),
            headers=MappingProxyType({"anthropic-beta": "oauth-2025-04-20"}),
        ),
        headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
        version_path="/v1",
        formats=MappingProxyType[Task, WireFormat]({"chat": AnthropicMessages()}),
        model="claude-haiku-4-5",
        batches="anthropic",
        price_list="anthropic",
    ),
    Vendor(
        name="gemini",
        title="Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        url_variables=("GOOGLE_GEMINI_BASE_URL",),
        key_header="x-goog-api-key",
        key_prefix="",
        version_path="/v1beta",
        formats=MappingProxyType[Task, WireFormat]({"chat": GeminiContent()}),
        tiers=MappingProxyType({"flex": Decimal("0.5"), "priority": Decimal("1.8")}),
        tier_field="serviceTier",
        model="gemini-3.1-flash-lite",
        batches="gemini",
        price_list="gemini",
    ),
    Vendor(
        name="together",
        title="Together AI",
        base_url="https://api.together.xyz/v1",
        other_urls=("https://api.together.ai/v1",),
        key_variables=("TOGETHER_API_KEY",),
        url_variables=("TOGETHER_BASE_URL",),
        version_path="/v1",
        # It reports usage without stream_options, which it may not support.
        formats=_openai_formats(OpenAIChat(), OpenAICompletions(), _EMBEDDINGS),
        batches="together",
        price_list="together",
    ),
    Vendor(
        name="groq",
        title="Groq",
        base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",),
        url_variables=("GROQ_BASE_URL",),
        version_path="/openai/v1",
        formats=_openai_formats(attrs.evolve(_OPENAI_CHAT, strict_tools=False, unknown=_NO_N)),
        tiers=MappingProxyType({"flex": Decimal(1)}),  # no discount is documented
        model="llama-3.1-8b-instant",
        batches="groq",
        price_list="groq",
    ),
    Vendor(
        name="openrouter",
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        reports_cost=True,
        key_variables=("OPENROUTER_API_KEY",),
        version_path="/api/v1",
        formats=_openai_formats(
            OpenAIChat(asks_for_usage=True, unknown=_NO_N),
            OpenAICompletions(asks_for_usage=True, several_prompts=False, unknown=_NO_N),
            _EMBEDDINGS,
        ),
        batches="openrouter",
        price_list="openrouter",
    ),
    Vendor(
        name="cerebras",
        title="Cerebras",
        base_url="https://api.cerebras.ai/v1",
        key_variables=("CEREBRAS_API_KEY",),
        url_variables=("CEREBRAS_BASE_URL",),
        version_path="/v1",
        formats=_openai_formats(_OPENAI_CHAT, _COMPLETIONS),
        model="gpt-oss-120b",
        price_list="cerebras",
    ),
    Vendor(
        name="mistral",
        title="Mistral",
        base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",),
        version_path="/v1",
        # It has no stream_options: usage is in the last chunk anyway.
        formats=_openai_formats(OpenAIChat(seed_name="random_seed"), embeddings=_EMBEDDINGS),
        model="mistral-small-latest",
        batches="mistral",
        price_list="mistral",
    ),
    Vendor(
        name="deepseek",
        title="DeepSeek",
        base_url="https://api.deepseek.com/v1",
        other_urls=("https://api.deepseek.com",),
        key_variables=("DEEPSEEK_API_KEY",),
        version_path="/v1",
        formats=_openai_formats(OpenAIChat()),  # usage is in the chunk of the finish reason
        model="deepseek-flash",
        price_list="deepseek",
    ),
    Vendor(
        name="xai",
        title="xAI",
        base_url="https://api.x.ai/v1",
        key_variables=("XAI_API_KEY",),
        version_path="/v1",
        formats=_openai_formats(_COMPATIBLE_CHAT),
        model="grok-4.3",
        price_list="xai",
    ),
    Vendor(
        name="perplexity",
        title="Perplexity",
        base_url="https://api.perplexity.ai/v1",
        key_variables=("PERPLEXITY_API_KEY",),
        version_path="/v1",
        formats=MappingProxyType[Task, WireFormat]({"chat": _AGENT}),
        responses=_AGENT,
        reports_cost=True,
        price_list="perplexity",
    ),
    Vendor(
        name="fireworks",
        title="Fireworks AI",
        base_url="https://api.fireworks.ai/inference/v1",
        key_variables=("FIREWORKS_API_KEY",),
        version_path="/inference/v1",
        formats=_openai_formats(_COMPATIBLE_CHAT, _ONE_PROMPT, _EMBEDDINGS),
        price_list="fireworks",
    ),
    Vendor(
        name="deepinfra",
        title="DeepInfra",
        base_url="https://api.deepinfra.com/v1/openai",
        key_variables=("DEEPINFRA_API_KEY", "DEEPINFRA_API_TOKEN"),
        version_path="/v1/openai",
        formats=_openai_formats(_COMPATIBLE_CHAT, embeddings=_EMBEDDINGS),
        price_list="deepinfra",  # none are published with the release
    ),
    Vendor(
        name="moonshot",
        title="Moonshot AI",
        base_url="https://api.moonshot.ai/v1",
        key_variables=("MOONSHOT_API_KEY",),
        version_path="/v1",
        formats=_openai_formats(_COMPATIBLE_CHAT),
        price_list="moonshot",
    ),
    Vendor(
        name="cohere",
        title="Cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        key_variables=("CO_API_KEY", "COHERE_API_KEY"),
        version_path="/compatibility/v1",
        formats=_openai_formats(_COMPATIBLE_CHAT, embeddings=_EMBEDDINGS),
        price_list="cohere",
    ),
    Vendor(
        name="vllm",
        title="vLLM",
        base_url="http://127.0.0.1:8000/v1",
        key_variables=("VLLM_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(_COMPATIBLE_CHAT, _COMPLETIONS, _EMBEDDINGS),
    ),
    Vendor(
        name="llamacpp",
        title="llama.cpp",
        base_url="http://127.0.0.1:8080/v1",
        key_variables=("LLAMA_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(_COMPATIBLE_CHAT, _COMPLETIONS, _EMBEDDINGS),
        responses=_RESPONSES,
    ),
    Vendor(
        name="ollama",
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        key_variables=("OLLAMA_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(
            OpenAIChat(asks_for_usage=True, unknown=_NO_N | {"tool_choice"}),
            OpenAICompletions(asks_for_usage=True, several_prompts=False, unknown=_NO_N),
            _EMBEDDINGS,
        ),
        responses=_RESPONSES,
    ),
    Vendor(
        name="lmstudio",
        title="LM Studio",
        base_url="http://127.0.0.1:1234/v1",
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(attrs.evolve(_COMPATIBLE_CHAT, unknown=_NO_N)),
        responses=_RESPONSES,
    ),
    Vendor(
        name="compatible",
        title="an OpenAI-compatible API",
        key_variables=("OPENAI_API_KEY",),
        url_variables=("OPENAI_BASE_URL",),
        needs_key=False,
        formats=_openai_formats(_COMPATIBLE_CHAT, _COMPLETIONS, _EMBEDDINGS, _MODERATIONS),
        responses=_RESPONSES,
    ),
)

VENDORS: Mapping[str, Vendor] = MappingProxyType({vendor.name: vendor for vendor in _ALL})
"""The known vendors, by name."""


def vendor_named(name: str) -> Vendor:
    """Return the vendor of that name.

    Args:
        name: name of the vendor, such as "openai".

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    try:
        return VENDORS[name]
    except KeyError:
        raise ValueError(f"unknown provider {name!r:.60}; known are {', '.join(VENDORS)}") from None


def vendor_at(base_url: str) -> Vendor:
    """Return the vendor of an address; "compatible" for an unknown or local address.

    Args:
        base_url: address of an API, up to and including the version.
    """
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:  # not a URL; the code that uses it raises the error
        host = ""
    if host.endswith((".openai.azure.com", ".services.ai.azure.com")):
        return VENDORS["azure"]
    for vendor in VENDORS.values():
        if vendor.needs_key and base_url in (vendor.base_url, *vendor.other_urls):
            return vendor
    return VENDORS["compatible"]
