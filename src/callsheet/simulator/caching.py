"""Prompt caches, as OpenAI and Anthropic document them. Pure: the time is an argument (R14).

A cache knows prefixes of prompts by their hashes. OpenAI's older models cache every prefix of 1,024
tokens and a multiple of 128 more. Its newer models cache up to the end of the prompt and up to
marked blocks, Anthropic's up to marked blocks only. A prefix can be read from the first token on of
the response to the request that wrote it.

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
MAX_ENTRIES = 100_000

_MARKS = ("cache_control", "prompt_cache_breakpoint")
# Models that were made before OpenAI cached prompts.
_UNCACHED = re.compile(r"gpt-3|gpt-4(-|$)|davinci|babbage")
_AT_BLOCKS = re.compile(r"gpt-(5\.[6-9]|[6-9])")


@attrs.frozen
class CacheUse:
    """The part of a prompt that was read from a prompt cache, and the part written to it.

    Args:
        read: tokens of the prompt that were read rather than processed.
        written: tokens written, `written_1h` included.
        written_1h: tokens written for an hour or longer rather than for the usual lifetime.
        saved: what the cache saves, in tokens at the price of input; negative if it costs more.
    """

    read: int = 0
    written: int = 0
    written_1h: int = 0
    saved: float = 0.0


NO_CACHE = CacheUse()


@attrs.frozen
class CacheRules:
    """How the models of one kind cache prompts.

    Args:
        minimum: the tokens of the shortest prefix that is cached.
        step: the tokens between two cached prefixes; None to cache up to the ends of blocks.
        look_back: how many blocks before a mark are compared with earlier prompts.
        life_s: seconds after the last use in which a prefix can be read.
        read_price: the price of a token that is read, as a share of the price of input.
        write_price: the same for a token that is written.
        long_write_price: the same for a token that is written for an hour or longer.
        marks_end: True if the end of the prompt counts as marked.
    """

    minimum: int = 1024
    step: int | None = None
    look_back: int = 80
    life_s: float = 30 * MINUTE_S
    read_price: float = 0.1
    write_price: float = 1.25
    long_write_price: float = 2.5
    marks_end: bool = True


def openai_rules(model: str) -> CacheRules | None:
    """Return the rules of a model of OpenAI; None if it has no cache."""
    if _UNCACHED.match(model):
        return None
    if _AT_BLOCKS.match(model):
        cheap = re.match(r"gpt-6\.[12]", model) is not None
        return CacheRules(read_price=0.05 if cheap else 0.1)
    read = 0.1 if model.startswith("gpt-5") else 0.5
    if re.match(r"gpt-4\.1|o3(-20|$)|o4-mini", model):
        read = 0.25
    return CacheRules(step=128, life_s=10 * MINUTE_S, read_price=read, write_price=1.0)


def anthropic_rules(model: str) -> CacheRules:
    """Return the rules of a model of Anthropic."""
    minimum = 1024
    if re.search(r"opus-4-[5-8]|haiku-4-5", model):
        minimum = 4096
    elif re.search(r"sonnet-4-6|fable-5|haiku-3", model):
        minimum = 2048
    read = 0.1
    if re.search(r"(opus|sonnet)-5-5", model):
        read = 0.05
    elif re.search(r"(fable|mythos)-5-[12]", model):
        read = 0.025
    return CacheRules(
        minimum=minimum,
        look_back=20,
        life_s=5 * MINUTE_S,
        read_price=read,
        long_write_price=2.0,
        marks_end=False,
    )


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
class CachePlace:
    """A place in a prompt at which a cache can end.

    Args:
        tokens: the tokens before it.
        key: the hash of everything before it.
        mark_s: as for a block.
    """

    tokens: int
    key: bytes = attrs.field(repr=False)
    mark_s: float | None = None


@attrs.define
class _CachedPrefix:
    readable_at: float
    life_s: float
    ends_at: float


class PromptCache:
    """The cached prefixes of all prompts of a provider."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _CachedPrefix] = {}
        self._prune_at = MAX_ENTRIES

    def use(
        self,
        scope: str,
        blocks: Sequence[PromptBlock],
        rules: CacheRules,
        *,
        now: float,
        readable_at: float,
    ) -> CacheUse:
        """Read the longest cached prefix of a prompt, and write the rest as far as it is marked.

        Args:
            scope: the owner of the prefixes: vendor, key and model.
            blocks: the whole prompt.
            rules: the rules of its model.
            now: the time of the request in seconds.
            readable_at: the time of the first token of its response in seconds.
        """
        steps = rules.step is not None
        places = list(_steps(scope, blocks, rules) if steps else _ends(scope, blocks, rules))
        marked = [
            place for place in places if place.mark_s is not None and place.tokens >= rules.minimum
        ]
        read = self._read(places if steps else list(_compared(places, rules)), rules, now)
        written = long = read
        for place in marked if steps else marked[-MAX_MARKS:]:
            if place.tokens > read and place.mark_s is not None:
                self._write(place.key, place.mark_s, now, readable_at)
                written = place.tokens
                long = place.tokens if place.mark_s >= HOUR_S else long
        self._prune(now)
        if steps:  # writes are free, and not reported
            return CacheUse(read, saved=read * (1 - rules.read_price))
        use = CacheUse(read, written - read, long - read)
        saved = use.read * (1 - rules.read_price)
        saved -= (use.written - use.written_1h) * (rules.write_price - 1)
        saved -= use.written_1h * (rules.long_write_price - 1)
        return attrs.evolve(use, saved=saved)

    def _read(self, places: Sequence[CachePlace], rules: CacheRules, now: float) -> int:
        """Return the tokens of the longest prefix that can be read, whose life starts anew."""
        for place in sorted(places, key=lambda place: -place.tokens):
            entry = self._entries.get(place.key)
            if (
                entry is not None
                and place.tokens >= rules.minimum
                and entry.readable_at <= now < entry.ends_at
            ):
                entry.ends_at = now + entry.life_s
                return place.tokens
        return 0

    def _write(self, key: bytes, life_s: float, now: float, readable_at: float) -> None:
        """Write a prefix; one that another request has written lately is readable as before."""
        known = self._entries.get(key)
        if known is not None and now < known.ends_at:
            readable_at = min(readable_at, known.readable_at)
        self._entries[key] = _CachedPrefix(readable_at, life_s, max(readable_at, now) + life_s)

    def _prune(self, now: float) -> None:
        """Forget what can no longer be read, when there is much of it."""
        if len(self._entries) > self._prune_at:
            self._entries = {
                key: entry for key, entry in self._entries.items() if entry.ends_at > now
            }
            self._prune_at = max(MAX_ENTRIES, 2 * len(self._entries))


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


def _ends(scope: str, blocks: Sequence[PromptBlock], rules: CacheRules) -> Iterator[CachePlace]:
    """Return the ends of all blocks."""
    digest, tokens = blake2b(scope.encode(), digest_size=16), 0
    for i, block in enumerate(blocks):
        digest.update(f"{block.text}\x1e".encode("utf-8", "surrogatepass"))
        tokens += block.tokens
        mark_s = block.mark_s
        if mark_s is None and rules.marks_end and i == len(blocks) - 1:
            mark_s = 0.0
        yield CachePlace(tokens, digest.digest(), rules.life_s if mark_s == 0 else mark_s)


def _steps(scope: str, blocks: Sequence[PromptBlock], rules: CacheRules) -> Iterator[CachePlace]:
    """Return the places at the minimum of tokens, and at each step after it."""
    digest, begun, next_at = blake2b(scope.encode(), digest_size=16), 0, rules.minimum
    for block in blocks:
        done = 0
        while next_at <= begun + block.tokens:
            end = CHARACTERS_PER_TOKEN * max(0, next_at - begun - block.before)
            digest.update(block.text[done:end].encode("utf-8", "surrogatepass"))
            done = max(done, end)
            yield CachePlace(next_at, digest.digest(), rules.life_s)
            next_at += rules.step or rules.minimum
        digest.update(f"{block.text[done:]}\x1e".encode("utf-8", "surrogatepass"))
        begun += block.tokens


def _compared(places: Sequence[CachePlace], rules: CacheRules) -> Iterator[CachePlace]:
    """Return the places that are compared with earlier prompts: those shortly before a mark."""
    ends = [i for i, place in enumerate(places) if place.mark_s is not None]
    near = {i for end in ends for i in range(max(0, end - rules.look_back + 1), end + 1)}
    return (places[i] for i in sorted(near))
