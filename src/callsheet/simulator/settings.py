"""The settings of a provider: speed, limits, faults and batches."""

from collections.abc import Iterable
from typing import Literal

import attrs
from attrs.validators import optional

from .faults import Faults
from .validation import instance_of, is_range, is_share, number, one_of, some_text, texts

Range = tuple[float, float]

MEBIBYTE = 1024 * 1024


@attrs.frozen(kw_only=True)
class BatchSettings:
    """Settings of the built-in provider's batches; the default sizes are the vendors'.

    Everything random follows from the provider's seed and the number of the batch.

    Args:
        time_s: the minimum and maximum duration of a batch from its creation to its end, in
            seconds, drawn uniformly; multiplied by the provider's `time_scale`. An OpenAI batch
            validates for the first tenth and finalizes for the last tenth; a cancellation takes a
            tenth, too.
        expires_s: seconds from the creation of a batch to its expiry; not multiplied.
        expiring: the share of batches that are so slow that they expire, 0 to 1.
        done_at_expiry: the share of lines that such a batch has completed by then, from 0 to below
            1.
        failing: the share of lines that fail, with status 500 or 429 at equal odds, 0 to 1.
        unanswered: the share of lines that fail without a response, 0 to 1: with a `status_code` of
            0 in OpenAI's batches, with an `api_error` in Anthropic's.
        max_lines: the maximum number of lines of an OpenAI input file.
        max_bytes: the maximum size of an OpenAI input file in bytes.
        max_requests: the maximum number of requests in an Anthropic batch.
        max_request_bytes: the maximum size of the body that creates an Anthropic batch, in bytes.
        enqueued_tokens: the maximum of prompt tokens in a model's unfinished OpenAI batches; None
            for no limit.
        overflow: how a batch above that limit fails: at validation ("validation"), or its creation
            is refused ("create").
        dialect: the format of `/v1/batches`: OpenAI's, or Together's.

    Raises:
        ValueError: a value is out of range; the text names the field.
    """

    time_s: Range = attrs.field(default=(60.0, 600.0), validator=is_range)
    expires_s: float = attrs.field(default=86_400.0, validator=number(above=0))
    expiring: float = attrs.field(default=0.0, validator=is_share)
    done_at_expiry: float = attrs.field(default=0.5, validator=number(least=0, below=1))
    failing: float = attrs.field(default=0.0, validator=is_share)
    unanswered: float = attrs.field(default=0.0, validator=is_share)
    max_lines: int = attrs.field(default=50_000, validator=number(whole=True, above=0))
    max_bytes: int = attrs.field(default=200 * MEBIBYTE, validator=number(whole=True, above=0))
    max_requests: int = attrs.field(default=100_000, validator=number(whole=True, above=0))
    max_request_bytes: int = attrs.field(
        default=256 * MEBIBYTE, validator=number(whole=True, above=0)
    )
    enqueued_tokens: int | None = attrs.field(
        default=None, validator=optional(number(whole=True, above=0))
    )
    overflow: Literal["validation", "create"] = attrs.field(
        default="validation", validator=one_of(("validation", "create"))
    )
    dialect: Literal["openai", "together"] = attrs.field(
        default="openai", validator=one_of(("openai", "together"))
    )

    def __attrs_post_init__(self) -> None:
        if self.failing + self.unanswered > 1:
            raise ValueError("failing and unanswered together must be at most 1")


HEADERS_ON_429 = ("limits", "retry-after", "retry-after-ms", "x-should-retry")
"""The headers that a 429 may have: those of the limits, and three with the time of a retry."""


def _names(value: Iterable[str]) -> frozenset[str]:
    return frozenset(texts(value, "headers_on_429"))


def _models(value: Iterable[str]) -> tuple[str, ...]:
    return texts(value, "models")


def _are_known(_: object, field: "attrs.Attribute[frozenset[str]]", value: frozenset[str]) -> None:
    for name in sorted(value):
        if name not in HEADERS_ON_429:
            raise ValueError(f"{field.name}: {name!r} must be one of {', '.join(HEADERS_ON_429)}")


MACHINE_RPM: int | None = 15
"""Requests per minute, about, with one beginning and key that OpenAI leads to one machine."""


@attrs.frozen(kw_only=True)
class CacheSettings:
    """Settings of the prompt caches, where sources differ or are silent on real providers.

    Args:
        readable: when a prefix can be read: from the first token of the response to the request
            that wrote it ("begun"), or from its end ("ended").
        machine_rpm: requests per minute with one beginning and `prompt_cache_key` that one of
            OpenAI's machines takes; more go to another machine, which has a cache of its own. None
            for any number.
        minimum: tokens of the shortest prefix that is cached; None for those of each model.
        gemini: whether Gemini's models cache prompts, which Google does not promise.

    Raises:
        ValueError: a value is out of range; the text names the field.
    """

    readable: Literal["begun", "ended"] = attrs.field(
        default="begun", validator=one_of(("begun", "ended"))
    )
    machine_rpm: int | None = attrs.field(
        default=MACHINE_RPM, validator=optional(number(whole=True, least=1))
    )
    minimum: int | None = attrs.field(default=None, validator=optional(number(whole=True, least=1)))
    gemini: bool = attrs.field(default=True, validator=instance_of(bool))


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
        refuses_unknown: True to refuse members that an endpoint of OpenAI does not have, as OpenAI
            does; many compatible servers ignore them. Anthropic's endpoints always refuse them.
        refuses_max_tokens: True to refuse `max_tokens` in chats with models that reason, as OpenAI
            does; compatible servers accept it.
        reasoning_field: the member with the text of the reasoning in the messages and deltas of a
            chat: "reasoning_content" as DeepSeek has it, or "reasoning" as OpenRouter has it; None
            for none, as OpenAI.
        flex_refused: the share of flex-tier chats that are refused for lack of capacity, 0 to 1;
            they cost nothing.
        api_key: the only valid key; None to accept any.
        models: the names of the models; if empty, every name is accepted.
        context_tokens: the maximum of tokens of a prompt and its response together.
        faults: the rates of faults.
        batches: the settings of batches.
        cache: the settings of prompt caches.

    Raises:
        ValueError: a value is out of range; the text names the field.
    """

    seed: int = attrs.field(default=0, validator=number(whole=True))
    latency_s: Range = attrs.field(default=(1.0, 3.0), validator=is_range)
    time_scale: float = attrs.field(default=1.0, validator=number(least=0))
    first_piece: float = attrs.field(default=1 / 3, validator=is_share)
    stream_pieces: int = attrs.field(default=12, validator=number(whole=True, above=0))
    rpm: int | None = attrs.field(default=None, validator=optional(number(whole=True, above=0)))
    tpm: int | None = attrs.field(default=None, validator=optional(number(whole=True, above=0)))
    itpm: int | None = attrs.field(default=None, validator=optional(number(whole=True, above=0)))
    otpm: int | None = attrs.field(default=None, validator=optional(number(whole=True, above=0)))
    burst_s: float = attrs.field(default=60.0, validator=number(above=0))
    token_charge: Literal["max", "sum"] = attrs.field(
        default="max", validator=one_of(("max", "sum"))
    )
    default_output_tokens: int = attrs.field(default=0, validator=number(whole=True, least=0))
    corrects_charge: bool = attrs.field(default=False, validator=instance_of(bool))
    headers_on_429: frozenset[str] = attrs.field(
        default=frozenset({"limits", "retry-after"}), converter=_names, validator=_are_known
    )
    choice_order: Literal["prompt", "choice"] = attrs.field(
        default="prompt", validator=one_of(("prompt", "choice"))
    )
    refuses_unknown: bool = attrs.field(default=True, validator=instance_of(bool))
    refuses_max_tokens: bool = attrs.field(default=False, validator=instance_of(bool))
    reasoning_field: str | None = attrs.field(default=None, validator=optional(some_text))
    flex_refused: float = attrs.field(default=0.0, validator=is_share)
    api_key: str | None = attrs.field(default=None, validator=optional(some_text), repr=False)
    models: tuple[str, ...] = attrs.field(default=(), converter=_models)
    context_tokens: int = attrs.field(default=128_000, validator=number(whole=True, above=0))
    faults: Faults = attrs.field(factory=Faults, validator=instance_of(Faults))
    batches: BatchSettings = attrs.field(
        factory=BatchSettings, validator=instance_of(BatchSettings)
    )
    cache: CacheSettings = attrs.field(factory=CacheSettings, validator=instance_of(CacheSettings))

    def charge(self, prompt_tokens: int, max_output_tokens: int | None) -> int:
        """Return the tokens that a request is charged at admission."""
        output = self.default_output_tokens if max_output_tokens is None else max_output_tokens
        if self.token_charge == "sum":  # noqa: S105 - not a secret
            return prompt_tokens + output
        return max(prompt_tokens, output)
