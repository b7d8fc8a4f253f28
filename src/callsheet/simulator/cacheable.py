"""What a prompt cache gets of a call: the blocks of its prompt, and the marks on them. Pure (R14).

Source: docs/providers.md, OpenAI: prompt caching; Anthropic: prompt caching.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import attrs

from .body import RequestRefused
from .prompt import CHARACTERS_PER_TOKEN, IMAGE_TOKENS, MESSAGE_TOKENS, count_tokens
from .wire import Json, canonical

MINUTE_S = 60.0
HOUR_S = 3600.0
MAX_MARKS = 4
ROUTED_TOKENS = 256  # of a prompt, whose hash leads it to a machine

_MARKS = ("cache_control", "prompt_cache_breakpoint")


@attrs.frozen
class PromptBlock:
    """A part of a prompt: a message, a part of one, or the definition of a tool.

    Args:
        text: the role and the content, or the definition of a tool as JSON.
        tokens: its tokens, those before its text included.
        before: the tokens before its text, such as those of a role.
        mark_s: seconds that a prefix that ends here is to be cached for; None without a mark.
    """

    text: str = attrs.field(repr=False)
    tokens: int
    before: int = 0
    mark_s: float | None = None


@attrs.frozen
class CacheablePrompt:
    """What a prompt cache gets of a call.

    Args:
        blocks: the whole prompt; () if it is never cached.
        key: the name by which the client keeps requests together.
        is_explicit: True if the end of the prompt does not count as marked.
        life_s: seconds that marks without a time of their own ask for; 0 for the usual lifetime.
    """

    blocks: tuple[PromptBlock, ...] = attrs.field(default=(), repr=False)
    key: str = ""
    is_explicit: bool = False
    life_s: float = 0.0

    @classmethod
    def of_openai(
        cls, body: Mapping[str, Json], blocks: Sequence[PromptBlock], schema: Json
    ) -> "CacheablePrompt":
        """Return the prompt of a request with OpenAI's options.

        Args:
            body: the members of the request.
            blocks: its tools and messages.
            schema: the format of its output, which is part of the prefix.
        """
        given = body.get("prompt_cache_options")
        options = given if isinstance(given, dict) else {}
        first = [PromptBlock(canonical(schema), 0)] if schema else []
        key = body.get("prompt_cache_key")
        return cls(
            (*first, *blocks),
            key if isinstance(key, str) else "",
            options.get("mode") == "explicit",
            _life(options),
        )

    @property
    def route(self) -> bytes:
        """The hash by which requests are led to a machine."""
        most = ROUTED_TOKENS * CHARACTERS_PER_TOKEN
        begun = "\x1e".join(block.text for block in self.blocks[:ROUTED_TOKENS])[:most]
        return blake2b(f"{self.key}\x1f{begun}".encode("utf-8", "surrogatepass")).digest()


NOTHING_TO_CACHE = CacheablePrompt()


def blocks_of(messages: Sequence[Json], tools: Json = None) -> list[PromptBlock]:
    """Return the blocks of a prompt: each tool, then each message or each of its parts.

    Args:
        messages: the messages in the format of either vendor, system messages first.
        tools: the definitions of tools in the format of either vendor.

    """
    found: list[PromptBlock] = []
    for tool in tools if isinstance(tools, list) else ():
        members = tool if isinstance(tool, dict) else {}
        text = canonical(_unmarked(members))
        found.append(PromptBlock(text, count_tokens(text), 0, _mark(members)))
    for message in messages:
        if isinstance(message, dict):
            found += _blocks_of_message(message)
    return found


def refuse_many_marks(blocks: Sequence[PromptBlock]) -> None:
    """Raise `RequestRefused` (400) if more blocks are marked than Anthropic allows."""
    marks = sum(block.mark_s is not None for block in blocks)
    if marks > MAX_MARKS:
        raise RequestRefused(
            400,
            f"A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {marks}.",
        )


def within(blocks: Sequence[PromptBlock], tokens: int) -> list[PromptBlock]:
    """Return the blocks with at most `tokens` tokens; their sizes are rounded up one by one."""
    excess = sum(block.tokens for block in blocks) - tokens
    if not blocks or excess <= 0:
        return list(blocks)
    return [*blocks[:-1], attrs.evolve(blocks[-1], tokens=max(0, blocks[-1].tokens - excess))]


def mark_end(blocks: Sequence[PromptBlock], mark: Mapping[str, Json]) -> list[PromptBlock]:
    """Return the blocks with a mark at the end of the prompt.

    Args:
        blocks: the whole prompt.
        mark: the mark of the request; {} for none.
    """
    if not blocks or not mark:
        return list(blocks)
    return [*blocks[:-1], attrs.evolve(blocks[-1], mark_s=_life(mark))]


def _blocks_of_message(message: Mapping[str, Json]) -> Iterator[PromptBlock]:
    role, content, before = str(message.get("role")), message.get("content"), MESSAGE_TOKENS
    if isinstance(content, list):
        for part in content:
            members = part if isinstance(part, dict) else {}
            text = members.get("text")
            said = text if isinstance(text, str) else canonical(_unmarked(members))
            is_image = "image" in str(members.get("type"))
            size = IMAGE_TOKENS if is_image else count_tokens(said)
            yield PromptBlock(f"{role}\x1f{said}", before + size, before, _mark(members))
            before = 0
        return
    said = content if isinstance(content, str) else canonical(_unmarked(message))
    yield PromptBlock(f"{role}\x1f{said}", before + count_tokens(said), before)


def _unmarked(members: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in members.items() if name not in _MARKS}


def _mark(members: Mapping[str, Json]) -> float | None:
    mark = next((members[name] for name in _MARKS if members.get(name)), None)
    return _life(mark) if isinstance(mark, dict) else None


def _life(mark: Mapping[str, Json]) -> float:
    """Return the seconds of a mark's "ttl"; 0 for the usual lifetime of the model."""
    found = re.fullmatch(r"(\d{1,4})([mh])", str(mark.get("ttl", "")))
    return int(found[1]) * (MINUTE_S if found[2] == "m" else HOUR_S) if found else 0.0
