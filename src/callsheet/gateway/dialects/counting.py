"""Anthropic's count of the tokens of a body, and an estimate of it for other providers."""

import math

from ...actors import Json, TokenEstimator
from .dialect import InboundCall
from .sse import to_json

ESTIMATED = "callsheet_estimated"
"""The member that says that the count is an estimate."""


def count_body(input_tokens: int) -> bytes:
    """Return the body with the number of tokens.

    Args:
        input_tokens: the tokens of the prompt.
    """
    return to_json({"input_tokens": input_tokens})


def estimate_tokens(call: InboundCall, estimator: TokenEstimator) -> bytes:
    """Return the body with an estimate of the tokens, which says that it is one.

    Args:
        call: the call whose tokens are estimated.
        estimator: estimates tokens, and learns from what providers report.
    """
    members: dict[str, Json] = {
        "input_tokens": math.ceil(estimator.estimate(call.request).input_tokens),
        ESTIMATED: True,
    }
    return to_json(members)
