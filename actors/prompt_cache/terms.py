"""How providers cache the beginnings of prompts: data, by vendor and model. Pure (R14).

What a vendor does not document is the value that costs least if it is wrong. Where two lists of its
minima differ, the lower one is taken: usage shows soon that nothing is cached.

Source: docs/providers.md, OpenAI: prompt caching; Anthropic: prompt caching; Gemini: prompt
caching; Others: prompt caching.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import attrs
from attrs.validators import optional

from ..validation import ge, gt, in_

CacheMark = Literal["cache_control", "prompt_cache_breakpoint"]
"""The member that marks the end of a beginning: Anthropic's and OpenAI's."""

_MINUTE_S = 60.0
_HOUR_S = 3600.0


@attrs.frozen(kw_only=True)
class CacheTerms:
    """How a provider caches the beginnings of prompts to one model. Prices are in the price book.

    Args:
        minimum: tokens of the shortest beginning that is cached.
        step: the tokens between two places at which a cached beginning can end; None if it ends at
            marks only.
        life_s: seconds after the last use in which a beginning can surely be read.
        readable: when a beginning that a request wrote can be read: when its response has "begun"
            or "ended".
        mark: the member that marks the end of a beginning; None if there are no marks.
        on_parts_only: whether it can be on parts of system and user messages only; otherwise it can
            be on tools, answers and their results too.
        takes_key: whether ``prompt_cache_key`` leads requests to the same cache.
        needs_key: whether nothing is cached without such a key.
        key_per_minute: how many requests with one beginning and key a minute reach the same cache;
            None if no such limit is known.
    """

    minimum: int = attrs.field(validator=ge(1))
    step: int | None = attrs.field(default=None, validator=optional(ge(1)))
    life_s: float = attrs.field(default=5 * _MINUTE_S, validator=gt(0))
    readable: Literal["begun", "ended"] = attrs.field(
        default="begun", validator=in_(("begun", "ended"))
    )
    mark: CacheMark | None = None
    on_parts_only: bool = False
    takes_key: bool = False
    needs_key: bool = False
    key_per_minute: int | None = attrs.field(default=None, validator=optional(ge(1)))

    @property
    def shares_unmarked(self) -> bool:
        """Whether different prompts share their beginning though the user wrote no mark or key."""
        return self.step is not None and not self.needs_key


@lru_cache(maxsize=256)
def cache_terms(vendor: str, model: str) -> CacheTerms | None:
    """Return how a model caches prompts; None if it does not, or if nothing is known about it.

    Args:
        vendor: name of the vendor, such as "openai".
        model: the vendor's name of the model, such as "gpt-5.4-nano".
    """
    find = _BY_VENDOR.get(vendor)
    return None if find is None else find(model)


def has_prompt_cache(vendor: str) -> bool:
    """Return whether a vendor caches the prompts of any of its models.

    Args:
        vendor: name of the vendor, such as "openai".
    """
    return vendor in _BY_VENDOR


# Models from before OpenAI cached prompts, and those that write no text.
_OPENAI_UNCACHED = re.compile(
    r"(gpt-3|gpt-4(-|$)|gpt-4o-2024-05|davinci|babbage|.*(embedding|moderation|tts|whisper|image))"
)
_OPENAI_NAME = re.compile(r"(ft:)?(gpt-|chatgpt-|o[1-9]|codex-)")
_OPENAI_AT_MARKS = re.compile(r"gpt-(5\.[6-9]|5\.\d\d|[6-9]|\d\d)")
_KEY_PER_MINUTE = 15


def _openai(model: str) -> CacheTerms | None:
    if not _OPENAI_NAME.match(model) or _OPENAI_UNCACHED.match(model.removeprefix("ft:")):
        return None
    older = CacheTerms(minimum=1024, step=128, takes_key=True, key_per_minute=_KEY_PER_MINUTE)
    if not _OPENAI_AT_MARKS.match(model.removeprefix("ft:")):
        return older
    return attrs.evolve(
        older,
        step=None,
        life_s=30 * _MINUTE_S,
        mark="prompt_cache_breakpoint",
        on_parts_only=True,
    )


# {pattern of the name: minimum}; the first one that is found counts.
_ANTHROPIC_MINIMA = (
    (r"(opus|fable|mythos)-5(?!-\d)|(opus|fable|mythos)-5-\d{8}", 512),
    (r"opus-4-[56]|haiku-4-5", 4096),
    (r"opus-4-7|haiku-3|3-5-haiku|3-haiku", 2048),
)


def _anthropic(model: str) -> CacheTerms | None:
    if "claude" not in model:
        return None
    name = model.replace(".", "-")  # as OpenRouter writes it
    found = (minimum for pattern, minimum in _ANTHROPIC_MINIMA if re.search(pattern, name))
    return CacheTerms(minimum=next(found, 1024), mark="cache_control")


def _gemini(model: str) -> CacheTerms | None:
    found = re.match(r"(models/)?gemini-(\d+)(\.\d+)?", model)
    if found is None or "embedding" in model:
        return None
    version = float(found[2] + (found[3] or ""))
    if version < 2.5:  # noqa: PLR2004  # Gemini 2.5 was the first one
        return None
    if version < 3.5 and "flash" in model:  # noqa: PLR2004  # Gemini 3.5
        return CacheTerms(minimum=1024, step=128)
    return CacheTerms(minimum=2048 if version < 3 else 4096, step=128)  # noqa: PLR2004  # Gemini 3


def _deepseek(model: str) -> CacheTerms | None:
    if not model.startswith("deepseek"):
        return None
    return CacheTerms(minimum=64, step=64, life_s=_HOUR_S, readable="ended")


def _mistral(_: str) -> CacheTerms | None:
    return CacheTerms(minimum=64, step=64, takes_key=True, needs_key=True)


def _xai(model: str) -> CacheTerms | None:
    return CacheTerms(minimum=128, step=128) if model.startswith("grok-") else None


def _groq(model: str) -> CacheTerms | None:
    return CacheTerms(minimum=128, step=128, life_s=2 * _HOUR_S) if "gpt-oss" in model else None


def _openrouter(model: str) -> CacheTerms | None:
    maker, _, name = model.partition("/")
    find = _BY_MAKER.get(maker)
    terms = None if find is None else find(name.partition(":")[0])
    return None if terms is None else attrs.evolve(terms, on_parts_only=True)


_BY_MAKER: Mapping[str, Callable[[str], CacheTerms | None]] = MappingProxyType(
    {
        "openai": _openai,
        "anthropic": _anthropic,
        "google": _gemini,
        "deepseek": _deepseek,
        "x-ai": _xai,
    }
)
_BY_VENDOR: Mapping[str, Callable[[str], CacheTerms | None]] = MappingProxyType(
    {
        "openai": _openai,
        "azure": _openai,
        "anthropic": _anthropic,
        "gemini": _gemini,
        "deepseek": _deepseek,
        "mistral": _mistral,
        "xai": _xai,
        "groq": _groq,
        "openrouter": _openrouter,
    }
)
