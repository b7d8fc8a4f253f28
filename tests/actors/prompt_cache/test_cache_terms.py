"""How providers cache prompts, by vendor and model (docs/providers.md)."""

import attrs
import pytest

from callsheet.actors.prompt_cache import cache_terms


@pytest.mark.parametrize(
    ("model", "minimum"),
    [
        ("claude-sonnet-4-5", 1024),
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-4-1", 1024),
        ("claude-opus-4-8", 1024),
        ("claude-opus-5", 512),
        ("claude-opus-5-20260401", 512),
        ("claude-opus-5-5", 1024),
        ("claude-fable-5", 512),
        ("claude-opus-4-7", 2048),
        ("claude-3-5-haiku-20241022", 2048),
        ("claude-haiku-4-5", 4096),
        ("claude-opus-4-5-20251101", 4096),
    ],
)
def test_claude_needs_a_mark_and_has_a_minimum_by_model(model, minimum):
    terms = cache_terms("anthropic", model)
    assert (terms.minimum, terms.mark, terms.step) == (minimum, "cache_control", None)
    assert (terms.life_s, terms.readable, terms.takes_key) == (300, "begun", False)
    assert not terms.shares_unmarked


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "o3", "gpt-5", "gpt-5.4-nano"])
def test_older_models_of_openai_share_beginnings_in_steps(model):
    terms = cache_terms("openai", model)
    assert (terms.minimum, terms.step, terms.mark) == (1024, 128, None)
    assert (terms.takes_key, terms.needs_key, terms.key_per_minute) == (True, False, 15)
    assert terms.shares_unmarked


@pytest.mark.parametrize("model", ["gpt-5.6-luna", "gpt-6-sol", "gpt-6.1-terra", "gpt-10"])
def test_newer_models_of_openai_share_beginnings_at_marks(model):
    terms = cache_terms("openai", model)
    assert (terms.mark, terms.step) == ("prompt_cache_breakpoint", None)
    assert terms.life_s == 1800
    assert not terms.shares_unmarked


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        ("openai", "gpt-3.5-turbo"),
        ("openai", "gpt-4-turbo"),
        ("openai", "text-embedding-3-small"),
        ("azure", "our-deployment"),
        ("gemini", "gemini-2.0-flash"),
        ("gemini", "gemini-embedding-001"),
        ("groq", "llama-3.1-8b-instant"),
        ("openrouter", "qwen/qwen3"),
        ("vllm", "gpt-oss-120b"),
        ("compatible", "gpt-5"),
    ],
)
def test_where_no_cache_is_known_there_are_no_terms(vendor, model):
    assert cache_terms(vendor, model) is None


@pytest.mark.parametrize(
    ("model", "minimum"),
    [
        ("gemini-2.5-flash", 1024),
        ("gemini-2.5-pro", 2048),
        ("gemini-3-flash-preview", 1024),
        ("gemini-3.1-pro-preview", 4096),
        ("gemini-3.8-flash", 4096),
        ("gemini-4-argon", 4096),
    ],
)
def test_gemini_caches_by_itself(model, minimum):
    terms = cache_terms("gemini", model)
    assert (terms.minimum, terms.mark, terms.takes_key) == (minimum, None, False)
    assert terms.shares_unmarked


def test_mistral_caches_nothing_without_a_key():
    terms = cache_terms("mistral", "mistral-small-latest")
    assert (terms.minimum, terms.step, terms.needs_key) == (64, 64, True)
    assert not terms.shares_unmarked


def test_deepseek_is_readable_at_the_end_of_a_response():
    assert cache_terms("deepseek", "deepseek-flash").readable == "ended"


def test_a_gateway_has_the_terms_of_the_maker():
    at_maker = cache_terms("anthropic", "claude-sonnet-4-5")
    at_gateway = cache_terms("openrouter", "anthropic/claude-sonnet-4.5")
    assert at_gateway == attrs.evolve(at_maker, on_parts_only=True)
    assert cache_terms("openrouter", "openai/gpt-5.4-nano:nitro").step == 128
