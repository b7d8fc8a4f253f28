"""What batches are like: how long they take, how large they may be, what becomes of their lines."""

from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, in_, lt, optional

from .ranges import Range, is_range, is_share

__all__ = [
    "BatchSettings",
]


MEBIBYTE = 1024 * 1024


@attrs.frozen(kw_only=True)
class BatchSettings:
    """Settings of the built-in provider's batches; the sizes are the vendors' own.

    What is drawn follows from the provider's seed and from the number of the batch.

    Args:
        time_s: the shortest and the longest time a batch takes from its creation to its end,
            seconds, uniform between; multiplied by the provider's `time_scale`. The first tenth of
            OpenAI's is spent validating, the last one finalizing; to cancel takes a tenth too.
        expires_s: seconds after its creation at which a batch expires; not multiplied.
        expiring: the share of batches that are so slow that they expire, 0 to 1.
        done_at_expiry: the share of lines that such a batch has done by then, from 0 to below 1.
        failing: the share of lines that fail with status 500 or 429, as likely.
        unanswered: the share of lines that fail with a `status_code` of 0, in OpenAI's batches; in
            Anthropic's, they fail with an `api_error`.
        max_lines: of an input file of OpenAI's.
        max_bytes: of an input file of OpenAI's.
        max_requests: of a batch of Anthropic's.
        max_request_bytes: of the body that creates a batch of Anthropic's.
        enqueued_tokens: how many tokens the prompts of a model's unfinished batches of OpenAI's may
            have together; None for no limit.
        overflow: what becomes of a batch above that: it fails when it is validated ("validation"),
            or it is refused when it is created ("create").
        dialect: whose batches `/v1/batches` has: OpenAI's, or Together's of the same work.

    Raises:
        ValueError: a value is out of its range; the message names the field.
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
