"""The settings of a provider: speed, limits, faults and batches."""

from collections.abc import Iterable
from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge, gt, in_, instance_of, min_len, optional

from .batchsettings import BatchSettings
from .faults import Faults
from .ranges import Range, is_range, is_share

HEADERS_ON_429 = ("limits", "retry-after", "retry-after-ms", "x-should-retry")
"""The headers that a 429 may have: those of the limits, and three with the time of a retry."""


def _names(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


def _are_known(_: object, field: "attrs.Attribute[frozenset[str]]", value: frozenset[str]) -> None:
    for name in sorted(value):
        if name not in HEADERS_ON_429:
            raise ValueError(f"{field.name}: {name!r} must be one of {', '.join(HEADERS_ON_429)}")


@attrs.frozen(kw_only=True)
class ProviderSettings:
    """The settings of the built-in provider; the defaults are those of the workloads.

    Where sources differ on what real providers do, a setting selects the behaviour.

    Args:
        seed: determines everything random.
        latency_s: the minimum and maximum latency of a response in seconds, drawn uniformly.
        time_scale: the factor on every latency.
        first_piece: the share of its latency after which a stream's first piece is sent, 0 to 1;
            the others are evenly spaced, and the last one is sent when a whole response would be.
        stream_pieces: the maximum number of pieces of a stream's text.
        rpm: requests per minute for each key and model; None for no limit.
        tpm: tokens per minute for each key and model of OpenAI's endpoints; None for no limit.
        itpm: input tokens per minute for each key and model of Anthropic's; None for no limit.
        otpm: output tokens per minute of Anthropic's, counted as they are produced; None for no
            limit.
        burst_s: the amount of a limit that may be used at once, in seconds of the limit. 60 allows
            a full minute's; less simulates the shorter periods that providers enforce without
            documenting them.
        token_charge: what a request is charged against `tpm` at admission: the larger of its
            maximum of output tokens and its prompt tokens ("max"), or both ("sum").
        default_output_tokens: the output tokens that a chat without a maximum is charged. 16 was
            observed in early 2025; nothing later is known.
        corrects_charge: True to correct that charge to the actual tokens at the end.
        headers_on_429: those of `HEADERS_ON_429` that a 429 has.
        choice_order: the order of the indices for n choices of several prompts: by prompt
            ("prompt": index i * n + j), or by choice ("choice").
        flex_refused: the share of flex-tier chats that are refused for lack of capacity, 0 to 1;
            they cost nothing.
        api_key: the only valid key; None to accept any.
        models: the names of the models; if empty, every name is accepted.
        context_tokens: the maximum of tokens of a prompt and its response together.
        faults: the rates of faults.
        batches: the settings of batches.

    Raises:
        ValueError: a value is out of range; the text names the field.
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
    default_output_tokens: int = attrs.field(default=0, validator=ge(0))
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

    def charge(self, prompt_tokens: int, max_output_tokens: int | None) -> int:
        """Return the tokens that a request is charged at admission."""
        output = self.default_output_tokens if max_output_tokens is None else max_output_tokens
        if self.token_charge == "sum":  # noqa: S105 - not a secret
            return prompt_tokens + output
        return max(prompt_tokens, output)
