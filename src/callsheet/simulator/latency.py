"""The latency of a response: drawn from the seed and the prompt.

So every mode of running the same work meets the same latencies.
"""

from collections.abc import Mapping, Sequence

from .chance import fraction_of
from .jsontext import Json, canonical
from .settings import ProviderSettings


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
