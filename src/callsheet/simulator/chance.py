"""Repeatable randomness: every draw is a hash of the parts that identify it (R13).

The latency of a response is drawn from the seed and the prompt, so every mode of running the same
work meets the same latencies.
"""

import random
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from .settings import ProviderSettings
from .wire import Json, canonical


def _digest(parts: tuple[object, ...], size: int) -> bytes:
    text = "\x1f".join(map(str, parts))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def fraction_of(*parts: object) -> float:
    """Return a number in [0, 1), the same for the same parts in every process."""
    # 53 bits are what a float holds; 64 could round up to 1.0.
    return (int.from_bytes(_digest(parts, 8), "big") >> 11) / 2**53


def random_of(*parts: object) -> random.Random:
    """Return a random generator that is seeded by the parts."""
    return random.Random(int.from_bytes(_digest(parts, 8), "big"))  # noqa: S311 - not for secrets


def hex_of(*parts: object, length: int = 32) -> str:
    """Return an id of `length` hexadecimal digits (at most 128)."""
    return _digest(parts, (length + 1) // 2).hex()[:length]


def latency_of(seed: int, prompt_key: str, low: float, high: float) -> float:
    """Return seconds between low and high, uniformly distributed over prompts.

    Args:
        seed: the provider's seed.
        prompt_key: canonical JSON of the prompt: `messages`, `prompt` or `input`.
        low: the minimum, in seconds.
        high: the maximum, in seconds.
    """
    return low + (high - low) * fraction_of("latency", seed, prompt_key)


def prompt_latency(settings: ProviderSettings, asked: Json) -> float:
    """Return the seconds that the provider takes for a call, `time_scale` included.

    Args:
        settings: the provider's settings.
        asked: `messages`, `prompt` or `input`, as sent.
    """
    low, high = settings.latency_s
    return latency_of(settings.seed, canonical(asked), low, high) * settings.time_scale


def chat_latency(settings: ProviderSettings, messages: Sequence[Mapping[str, Json]]) -> float:
    """Return the seconds that the provider takes for a chat completion, `time_scale` included.

    Args:
        settings: the provider's settings.
        messages: the messages as sent, with the members "role" and "content".
    """
    return prompt_latency(settings, [dict(message) for message in messages])
