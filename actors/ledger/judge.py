"""Judges whether a request can have taken the tokens that a provider reports for it. Pure (R14).

Providers and gateways report nonsense at times: a number of another unit, or one that overflowed. A
usage far above the bound of the request is replaced by the bound, so that it can neither use up
budgets and limits nor leave the range that a ledger's file has.
"""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from ..messages import Request
from ..responses import Choice, Usage
from .body_limits import read_limits
from .bound import most_usage

_MOST_TOKENS = 10_000_000
"""Where the request has no bound; the largest context of a model has 2,000,000 tokens."""
MOST_USD = Decimal(10_000)
"""No call costs as much: a full context of the dearest model is below 2,000 USD."""
_SLACK_TOKENS = 4_096  # for templates and system prompts of the server
_FACTOR = 2
# Members of `extra_body` that add nothing to the prompt beyond their own bytes.
_PLAIN = frozenset(
    {
        "best_of",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "metadata",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
_SEARCHING = (":online", "search", "sonar", "compound", "research")  # in names of models


@attrs.frozen
class JudgedUsage:
    """A usage that the request can have taken.

    Args:
        usage: the tokens; None if none are reported.
        doubt: why they are not what the provider reports; "" if they are.
        is_plausible: whether the request can have taken what the provider reports.
    """

    usage: Usage | None
    doubt: str = ""
    is_plausible: bool = True


def judge_usage(
    usage: Usage | None, request: Request, doubt: str = "", choices: Sequence[Choice] = ()
) -> JudgedUsage:
    """Return the usage of a response, at most what the request can have taken.

    Reasoning may be beyond the limit of a response: at some providers the limit is for the text.
    Some servers ignore the limit, so a text that is a little longer than it is believed, and
    reported. A response that is not empty has output tokens: if none are reported, each byte counts
    as one.

    Args:
        usage: the tokens that the provider reports; None if it reports none.
        request: the request as it was sent.
        doubt: what is known to be wrong with the usage already; "" for nothing.
        choices: what the model has generated.
    """
    if usage is None:
        return JudgedUsage(None, doubt)
    if not usage.total_tokens:
        return JudgedUsage(None, _joined(doubt, "0 tokens are reported"))
    if not usage.output_tokens and (written := _bytes_of(choices)):
        reason = f"no tokens are reported for a response of {written} bytes"
        counted = attrs.evolve(usage, output_tokens=written)
        return JudgedUsage(counted, _joined(doubt, reason), is_plausible=False)
    if usage.total_tokens <= _SLACK_TOKENS:  # small enough for any request
        return JudgedUsage(usage, _joined(doubt, _above_limit(usage, request)))
    bound = most_usage(request, None, most_output=_MOST_TOKENS)
    most_input = _MOST_TOKENS if _is_open(request) else bound.input_tokens
    most_output = min(bound.output_tokens, _MOST_TOKENS)
    text = usage.output_tokens - usage.reasoning_tokens
    wrong: list[str] = []
    taken, given = usage.input_tokens, usage.output_tokens
    if taken > min(most_input * _FACTOR + _SLACK_TOKENS, _MOST_TOKENS):
        wrong.append(f"{taken} tokens of the prompt are more than its {most_input}")
        taken = most_input
    most_text = min(most_output * _FACTOR + _SLACK_TOKENS, _MOST_TOKENS)
    if text > most_text or usage.reasoning_tokens > _MOST_TOKENS:
        wrong.append(f"{given} tokens of the response are more than its {most_output}")
        given = most_output
    if not wrong:
        return JudgedUsage(usage, _joined(doubt, _above_limit(usage, request)))
    cached = min(usage.cached_tokens, taken)
    written = min(usage.cache_write_tokens, taken - cached)
    bounded = Usage(
        taken,
        given,
        cached,
        written,
        min(usage.reasoning_tokens, given),
        min(usage.cache_write_1h_tokens, written),
    )
    return JudgedUsage(bounded, _joined(doubt, *wrong), is_plausible=False)


def _above_limit(usage: Usage, request: Request) -> str:
    """Return how a response is longer than the request allows; "" if it is not."""
    text = usage.output_tokens - usage.reasoning_tokens
    if text <= (request.max_tokens or 0) and not request.extra_body:
        return ""  # nearly always
    limits = read_limits(request)
    if limits.tokens is None or request.task == "embedding":
        return ""
    most = (limits.tokens + limits.predicted) * limits.choices * max(1, len(request.inputs))
    return f"{text} tokens of the response are more than its {most}" if text > most else ""


def _joined(*doubts: str) -> str:
    return "; ".join(filter(None, doubts))


def _bytes_of(choices: Sequence[Choice]) -> int:
    """Return the bytes that a model has generated, which are no fewer than its tokens."""
    texts: list[str] = []
    for choice in choices:
        texts += [choice.text, choice.reasoning, choice.refusal or ""]
        texts += [text for call in choice.tool_calls for text in (call.name, call.arguments)]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _is_open(request: Request) -> bool:
    """Return whether the prompt may hold more than the request does: files, tools, searches."""
    return (
        any(one.attachments or one.native for one in request.messages)
        or not request.extra_body.keys() <= _PLAIN
        or any(word in request.model for word in _SEARCHING)
    )
