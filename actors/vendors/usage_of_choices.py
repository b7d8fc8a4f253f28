"""Recognizes a usage that is for one of several choices or prompts. Pure (R14)."""

from collections.abc import Sequence

import attrs

from ..messages import Request
from ..responses import Choice
from .encoding import expected_choices
from .format import DecodedResponse

_USUAL_CHARS, _MAX_CHARS = 4, 7  # characters per token, on the average of a longer text
_LEAST_CHARS = 200  # length of a longer text
_TOKENS_PER_PROMPT = 16  # for the marks around it; 1 or 2 are usual


def for_all_choices(response: DecodedResponse, request: Request) -> DecodedResponse:
    """Return a response whose usage is for all prompts and choices.

    Some servers (llama.cpp) report the usage of one prompt or choice. This shows in fewer tokens
    than the texts have words, in more characters per token than any longer text has, or in choices
    that have reached the limit of each. Then the tokens are estimated, not below what each of
    these shows.

    Args:
        response: the decoded response.
        request: the request that it responds to.
    """
    usage = response.usage
    choices, prompts = expected_choices(request), len(request.inputs)
    if usage is None or max(choices, prompts) <= 1:
        return response
    taken, given = usage.input_tokens, usage.output_tokens
    doubts: list[str] = []
    if prompts > 1 and _is_too_few(taken, request.inputs):
        most = sum(_bytes(text) + _TOKENS_PER_PROMPT for text in request.inputs)
        taken = max(_estimate(request.inputs), min(taken * prompts, most))
        doubts.append(f"{usage.input_tokens} tokens are too few for {prompts} prompts")
    if request.task != "embedding" and choices > 1:
        texts = [choice.text + choice.reasoning for choice in response.choices]
        least = _least_by_limit(response.choices, request.max_tokens, given)
        if given < least or _is_too_few(given, texts):
            given = max(_estimate(texts), least, given * choices)
            if request.max_tokens is not None:
                given = max(usage.output_tokens, min(given, request.max_tokens * choices))
            doubts.append(f"{usage.output_tokens} tokens are too few for {choices} choices")
    if not doubts:
        return response
    return attrs.evolve(
        response,
        usage=attrs.evolve(usage, input_tokens=taken, output_tokens=given),
        usage_doubt="; ".join(filter(None, (response.usage_doubt, *doubts))),
    )


def _is_too_few(tokens: int, texts: Sequence[str]) -> bool:
    """Return whether texts have more tokens: each word has at least one."""
    chars = sum(map(len, texts))
    if chars >= _LEAST_CHARS and chars > tokens * _MAX_CHARS:
        return True
    return tokens < sum(len(text.split()) for text in texts)


def _estimate(texts: Sequence[str]) -> int:
    words = sum(len(text.split()) for text in texts)
    return max(words, -(-sum(map(len, texts)) // _USUAL_CHARS))


def _least_by_limit(choices: Sequence[Choice], each: int | None, tokens: int) -> int:
    """Return the tokens of choices that have ended at the limit, if `tokens` may be one choice's.

    Where the context is full, choices end before the limit, and the tokens of all are reported.
    """
    if each is None or tokens > each:
        return 0
    return each * sum(choice.finish_reason == "length" for choice in choices)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
