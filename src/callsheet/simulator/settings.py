"""What a provider is like: its speed, its limits, its faults."""

from collections.abc import Iterable
from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge, gt, in_, instance_of, min_len, optional

from .batchsettings import BatchSettings
from .faults import Faults
from .ranges import Range, is_range, is_share

__all__ = [
    "HEADERS_ON_429",
    "ProviderSettings",
]


HEADERS_ON_429 = ("limits", "retry-after", "retry-after-ms", "x-should-retry")
"""What a 429 may have: the limits' own headers, and three more that say when to try again."""


def _names(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


def _are_known(_: object, field: "attrs.Attribute[frozenset[str]]", value: frozenset[str]) -> None:
    for name in sorted(value):
        if name not in HEADERS_ON_429:
            raise ValueError(f"{field.name}: {name!r} is none of {', '.join(HEADERS_ON_429)}")


@attrs.frozen(kw_only=True)
class ProviderSettings:
    """Settings of the built-in provider; the defaults are those of the workloads.

    Where sources differ on what real providers do, there is a setting for it.

    Args:
        seed: everything the provider draws follows from it.
        latency_s: the shortest and the longest time an answer takes, seconds, uniform between.
        time_scale: multiplies every latency.
        first_piece: the share of its latency after which a stream's first piece comes, 0 to 1;
            the others follow evenly, and the last one when the whole answer would.
        stream_pieces: the most pieces that a stream's text comes in.
        rpm: requests a minute for each key and model; None for no limit.
        tpm: tokens a minute for each key and model of OpenAI's endpoints; None for no limit.
        itpm: input tokens a minute for each key and model of Anthropic's; None for no limit.
        otpm: output tokens a minute of Anthropic's, counted as they are produced; None for no
            limit.
        burst_s: how many seconds' worth of a limit may be used at once. 60 is a full minute's;
            less stands for the shorter spans that providers enforce without saying which.
        token_charge: what a request is charged against tpm at admission: the larger of the tokens
            it may answer with and those it sends ("max"), or both ("sum").
        default_answer_tokens: the tokens that a chat which names no most is taken to answer with
            in that charge. 16 was seen in early 2025, and nothing later.
        corrects_charge: whether that charge is corrected to what was used when the answer ends.
        headers_on_429: which of `HEADERS_ON_429` a 429 has.
        choice_order: what the indices of n choices of several prompts run along: all choices of
            one prompt ("prompt": index i * n + j), or the first choice of all prompts ("choice").
        flex_refused: the share of chats of the tier flex that are refused for want of capacity,
            0 to 1; they cost nothing.
        api_key: when set, any other key gets a 401.
        models: the models there are; when empty, any name is one.
        context_tokens: the most tokens a prompt and its answer may have together.
        faults: what goes wrong, and how often.
        batches: what its batches are like.

    Raises:
        ValueError: a value is out of its range; the message names the field.
    """

    seed: int = 0
    latency_s: Range = attrs.field(default=(1.0, 3.0), validator=is_range)
    time_scale: float = attrs.field(default=1.0, validator=ge(0))
    first_piece: float = attrs.field(default=1 / 3, validator=is_share)
    stream_pieces: int = attrs.field(default=12, validator=gt(0))
    rpm: int | None = attrs.field(default=None, validator=optional(gt(0)))
    tpm: int | None = attrs.field(default=None, validator=optional(gt(0)))
    itpm: int | None = attrs.field(default=None, validator=optional(gt(0)))
    otpm: int | None = attrs.field(default=None, validator=optional(gt(0)))
    burst_s: float = attrs.field(default=60.0, validator=gt(0))
    token_charge: Literal["max", "sum"] = attrs.field(default="max", validator=in_(("max", "sum")))
    default_answer_tokens: int = attrs.field(default=0, validator=ge(0))
    corrects_charge: bool = False
    headers_on_429: frozenset[str] = attrs.field(
        default=frozenset({"limits", "retry-after"}), converter=_names, validator=_are_known
    )
    choice_order: Literal["prompt", "choice"] = attrs.field(
        default="prompt", validator=in_(("prompt", "choice"))
    )
    flex_refused: float = attrs.field(default=0.0, validator=is_share)
    api_key: str | None = attrs.field(default=None, validator=optional(min_len(1)), repr=False)
    models: tuple[str, ...] = attrs.field(
        default=(), converter=tuple[str, ...], validator=deep_iterable(instance_of(str))
    )
    context_tokens: int = attrs.field(default=128_000, validator=gt(0))
    faults: Faults = attrs.field(factory=Faults, validator=instance_of(Faults))
    batches: BatchSettings = attrs.field(
        factory=BatchSettings, validator=instance_of(BatchSettings)
    )

    def charge(self, prompt_tokens: int, max_answer_tokens: int | None) -> int:
        """Tokens that a request takes from its minute's at admission."""
        answer = self.default_answer_tokens if max_answer_tokens is None else max_answer_tokens
        if self.token_charge == "sum":  # noqa: S105 - no secret, whatever its name
            return prompt_tokens + answer
        return max(prompt_tokens, answer)
