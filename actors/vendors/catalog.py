"""Whom one can ask: where each vendor's API is, how its key is sent and which formats it speaks.

What differs between the servers that call themselves OpenAI-compatible is a setting here. One that
is not listed is "compatible", or a `Vendor` of your own; ``attrs.evolve`` makes it out of one of
these.
"""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

import attrs

from ..messages import Task
from .anthropic import AnthropicMessages
from .batch_anthropic import ANTHROPIC_BATCHES
from .batch_dialect import BatchDialect
from .batch_openai import OPENAI_BATCHES, TOGETHER_BATCHES
from .format import UnsupportedField, WireFormat
from .gemini import GeminiContent
from .openai_chat import OpenAIChat
from .openai_lists import OpenAICompletions, OpenAIEmbeddings

__all__ = [
    "VENDORS",
    "Vendor",
    "vendor_at",
    "vendor_named",
]


@attrs.frozen(kw_only=True)
class Vendor:
    """Who offers an API, and how one talks to it.

    Args:
        name: by which one chooses it, such as "openai".
        title: for people, such as "OpenAI".
        base_url: where it is; None if everybody has an address of their own.
        key_variables: environment variables that may have the key; the first that is set counts.
        url_variables: environment variables that may have another base URL.
        needs_key: whether `base_url` answers only those who have a key.
        key_header: the header that the key is sent in.
        key_prefix: what stands before the key in it.
        headers: further headers of every request.
        version_path: what a URL without a path lacks to be a base URL.
        formats: what it speaks, by the task of a request.
        tiers: the service tiers of its chats that a request may ask for besides the usual one.
        model: of its chat models, the one for those who name none: small, and not announced to be
            shut down; None where everybody has models of their own.
        batches: how its Batch API is spoken to; None if it has none, or none that is known here.
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
    tiers: frozenset[str] = frozenset()
    model: str | None = None
    batches: BatchDialect | None = attrs.field(default=None, repr=False)

    def format_for(self, task: Task) -> WireFormat:
        """The format that it takes such requests in.

        Raises:
            UnsupportedField: it takes none.
        """
        try:
            return self.formats[task]
        except KeyError:
            why = f"it takes {' and '.join(self.formats)}"
            raise UnsupportedField(f"task={task!r}", self.title, why) from None

    def whole_url(self, url: str) -> str:
        """`url` with the path of the API's version, if it has no path at all."""
        bare = url.strip().rstrip("/")
        return bare + self.version_path if urlsplit(bare).path == "" else bare


def _speaks_openai(
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


# OpenAI's newer models refuse max_tokens, and its older ones take the new name, too.
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
        formats=_speaks_openai(_OPENAI_CHAT, _COMPLETIONS, _EMBEDDINGS),
        tiers=frozenset({"flex", "priority"}),
        model="gpt-5.4-nano",
        batches=OPENAI_BATCHES,
    ),
    Vendor(
        name="azure",
        title="Azure OpenAI",
        key_variables=("AZURE_OPENAI_API_KEY",),
        url_variables=("AZURE_OPENAI_ENDPOINT",),
        key_header="api-key",
        key_prefix="",
        version_path="/openai/v1",
        formats=_speaks_openai(_OPENAI_CHAT, _COMPLETIONS, _EMBEDDINGS),
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
        batches=ANTHROPIC_BATCHES,
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
        model="gemini-3.1-flash-lite",
    ),
    Vendor(
        name="together",
        title="Together AI",
        base_url="https://api.together.xyz/v1",
        key_variables=("TOGETHER_API_KEY",),
        url_variables=("TOGETHER_BASE_URL",),
        version_path="/v1",
        # Whether it knows stream_options is not known; it reports usage without.
        formats=_speaks_openai(OpenAIChat(), OpenAICompletions(), _EMBEDDINGS),
        batches=TOGETHER_BATCHES,
    ),
    Vendor(
        name="groq",
        title="Groq",
        base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",),
        url_variables=("GROQ_BASE_URL",),
        version_path="/openai/v1",
        formats=_speaks_openai(attrs.evolve(_OPENAI_CHAT, unknown=_NO_N)),
        tiers=frozenset({"flex"}),
        model="llama-3.1-8b-instant",
    ),
    Vendor(
        name="openrouter",
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        key_variables=("OPENROUTER_API_KEY",),
        version_path="/api/v1",
        formats=_speaks_openai(
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
        formats=_speaks_openai(_OPENAI_CHAT, _COMPLETIONS),
        model="gpt-oss-120b",
    ),
    Vendor(
        name="vllm",
        title="vLLM",
        base_url="http://127.0.0.1:8000/v1",
        key_variables=("VLLM_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_speaks_openai(OpenAIChat(asks_for_usage=True), _COMPLETIONS, _EMBEDDINGS),
    ),
    Vendor(
        name="llamacpp",
        title="llama.cpp",
        base_url="http://127.0.0.1:8080/v1",
        key_variables=("LLAMA_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_speaks_openai(OpenAIChat(asks_for_usage=True), _COMPLETIONS, _EMBEDDINGS),
    ),
    Vendor(
        name="ollama",
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        key_variables=("OLLAMA_API_KEY",),
        needs_key=False,
        version_path="/v1",
        formats=_speaks_openai(
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
        # The oldest words. Nearly all know how to report usage in a stream, and without it the
        # cost would not be known; one that refuses to is asked for the answer in one piece.
        formats=_speaks_openai(OpenAIChat(asks_for_usage=True), _COMPLETIONS, _EMBEDDINGS),
    ),
)

VENDORS: Mapping[str, Vendor] = MappingProxyType({vendor.name: vendor for vendor in _ALL})
"""Those that Callsheet knows, by name."""


def vendor_named(name: str) -> Vendor:
    """The vendor of that name.

    Raises:
        ValueError: there is none; lists those there are.
    """
    try:
        return VENDORS[name]
    except KeyError:
        raise ValueError(
            f"there is no provider {name!r:.60}; known are {', '.join(VENDORS)}"
        ) from None


def vendor_at(base_url: str) -> Vendor:
    """Whose address that is; "compatible" for one that is nobody's, or on this machine.

    Args:
        base_url: up to and with the version.
    """
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:  # no URL at all, which whoever uses it will say
        host = ""
    if host.endswith((".openai.azure.com", ".services.ai.azure.com")):
        return VENDORS["azure"]
    for vendor in VENDORS.values():
        if vendor.needs_key and vendor.base_url == base_url:
            return vendor
    return VENDORS["compatible"]
