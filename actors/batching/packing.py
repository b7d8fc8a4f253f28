"""Packing: many small items under one instruction, in one call. Pure (R14).

An instruction that is sent with every item is billed with every item. Packing sends it once. A
model may respond differently when it sees many items at a time. So a request must allow packing
(`Request.packable`), some items are sent alone as well, and packing ends for an instruction if too
few of the two responses agree.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import ceil

import attrs
from attrs.validators import optional

from ..chat_message import ChatMessage
from ..json_value import Json
from ..messages import Request
from ..responses import Choice, Response
from ..typed import OutputSchema
from ..validation import ge, gt, instance_of, le
from ..vendors import BatchLimits, BatchWeight
from .pack_form import form_for, has_own_root, has_short_answer, write_items
from .strategy import common_key

_TOKENS_PER_PACK = 16  # around all items
_SHORT_ITEMS, _ITEMS = 100, 50  # of a call, where its answers are short, and elsewhere
_MOST_RESPONSE = 16_000  # tokens; many models refuse a limit that is higher
_LEAST_MESSAGES = 2  # instruction and item
_SPARE = 4  # times the tokens of the form: tokenizers differ, and some models indent JSON

_FOR_ONE_ITEM = frozenset(
    {
        *("tools", "tool_choice", "functions", "function_call", "toolConfig", "tool_config"),
        *("logprobs", "top_logprobs", "responseLogprobs", "response_logprobs", "prompt_logprobs"),
        *("n", "best_of", "candidateCount", "candidate_count", "modalities", "audio", "echo"),
        *("responseModalities", "response_modalities", "plugins", "mcp_servers"),
        *("web_search_options", "stop", "stop_sequences", "stopSequences", "stop_token_ids"),
        *("include", "format", "conversation", "previous_response_id"),  # OpenAI's Responses
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"),
        *("max_new_tokens", "min_tokens", "num_predict", "ignore_eos"),
        *("response_format", "output_format", "json_schema", "grammar", "regex", "ebnf"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
        *("responseMimeType", "response_mime_type"),
        *("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema"),
        *("logit_bias", "logitBias", "bad_words", "prediction"),
        *("system", "instructions", "systemInstruction", "system_instruction", "prompt"),
        *("cachedContent", "cached_content"),
    }
)
"""Members of a body that cannot apply to a whole pack.

They request more than one text for each item, bound the length, the form or the words of one
response, which in a pack is the response to all items, or replace the instruction.
"""


@attrs.frozen(kw_only=True)
class Packing:
    """Sends many small items as one call (see `BatchStrategy`).

    It combines chats that are declared `packable`, begin with a system message and end with a user
    message, the item. All messages before the item are the instruction, and must be identical.

    Args:
        max_items: the most items of a call. Models make more errors with many. None: 100 if the
            answer to an item is a text of at most 32 tokens (its `max_tokens`), else 50.
        max_tokens: the most tokens of all items of a call.
        max_item_tokens: the most tokens of one item. A longer one is sent alone, because packing
            it would save little.
        check_share: the share of items, 0 to 1, that are sent alone as well. The caller gets the
            response of the single call. While all agree, checks become rarer, down to a tenth of
            it (see `CheckPlan`); 1 checks all items, always.
        least_agreement: the share of checked items, above 0 to 1, whose two responses must be the
            same, except for case and white space. Below it the instruction is not packed any more.

    Raises:
        ValueError: a value is out of its range; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    max_items: int | None = attrs.field(default=None, validator=optional([instance_of(int), ge(1)]))
    max_tokens: int = attrs.field(default=16_000, validator=[instance_of(int), ge(1)])
    max_item_tokens: int = attrs.field(default=500, validator=[instance_of(int), ge(1)])
    check_share: float = attrs.field(default=0.02, validator=[ge(0), le(1)])
    least_agreement: float = attrs.field(default=0.9, validator=[gt(0), le(1)])

    name = "pack"

    def bounds_for(self, request: Request) -> BatchLimits:
        """Return the limits of a call: more items if each answer is short, fewer if it is long."""
        most = self.max_items or (_SHORT_ITEMS if has_short_answer(request) else _ITEMS)
        if request.max_tokens is not None:
            most = max(1, min(most, _MOST_RESPONSE // _tokens_of_entry(request)))
        return BatchLimits(max_size=most, max_tokens=self.max_tokens)

    def key(self, request: Request) -> Hashable | None:
        """Return all of the request except the item; None for a request that a pack cannot hold."""
        if self.misfit(request) is not None:
            return None
        common = common_key(request, "messages")
        return common, tuple((one.role, one.content) for one in request.messages[:-1])

    def misfit(self, request: Request) -> str | None:  # noqa: PLR0911  # each return is a reason
        """Return why a pack cannot hold a request, in some words; None if it can.

        Args:
            request: the request, which need not allow packing to be asked about.
        """
        messages, member = request.messages, _for_one_item(request.extra_body)
        if not request.packable:
            return "packing is not allowed"
        if request.task != "chat":
            return f"a request for {request.task}, and no chat"
        if request.n > 1:
            return "several answers (n)"
        if request.stop:
            return "a stop sequence, which would end the whole pack"
        if request.tools or request.tool_choice is not None:
            return "tools"
        if member is not None:
            return f"{member}, which cannot apply to a whole pack"
        if len(messages) < _LEAST_MESSAGES or messages[0].role not in ("system", "developer"):
            return "no system message to share with others"
        if messages[-1].role != "user":
            return "the last message is not the user's"
        if len(messages[-1].content.encode("utf-8", "replace")) > 4 * self.max_item_tokens:
            return f"a last message of more than {4 * self.max_item_tokens:,} bytes"
        if not all(message.is_text for message in messages):
            return "a message with more than a role and a text"
        if not _can_be_in_pack(request.output_schema):
            return "a schema that refers to its own root, or is not strict"
        if request.idempotency_key:
            return "an idempotency key"
        return None

    def pieces(self, request: Request, weigh: Callable[[str], BatchWeight]) -> Sequence[Request]:  # noqa: ARG002  # see BatchStrategy
        """Return the request itself: an item is never split."""
        return (request,)

    def texts(self, request: Request) -> Sequence[str]:
        """Return the item."""
        return (request.messages[-1].content,)

    def combine(self, requests: Sequence[Request]) -> Request:
        """Return one request: instruction, note, and the items with numbers from 1."""
        first = requests[0]
        system, *more = first.messages[:-1]
        form = form_for(first)
        most = first.max_tokens
        if most is not None:
            most = _TOKENS_PER_PACK + len(requests) * _tokens_of_entry(first)
        text = write_items([request.messages[-1].content for request in requests])
        return attrs.evolve(
            first,
            messages=(
                ChatMessage(system.role, f"{system.content.rstrip()}\n\n{form.note}"),
                *more,
                ChatMessage("user", text),
            ),
            max_tokens=most,
            json_schema=form.schema,
            returns=None,
            packable=False,
        )

    def form_tokens(self, request: Request) -> float:
        """Return the output tokens of the form for each answer."""
        return form_for(request).tokens

    def split(self, requests: Sequence[Request], response: Response) -> Sequence[Response | None]:
        """Return the response to each item; None for one without a valid answer (L5).

        None for all if the model numbered its answers in any other way than the items are, or if
        the response may have been cut off.
        """
        form = form_for(requests[0])
        if form.schema is None and response.finish_reason != "stop":
            return [None] * len(requests)  # only this shows that the last line is complete
        return [
            None if answer is None else _alone(response, form.text_of(answer))
            for answer in form.read(response.text, len(requests))
        ]

    def join(self, request: Request, responses: Sequence[Response]) -> Response:  # noqa: ARG002  # see BatchStrategy
        """Return the only response: an item is never split."""
        return responses[0]


def _tokens_of_entry(request: Request) -> int:
    """Return the most output tokens for an item, those of the form included."""
    return (request.max_tokens or 0) + ceil(_SPARE * form_for(request).tokens)


def _can_be_in_pack(output: OutputSchema | None) -> bool:
    return output is None or not (output.not_strict or has_own_root(dict(output.schema)))


def _for_one_item(extra_body: Mapping[str, Json]) -> str | None:
    """Return a member of an extra body, or of a configuration in it, that is for one item only."""
    for name, value in extra_body.items():
        if name in _FOR_ONE_ITEM:
            return name
        if name in _CONFIGURATIONS and isinstance(value, Mapping):
            member = _for_one_item(value)
            if member is not None:
                return member
    return None


_CONFIGURATIONS = ("generationConfig", "generation_config", "options", "text", "output_config")


def _alone(response: Response, text: str) -> Response:
    """Return the response to one item as a single call would have it."""
    choice = Choice(text, "stop")
    return attrs.evolve(
        response, text=text, finish_reason="stop", choices=(choice,), body=None, is_assembled=False
    )
