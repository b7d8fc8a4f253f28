"""The known vendors: address, key header, wire formats and Batch API of each.

Differences between OpenAI-compatible servers are settings of a `Vendor`. Use "compatible" for a
server that is not listed, or create a `Vendor`, for example with ``attrs.evolve`` from a listed
one. Sources: docs/providers.md.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from ..messages import Task
from .anthropic import AnthropicMessages
from .format import UnsupportedField, WireFormat
from .gemini import GeminiContent
from .openai_chat import OpenAIChat
from .openai_lists import OpenAICompletions, OpenAIEmbeddings

if TYPE_CHECKING:  # loaded with the Batch API stage
    from .batch_dialect import BatchDialect


@attrs.frozen(kw_only=True)
class Vendor:
    """A vendor of an API, and how its API is called.

    Args:
        name: the name in settings, such as "openai".
        title: the name in texts, such as "OpenAI".
        formats: wire formats, by the task of a request.
        base_url: address of the API up to and including the version; None if each customer has
            another address.
        key_variables: environment variables for the API key; the first that is set is used.
        url_variables: environment variables for another base URL.
        needs_key: whether the API at `base_url` requires a key.
        key_header: the header that contains the key, in lower case.
        key_prefix: the text before the key in that header.
        headers: further headers of every request.
        version_path: the path that is appended to a URL without a path.
        tiers: service tiers that a chat may request, besides the usual one, and their prices as
            factors of the usual ones. They are used where the price of a model is not known.
        tier_field: the member of the body that names the tier.
        reports_cost: whether `cost` in its `usage` is what it charges in USD.
        model: the default chat model: small, and without an announced shutdown; None if each
            customer has other models.
        batches: the Batch API, or the name of a supported one: "openai", "anthropic" or "together";
            None if the vendor has none, or an unsupported one.
    """

    name: str
    title: str
    formats: Mapping[Task, WireFormat] = attrs.field(hash=False, repr=False)
    base_url: str | None = None
    key_variables: tuple[str, ...] = ()
    url_variables: tuple[str, ...] = ()
    needs_key: bool = True
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], hash=False)
    version_path: str = ""
    tiers: Mapping[str, Decimal] = attrs.field(factory=dict[str, Decimal], hash=False)
    tier_field: str = "service_tier"
    reports_cost: bool = False
    model: str | None = None
    _batches: "BatchDialect | str | None" = attrs.field(default=None, repr=False, alias="batches")

    @property
    def batches(self) -> "BatchDialect | None":
        """The Batch API; None if the vendor has none, or an unsupported one.

        Raises:
            ValueError: the name of the Batch API is unknown.
        """
        from .batch_catalog import dialect_named  # noqa: PLC0415  # few programs use a Batch API

        return dialect_named(self._batches) if isinstance(self._batches, str) else self._batches

    @property
    def price_vendor(self) -> str:
        """The vendor in price files; "" for a server that anyone can run, or an unlisted vendor."""
        return self.name if self.needs_key and self.name in VENDORS else ""

    def format_for(self, task: Task) -> WireFormat:
        """Return the wire format for a task.

        Args:
            task: the task of a request.

        Raises:
            UnsupportedField: the vendor does not support the task.
        """
        try:
            return self.formats[task]
        except KeyError:
            why = f"it supports {' and '.join(self.formats)}"
            raise UnsupportedField(f"task={task!r}", self.title, why) from None

    def whole_url(self, url: str) -> str:
        """Return `url` as a base URL: with `version_path` appended if it has no path.

        Args:
            url: the URL of a server, with or without a path.
        """
        bare = url.strip().rstrip("/")
        return bare + self.version_path if urlsplit(bare).path == "" else bare


def _openai_formats(
    chat: OpenAIChat,
    completions: OpenAICompletions | None = None,
    embeddings: OpenAIEmbeddings | None = None,
) -> Mapping[Task, WireFormat]:
    formats: dict[Task, WireFormat] = {"chat": chat}
    if completions is not None:
        formats["completion"] = completions
    if embeddings is not None:
        formats["embedding"] = embeddings
    return MappingProxyType(formats)


# OpenAI's newer models refuse max_tokens; its older ones accept both names.
_OPENAI_CHAT = OpenAIChat(limit_name="max_completion_tokens", asks_for_usage=True)
_COMPLETIONS = OpenAICompletions(asks_for_usage=True)
_EMBEDDINGS = OpenAIEmbeddings()
_NO_N = frozenset({"n"})

_ALL = (
    Vendor(
        name="openai",
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",),
        url_variables=("OPENAI_BASE_URL",),
        version_path="/v1",
        formats=_openai_formats(_OPENAI_CHAT, _COMPLETIONS, _EMBEDDINGS),
        tiers=MappingProxyType({"flex": Decimal("0.5"), "priority": Decimal(2)}),
        model="gpt-5.4-nano",
        batches="openai",
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
    ),
    Vendor(
        name="anthropic",
        title="Anthropic",
        base_url="https://api.anthropic.com/v1",
        key_variables=("ANTHROPIC_API_KEY",),
        url_variables=("ANTHROPIC_BASE_URL",),
        key_header="x-api-key",
        key_prefix="",
        headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
        version_path="/v1",
        formats=MappingProxyType[Task, WireFormat]({"chat": AnthropicMessages()}),
        model="claude-haiku-4-5",
        batches="anthropic",
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
    ),
    Vendor(
        name="together",
        title="Together AI",
        base_url="https://api.together.xyz/v1",
        key_variables=("TOGETHER_API_KEY",),
        url_variables=("TOGETHER_BASE_URL",),
        version_path="/v1",
        # It reports usage without stream_options, which it may not support.
        formats=_openai_formats(OpenAIChat(), OpenAICompletions(), _EMBEDDINGS),
        batches="together",
    ),
    Vendor(
        name="groq",
        title="Groq",
        base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",),
        url_variables=("GROQ_BASE_URL",),
        version_path="/openai/v1",
        formats=_openai_formats(attrs.evolve(_OPENAI_CHAT, unknown=_NO_N)),
        tiers=MappingProxyType({"flex": Decimal(1)}),  # no discount is documented
        model="llama-3.1-8b-instant",
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
    ),
    Vendor(
        name="vllm",
        title="vLLM",
        base_url="http://127.0.0.1:8000/v1",
        key_variables=("VLLM_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(OpenAIChat(asks_for_usage=True), _COMPLETIONS, _EMBEDDINGS),
    ),
    Vendor(
        name="llamacpp",
        title="llama.cpp",
        base_url="http://127.0.0.1:8080/v1",
        key_variables=("LLAMA_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(OpenAIChat(asks_for_usage=True), _COMPLETIONS, _EMBEDDINGS),
    ),
    Vendor(
        name="ollama",
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        key_variables=("OLLAMA_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_openai_formats(
            OpenAIChat(asks_for_usage=True, unknown=_NO_N),
            OpenAICompletions(asks_for_usage=True, several_prompts=False, unknown=_NO_N),
            _EMBEDDINGS,
        ),
    ),
    Vendor(
        name="compatible",
        title="an OpenAI-compatible API",
        key_variables=("OPENAI_API_KEY",),
        url_variables=("OPENAI_BASE_URL",),
        needs_key=False,
        # The oldest member names. Nearly all servers can report usage in a stream, and without it
        # the cost is not known. From a server that refuses, the whole response is requested.
        formats=_openai_formats(OpenAIChat(asks_for_usage=True), _COMPLETIONS, _EMBEDDINGS),
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
        if vendor.needs_key and vendor.base_url == base_url:
            return vendor
    return VENDORS["compatible"]
