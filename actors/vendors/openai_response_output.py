"""Read the object of OpenAI's Responses: a body, or the last event of a stream. Pure (R14).

{"status": "completed", "output": [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text"}]},
    {"type": "message", "content": [{"type": "output_text", "text", "annotations", "logprobs"}]},
    {"type": "function_call", "call_id", "name", "arguments"}]}

It has no finish reason, which follows from the status and the items. A failed generation has the
status "failed" in a response with the HTTP status 200.
"""

from collections.abc import Mapping
from typing import final

from ..json_value import Json
from ..responses import Choice, TokenLogprob, ToolCall, Usage
from .decoding import count_of, object_of, read_members, text_of, within_depth
from .format import ApiError, DecodedResponse, Malformed
from .openai_answers import Content, arguments_text, flat_text, read_logprobs
from .openai_chat import read_cost, read_counts
from .token_counts import NO_COUNTS, TokenCounts

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Types of the items that are tool calls, and the members that have their arguments."""

_UNFINISHED = ("queued", "in_progress")
# {reason of an incomplete response: finish reason}
_REASONS = {"max_output_tokens": "length", "max_tokens": "length"}
PARAGRAPH = "\n\n"
"""What is put between two parts of the reasoning."""


@within_depth
def read_response(body: Json) -> DecodedResponse | ApiError:
    """Read a response object, or the error in it.

    Args:
        body: the decoded JSON of the object.

    Raises:
        Malformed: it is neither, or the response is not finished.
    """
    members = read_members(body, "output")
    if isinstance(members, ApiError):
        return members
    status = text_of(members, "status")
    if status in ("failed", "cancelled"):
        return ApiError(f"the generation ended with the status {status!r}")
    if status in _UNFINISHED:
        raise Malformed(f"the response is not finished (its status is {status!r})")
    output = members.get("output")
    is_cut = status == "incomplete" or bool(members.get("incomplete_details"))
    if output is None and not is_cut:
        raise Malformed('the response has no "output"')
    counts = _counts(members.get("usage"))
    return DecodedResponse(
        choices=(_choice(listed(output), members, is_cut=is_cut),),
        model=text_of(members, "model") or None,
        usage=counts.usage,
        usage_doubt=counts.doubt,
        tier=text_of(members, "service_tier") or None,
        reported_cost_usd=read_cost(members.get("usage")),
        body=members,
    )


def _choice(items: list[Json], members: Mapping[str, Json], *, is_cut: bool) -> Choice:
    found = _Output()
    for item in items:
        found.add(item)
    refusal = found.content.refusal or None
    if not (found.content.text or refusal or found.calls):
        found.content.add(members.get("output_text"))  # on the wire at some gateways only
    if is_cut:
        why = text_of(object_of(members, "incomplete_details"), "reason")
        reason = _REASONS.get(why, why or "length")
    elif refusal:
        reason = "content_filter"
    else:
        reason = "tool_calls" if found.calls else "stop"
    return Choice(
        found.content.text,
        reason,
        tool_calls=tuple(found.calls),
        reasoning=PARAGRAPH.join(filter(None, found.reasoning)) or found.content.reasoning,
        refusal=refusal,
        logprobs=tuple(found.logprobs),
        annotations=tuple(found.content.notes),
    )


@final
class _Output:
    """Collects the items of an output. Those of tools that the provider runs have no field."""

    def __init__(self) -> None:
        self.content = Content()
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] = []

    def add(self, item: Json) -> None:
        if isinstance(item, str):
            self.content.add(item)
        if not isinstance(item, dict):
            return
        kind = text_of(item, "type")
        if kind == "reasoning":
            self.reasoning += reasoning_parts(item)
        elif kind in CALLS:
            arguments = arguments_text(item.get(CALLS[kind]))
            call_id = text_of(item, "call_id") or text_of(item, "id")
            self.calls.append(ToolCall(text_of(item, "name"), arguments, call_id))
        elif kind == "message" or (not kind and "content" in item):
            self._add_message(item.get("content"))

    def _add_message(self, content: Json) -> None:
        self.content.add(content)
        for part in listed(content):
            if isinstance(part, dict):
                self.logprobs += read_logprobs({"content": part.get("logprobs")})


def reasoning_parts(item: Mapping[str, Json]) -> list[str]:
    """Return the texts of an item of reasoning: the parts of its summary, then its content."""
    parts = (*listed(item.get("summary")), *listed(item.get("content")))
    return [text for part in parts if (text := flat_text(part))]


def listed(value: Json) -> list[Json]:
    """Return a list; a list with the value if it is none."""
    return value if isinstance(value, list) else [value]


def read_tokens(usage: Json) -> Usage | None:
    """Read the tokens in the `usage` of a response; None if it has none."""
    return _counts(usage).usage


def _counts(usage: Json) -> TokenCounts:
    """Read the numbers of tokens in the `usage` of a response.

    Some servers use the names of a chat, and Perplexity has Anthropic's for the cache.
    """
    if not isinstance(usage, dict):
        return NO_COUNTS
    prompt, output = count_of(usage, "input_tokens"), count_of(usage, "output_tokens")
    if prompt is None and output is None:
        return read_counts(usage)
    of_prompt = object_of(usage, "input_tokens_details")
    of_output = object_of(usage, "output_tokens_details")
    return TokenCounts(
        prompt,
        output,
        count_of(of_prompt, "cached_tokens") or count_of(of_prompt, "cache_read_input_tokens") or 0,
        count_of(of_prompt, "cache_write_tokens")
        or count_of(of_prompt, "cache_creation_input_tokens")
        or 0,
        count_of(of_output, "reasoning_tokens") or 0,
        count_of(usage, "total_tokens"),
    )
