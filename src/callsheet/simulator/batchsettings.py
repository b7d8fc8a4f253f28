"""The settings of batches: duration, sizes, and failing lines."""

from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, in_, lt, optional

from .ranges import Range, is_range, is_share

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
    expires_s: float = attrs.field(default=86_400.0, validator=gt(0))
    expiring: float = attrs.field(default=0.0, validator=is_share)
    done_at_expiry: float = attrs.field(default=0.5, validator=and_(ge(0), lt(1)))
    failing: float = attrs.field(default=0.0, validator=is_share)
    unanswered: float = attrs.field(default=0.0, validator=is_share)
    max_lines: int = attrs.field(default=50_000, validator=gt(0))
    max_bytes: int = attrs.field(default=200 * MEBIBYTE, validator=gt(0))
    max_requests: int = attrs.field(default=100_000, validator=gt(0))
    max_request_bytes: int = attrs.field(default=256 * MEBIBYTE, validator=gt(0))
    enqueued_tokens: int | None = attrs.field(default=None, validator=optional(gt(0)))
    overflow: Literal["validation", "create"] = attrs.field(
        default="validation", validator=in_(("validation", "create"))
    )
    dialect: Literal["openai", "together"] = attrs.field(
        default="openai", validator=in_(("openai", "together"))
    )

    def __attrs_post_init__(self) -> None:
        if self.failing + self.unanswered > 1:
            raise ValueError("failing and unanswered together must be at most 1")
