"""How long an answer takes: drawn from (seed, prompt).

Every way of running the same work meets the same latencies, so that their times can be compared.
"""

from collections.abc import Mapping, Sequence

from .chance import fraction_of
from .jsontext import Json, canonical
from .settings import ProviderSettings

__all__ = [
    "chat_latency",
    "latency_of",
    "prompt_latency",
]


def latency_of(seed: int, prompt_key: str, low: float, high: float) -> float:
    """Seconds between low and high, uniform over prompts.

    Args:
        seed: the provider's seed.
        prompt_key: canonical JSON of what is asked: `messages`, `prompt` or `input`.
        low: the shortest, in seconds.
        high: the longest, in seconds.
    """
    return low + (high - low) * fraction_of("latency", seed, prompt_key)


def prompt_latency(settings: ProviderSettings, asked: Json) -> float:
    """Seconds the provider takes for a call, `time_scale` included.

    Args:
        settings: the provider's.
        asked: `messages`, `prompt` or `input`, as it is sent.
    """
    low, high = settings.latency_s
    return latency_of(settings.seed, canonical(asked), low, high) * settings.time_scale


def chat_latency(settings: ProviderSettings, messages: Sequence[Mapping[str, Json]]) -> float:
    """Seconds the provider takes for a chat completion, `time_scale` included.

    Args:
        settings: the provider's.
        messages: as they are sent, members "role" and "content".
    """
    return prompt_latency(settings, [dict(message) for message in messages])
