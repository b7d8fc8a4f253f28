"""Prompt caches, as the vendors document them. Pure: the time is an argument (R14).

A cache knows prefixes of prompts by their hashes. OpenAI's older models and Gemini's cache every
prefix of a minimum of tokens and a multiple of 128 more. OpenAI's newer models cache up to the end
of the prompt, unless a request turns that off, and up to marked blocks, Anthropic's up to marked
blocks only. OpenAI has many machines, each with a cache of its own.

Source: docs/providers.md, OpenAI: prompt caching; Anthropic: prompt caching; Gemini: prompt
caching.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import attrs

from .cacheable import HOUR_S, MAX_MARKS, MINUTE_S, CacheablePrompt, PromptBlock
from .prompt import CHARACTERS_PER_TOKEN
from .settings import CacheSettings

FIRST_GEMINI = 2.5  # the first version that cached prompts
MAX_ENTRIES = 100_000

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
        is_routed: True if requests go to machines by the beginning of their prompts.
    """

    minimum: int = 1024
    step: int | None = None
    look_back: int = 80
    life_s: float = 30 * MINUTE_S
    read_price: float = 0.1
    write_price: float = 1.25
    long_write_price: float = 2.5
    marks_end: bool = True
    is_routed: bool = False


def openai_rules(model: str) -> CacheRules | None:
    """Return the rules of a model of OpenAI; None if it has no cache."""
    if _UNCACHED.match(model):
        return None
    if _AT_BLOCKS.match(model):
        cheap = re.match(r"gpt-6\.[12]", model) is not None
        return CacheRules(read_price=0.05 if cheap else 0.1, is_routed=True)
    read = 0.1 if model.startswith("gpt-5") else 0.5
    if re.match(r"gpt-4\.1|o3(-20|$)|o4-mini", model):
        read = 0.25
    return CacheRules(
        step=128, life_s=10 * MINUTE_S, read_price=read, write_price=1.0, is_routed=True
    )


def gemini_rules(model: str) -> CacheRules | None:
    """Return the rules of a model of Gemini; None if it has no cache."""
    found = re.match(r"gemini-(\d+(?:\.\d+)?)", model)
    version = float(found[1]) if found is not None else 0.0
    if version < FIRST_GEMINI:
        return None
    minimum = 2048 if version < FIRST_GEMINI + 0.5 else 4096
    return CacheRules(minimum=minimum, step=128, life_s=5 * MINUTE_S, write_price=1.0)


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


class _Machines:
    """Leads each request to the first machine that takes one more of its kind in this minute.

    Args:
        rpm: the requests of one kind per minute that a machine takes; None for any number.
    """

    def __init__(self, rpm: int | None) -> None:
        self._rpm = rpm
        self._taken: dict[bytes, list[deque[float]]] = {}  # {route: times at each machine}

    def lead(self, route: bytes, now: float) -> int:
        """Return the number of the machine that gets a request, and count it."""
        if self._rpm is None:
            return 0
        if len(self._taken) >= MAX_ENTRIES and route not in self._taken:
            self._taken.clear()
        machines = self._taken.setdefault(route, [])
        for number, times in enumerate(machines):
            while times and times[0] <= now - MINUTE_S:
                times.popleft()
            if len(times) < self._rpm:
                times.append(now)
                return number
        machines.append(deque([now]))
        return len(machines) - 1


class PromptCache:
    """The cached prefixes of all prompts of a provider.

    Args:
        settings: what is not the same at every provider.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._machines = _Machines(settings.machine_rpm)
        self._entries: dict[bytes, _CachedPrefix] = {}
        self._prune_at = MAX_ENTRIES

    def use(
        self,
        scope: str,
        prompt: CacheablePrompt,
        rules: CacheRules,
        *,
        now: float,
        readable_at: float,
    ) -> CacheUse:
        """Read the longest cached prefix of a prompt, and write the rest as far as it is marked.

        Args:
            scope: the owner of the prefixes: vendor, key and model.
            prompt: the whole prompt.
            rules: the rules of its model.
            now: the time of the request in seconds.
            readable_at: when what it writes can be read, in seconds.
        """
        if self._settings.minimum is not None:
            rules = attrs.evolve(rules, minimum=self._settings.minimum)
        if rules.is_routed:
            route = prompt.route
            scope = f"{scope}|{route.hex()}|{self._machines.lead(route, now)}"
        steps = rules.step is not None
        places = list(_steps(scope, prompt.blocks, rules) if steps else _ends(scope, prompt, rules))
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


def _ends(scope: str, prompt: CacheablePrompt, rules: CacheRules) -> Iterator[CachePlace]:
    """Return the ends of all blocks."""
    digest, tokens, usual_s = blake2b(scope.encode(), digest_size=16), 0, prompt.life_s
    last = None if prompt.is_explicit or not rules.marks_end else len(prompt.blocks) - 1
    for i, block in enumerate(prompt.blocks):
        digest.update(f"{block.text}\x1e".encode("utf-8", "surrogatepass"))
        tokens += block.tokens
        mark_s = block.mark_s
        if mark_s is None and i == last:
            mark_s = 0.0
        life_s = (usual_s or rules.life_s) if mark_s == 0 else mark_s
        yield CachePlace(tokens, digest.digest(), life_s)


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
