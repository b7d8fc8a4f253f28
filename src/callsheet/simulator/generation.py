"""Generate a response: reasoning, then text or calls of tools, up to a limit or a stop sequence."""

import json
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import attrs

from .chance import fraction_of, hex_of, random_of
from .prompt import CHARACTERS_PER_TOKEN, count_tokens, cut_to_tokens
from .text import prose_about, subject_in, value_for, write_answer
from .wire import Json, pieces_of

PartKind = Literal["reasoning", "text", "call"]
GenerationEnd = Literal["end", "limit", "stop", "calls"]

# {effort: tokens of reasoning}
EFFORTS = {
    "none": 0,
    "minimal": 16,
    "low": 64,
    "medium": 256,
    "high": 1024,
    "xhigh": 2048,
    "max": 4096,
}
# The maximum number of pieces of a stream for a part that is not the text.
_FEW_PIECES = 3
# What could stand in the place of a token.
_OTHER_TOKENS = (
    " the", " a", " of", " and", " to", " in", " is", " it", " for", " on", " as", " at", " by",
    " or", " an", " be", " we", " no", " so", " if", " up",
)  # fmt: skip


@attrs.frozen
class OfferedTool:
    """A function that the model may call.

    Args:
        name: the name of the function.
        parameters: the JSON schema of its arguments.
    """

    name: str
    parameters: Mapping[str, Json] = attrs.field(repr=False)


@attrs.frozen
class ToolOffer:
    """The tools of a request.

    Args:
        tools: all tools that the model may call.
        is_forced: True if it must call at least one.
        in_parallel: True if it may call several at once.
    """

    tools: tuple[OfferedTool, ...] = ()
    is_forced: bool = False
    in_parallel: bool = True

    def called(self, question: str) -> tuple[OfferedTool, ...]:
        """Return the tools to call: those whose names are in the question.

        Args:
            question: the text of the last message; "" if it is the result of a tool.
        """
        named = tuple(t for t in self.tools if re.search(rf"\b{re.escape(t.name)}\b", question))
        found = named or (self.tools[:1] if self.is_forced else ())
        return found if self.in_parallel else found[:1]


@attrs.frozen
class Part:
    """A part of a response.

    Args:
        kind: what it is.
        text: the text, or the arguments of a call as JSON.
        tokens: its output tokens.
        name: the name of the called tool.
        id: hexadecimal digits that are unique to a call.
        number: the index of a call among the calls of the response.
    """

    kind: PartKind
    text: str
    tokens: int
    name: str = ""
    id: str = ""
    number: int = 0

    def tokens_of(self, sent: int) -> int:
        """Return the tokens of the first `sent` characters."""
        if self.kind == "text":
            return count_tokens(self.text[:sent])
        return self.tokens * sent // len(self.text) if self.text else self.tokens


@attrs.frozen
class Bit:
    """A piece of a part, for a stream.

    Args:
        part: the part that it belongs to.
        index: the index of that part.
        start: the index of its first character in the part.
        text: consecutive characters of the part.
        tokens: its output tokens.
    """

    part: Part
    index: int
    start: int
    text: str
    tokens: int

    @property
    def is_first(self) -> bool:
        """Whether the part begins with it."""
        return self.start == 0

    @property
    def is_last(self) -> bool:
        """Whether the part ends with it."""
        return self.start + len(self.text) == len(self.part.text)


@attrs.frozen
class Written:
    """A response, and the reason of its end.

    Args:
        parts: reasoning, text and calls, in this order.
        ended: "end" for a complete text, "limit" for a response cut to its tokens, "stop" for a
            text cut at a stop sequence, which is not part of it, "calls" for calls of tools.
        stop: the stop sequence.
    """

    parts: tuple[Part, ...]
    ended: GenerationEnd = "end"
    stop: str | None = None

    @property
    def text(self) -> str:
        """The text without reasoning and calls."""
        return "".join(part.text for part in self.parts if part.kind == "text")

    @property
    def reasoning(self) -> str:
        """The text of the reasoning."""
        return "".join(part.text for part in self.parts if part.kind == "reasoning")

    @property
    def calls(self) -> tuple[Part, ...]:
        """The calls of tools."""
        return tuple(part for part in self.parts if part.kind == "call")

    @property
    def tokens(self) -> int:
        """The output tokens of all parts."""
        return sum(part.tokens for part in self.parts)

    @property
    def reasoning_tokens(self) -> int:
        """The output tokens of the reasoning."""
        return sum(part.tokens for part in self.parts if part.kind == "reasoning")

    def bits(self, most: int, *, by_token: bool = False) -> list[Bit]:
        """Return the pieces for a stream.

        Args:
            most: the maximum number of pieces of the text.
            by_token: True for pieces of whole tokens, False for pieces of whole words.
        """
        found: list[Bit] = []
        for index, part in enumerate(self.parts):
            if part.kind == "text" and not by_token:
                texts = pieces_of(part.text, most)
            else:
                texts = _token_pieces(part.text, most if part.kind == "text" else _FEW_PIECES)
            start = 0
            for text in texts:
                end = start + len(text)
                before = part.tokens_of(start) if start else 0
                found.append(Bit(part, index, start, text, part.tokens_of(end) - before))
                start = end
        return found


def write(
    system: str,
    user: str,
    *,
    seed: int,
    choice: int = 0,
    schema: Mapping[str, Json] | None = None,
    max_tokens: int | None = None,
    stops: tuple[str, ...] = (),
    offer: ToolOffer | None = None,
    told: str | None = None,
    reasoning_tokens: int = 0,
    key: str = "",
) -> Written:
    """Write the response to a prompt.

    Args:
        system: the text of the system messages; "" for none.
        user: the last user message.
        seed: the provider's seed.
        choice: the index of the choice.
        schema: a JSON schema for the response; None for text.
        max_tokens: the maximum of output tokens, those of the reasoning included.
        stops: the stop sequences.
        offer: the tools that may be called.
        told: the text in which names of tools are looked for; None for `user`.
        reasoning_tokens: the tokens of the reasoning.
        key: determines the ids of calls.
    """
    left = max_tokens
    thoughts: tuple[Part, ...] = ()
    if reasoning_tokens:
        thoughts = (_reasoning(user, reasoning_tokens, max_tokens, seed),)
        left = None if max_tokens is None else max_tokens - thoughts[0].tokens
        if left == 0:
            return Written(thoughts, "limit")
    tools = () if offer is None else offer.called(user if told is None else told)
    if tools:
        calls, is_cut = _calls(tools, user, seed=seed, key=f"{key}{choice}", left=left)
        return Written((*thoughts, *calls), "limit" if is_cut else "calls")
    allowed = None if schema is None else dict(schema)
    text = write_answer(system, user, seed=seed, choice=choice, schema=allowed)
    ended: GenerationEnd = "end"
    found = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
    place, stop = min(found) if found else (len(text), None)
    if stop is not None:
        text, ended = text[:place], "stop"
    if left is not None and count_tokens(text) > left:
        text, ended, stop = cut_to_tokens(text, left), "limit", None
    return Written((*thoughts, Part("text", text, count_tokens(text))), ended, stop)


def tokens_in(text: str) -> list[str]:
    """Return the tokens of a text, as `count_tokens` counts them."""
    return [
        text[start : start + CHARACTERS_PER_TOKEN]
        for start in range(0, len(text), CHARACTERS_PER_TOKEN)
    ]


@attrs.frozen
class TokenChance:
    """A token of a text, and how likely it was.

    Args:
        token: up to four consecutive characters of the text.
        logprob: the natural logarithm of its probability.
        likely: the likeliest tokens in its place, itself first, with their logarithms.
    """

    token: str
    logprob: float
    likely: tuple[tuple[str, float], ...] = ()


def chances_of(text: str, start: int, top: int) -> list[TokenChance]:
    """Return the probabilities of the tokens of a text.

    Args:
        text: consecutive tokens of the response.
        start: the index of the text's first character in the response.
        top: how many likely tokens to name for each token, itself included.
    """
    found: list[TokenChance] = []
    for token in tokens_in(text):
        # The token has at least half of the probability; each other one has half of the rest.
        share = 0.5 + 0.499 * fraction_of("logprob", token, start)
        start += len(token)
        logprob, rest = round(math.log(share), 6), 1 - share
        likely = [(token, logprob)]
        for other in (word for word in _OTHER_TOKENS if word != token):
            rest /= 2
            likely.append((other, round(math.log(rest), 6)))
        found.append(TokenChance(token, logprob, tuple(likely[:top])))
    return found


def _reasoning(user: str, tokens: int, max_tokens: int | None, seed: int) -> Part:
    spent = tokens if max_tokens is None else min(tokens, max_tokens)
    return Part("reasoning", cut_to_tokens(prose_about(user, seed), spent), spent)


def _calls(
    tools: tuple[OfferedTool, ...], user: str, *, seed: int, key: str, left: int | None
) -> tuple[list[Part], bool]:
    """Return the calls, the last of which may be cut, and whether it is."""
    found: list[Part] = []
    quotes = re.findall(r'"([^"]+)"', user)

    def say(_: str) -> str:
        """Return the next quoted text of the prompt, or its subject."""
        return quotes.pop(0) if quotes else subject_in(user)

    for number, tool in enumerate(tools):
        if left == 0:
            return found, True
        value = value_for(tool.parameters, say, random_of("call", seed, tool.name, number, user))
        arguments = json.dumps(value if isinstance(value, dict) else {}, ensure_ascii=False)
        own = count_tokens(tool.name)
        tokens = own + count_tokens(arguments)
        is_cut = left is not None and tokens > left
        if left is not None and is_cut:
            arguments, tokens = cut_to_tokens(arguments, max(0, left - own)), left
        call_id = hex_of(key, number, length=24)
        found.append(Part("call", arguments, tokens, tool.name, call_id, number))
        if is_cut:
            return found, True
        left = None if left is None else left - tokens
    return found, False


def _token_pieces(text: str, most: int) -> list[str]:
    """Split a text between tokens, in at most `most` pieces."""
    tokens = tokens_in(text) or [""]
    number = min(most, len(tokens))
    ends = [len(tokens) * i // number for i in range(number + 1)]
    return ["".join(tokens[start:end]) for start, end in pairwise(ends)]
