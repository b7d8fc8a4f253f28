"""What a provider is like: its speed, its limits, its faults."""

from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge, gt, in_, instance_of, min_len, optional

from .faults import Faults

__all__ = ["ProviderSettings"]

Range = tuple[float, float]


def _is_range(_: object, field: "attrs.Attribute[Range]", value: Range) -> None:
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"{field.name} must be 0 <= low <= high, got {low} to {high}")


@attrs.frozen(kw_only=True)
class ProviderSettings:
    """Settings of the built-in provider; the defaults are those of the workloads.

    Args:
        seed: everything the provider draws follows from it.
        latency_s: the shortest and the longest time an answer takes, seconds, uniform between.
        time_scale: multiplies every latency.
        rpm: requests a minute for each key and model; None for no limit.
        tpm: tokens a minute for each key and model; None for no limit.
        burst_s: how many seconds' worth of a limit may be used at once. 60 is a full minute's;
            less stands for the shorter spans that providers enforce without saying which.
        token_charge: what a request is charged against tpm at admission: the larger of the tokens
            it may answer with and those it sends ("max"), or both ("sum"). Sources differ.
        headers_on_429: whether a 429 has `retry-after` and `x-ratelimit-*`. Real ones differ.
        api_key: when set, any other key gets a 401.
        models: the models there are; when empty, any name is one.
        context_tokens: the most tokens a prompt and its answer may have together.
        faults: what goes wrong, and how often.

    Raises:
        ValueError: a value is out of its range; the message names the field.
    """

    seed: int = 0
    latency_s: Range = attrs.field(default=(1.0, 3.0), validator=_is_range)
    time_scale: float = attrs.field(default=1.0, validator=ge(0))
    rpm: int | None = attrs.field(default=None, validator=optional(gt(0)))
    tpm: int | None = attrs.field(default=None, validator=optional(gt(0)))
    burst_s: float = attrs.field(default=60.0, validator=gt(0))
    token_charge: Literal["max", "sum"] = attrs.field(default="max", validator=in_(("max", "sum")))
    headers_on_429: bool = True
    api_key: str | None = attrs.field(default=None, validator=optional(min_len(1)), repr=False)
    models: tuple[str, ...] = attrs.field(
        default=(), converter=tuple[str, ...], validator=deep_iterable(instance_of(str))
    )
    context_tokens: int = attrs.field(default=128_000, validator=gt(0))
    faults: Faults = attrs.field(factory=Faults, validator=instance_of(Faults))

    def charge(self, prompt_tokens: int, most_answer_tokens: int) -> int:
        """Tokens that a request takes from its minute's at admission."""
        if self.token_charge == "sum":  # noqa: S105 - no secret, whatever its name
            return prompt_tokens + most_answer_tokens
        return max(prompt_tokens, most_answer_tokens)
