"""What one call does with the provider's prompt cache: what it waits for, its marks and its key.

Pure (R14). The prices decide: where a write costs more than it saves, a beginning is marked only
when it comes again.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, final

import attrs

from ..messages import Request
from ..responses import ResultT_co, Usage
from ..vendors import Endpoint, PriceBook
from .leads import Beginning, CacheWish
from .marks import PromptPlace, is_marked, with_key, with_mark
from .places import HashedPlace, PromptPlaces, count_parts, most_bytes, read_places
from .sightings import KeySpread, Sightings
from .terms import CacheTerms, cache_terms

PromptCaching = Literal["off", "order", "auto"]
"""How far prompt caching is planned: not at all, by the order of calls, or with marks and keys."""

_LEAST_TOKENS = 512  # for fewer, no call waits
_LOOK_BACK = 20  # blocks before a mark in which a provider looks for an earlier one
_USUAL_BYTES = 4.0  # per token, until usage was reported
_GAIN = 0.1  # weight of one observation, after the first ten
_MOST_MARKS = 3  # of the four that a request may have; the last one is for the end
_MOST_CUTS = 2  # of these that are within texts
_OFTEN = 8  # times; no chance any more, so that a few tokens are worth a write
_MOST_MISSES = 8  # in a row, of calls that should have read
_MARGIN = 1.05  # of a minimum that usage has shown: tokens are estimated
_HOUR_S = 3600.0
_SPARE_S = 10.0  # of the life of a beginning, for the way to the provider
_AGAIN_S = _HOUR_S  # after which that minimum is tried again
_MAX_MODELS = 256
_MOST_PARTS = 10_000  # of a prompt; more would take longer to look at than other calls may wait
_STORED = ("cachedContent", "cached_content")


@attrs.frozen
class CachePrices:
    """What a provider charges for the tokens of its cache.

    Args:
        usd: the price of a token of input, in USD.
        read: the price of a token that is read, as a share of that.
        write: the price of a token that is written, as a share of that.
        long_write: the price of one that is written for an hour or longer; as `write` by default.
    """

    usd: Decimal
    read: float
    write: float
    long_write: float = attrs.Factory(lambda self: self.write, takes_self=True)

    @property
    def sightings(self) -> int:
        """How often a beginning must have come for a write to pay if it comes as often again.

        The rule of the ski rental: the price of a write is paid when as much has been lost by not
        having paid it. So the cost is never more than twice that of knowing the future.
        """
        return math.ceil((self.write - 1) / (1 - self.read)) if self.write > 1 else 0


@attrs.frozen(kw_only=True)
class CachePlan:
    """What a call does with the provider's prompt cache.

    Args:
        wish: what it could read and would write.
        model: the model as the caller names it.
        terms: how the provider caches its prompts.
        prices: what that costs.
        prompt: the places of its prompt.
        marks: the places at which marks are added.
        key: the key that is added; "" for none.
        number: the number of that key; without one, of the machine that the call goes to.
        has_marks: whether the provider will see marks, those of the user included.
    """

    wish: CacheWish
    model: str
    terms: CacheTerms
    prices: CachePrices
    prompt: PromptPlaces = attrs.field(repr=False)
    marks: tuple[PromptPlace, ...] = ()
    key: str = ""
    number: int = 0
    has_marks: bool = False

    @property
    def beginning(self) -> int:
        """The tokens of the longest beginning that is read or written; 0 if there is none."""
        return max((one.tokens for one in (*self.wish.readable, *self.wish.written)), default=0)

    def applied(
        self, request: Request[ResultT_co], *, unmarked: bool = False, key: str = ""
    ) -> Request[ResultT_co]:
        """Return a request with the marks and the key of the plan.

        Args:
            request: the request that the plan was made for, also with another name of the model.
            unmarked: whether only the key is added.
            key: another key than that of the plan; "" for none.
        """
        for place in () if unmarked else reversed(self.marks):
            request = with_mark(request, place, self.terms)
        return with_key(request, key or self.key) if self.key else request


@attrs.define
class _Learned:
    """What usage has shown of one model.

    Attributes:
        terms: how the provider caches its prompts; None if it does not.
        minimum: tokens of the shortest beginning that is cached.
        raised_until: when the documented minimum is tried again, in seconds.
        bytes_per_token: the mean of prompts.
        calls: how many have reported usage.
        misses: calls in a row that should have read and did not.
        refuses: whether the provider refuses marks and keys.
    """

    terms: CacheTerms | None
    minimum: int = 0
    raised_until: float = math.inf
    bytes_per_token: float = _USUAL_BYTES
    calls: int = 0
    misses: int = 0
    refuses: bool = False

    def tokens(self, size: int) -> int:
        return int(size / self.bytes_per_token)

    def raise_minimum(self, tokens: int, now: float) -> None:
        self.minimum, self.raised_until = int(tokens * _MARGIN) + 1, now + _AGAIN_S
        self.misses = 0


@final
class CachePlanner:
    """Plans what calls to one endpoint do with its prompt cache.

    Args:
        endpoint: where the calls are sent.
        prices: the prices there.
        caching: how far prompt caching is planned; not "off".
    """

    def __init__(self, endpoint: Endpoint, prices: PriceBook, caching: PromptCaching) -> None:
        self._vendor = endpoint.vendor.name
        self._scope = f"{endpoint.identity}\n{endpoint.key_name}"
        self._prices = prices
        self._is_auto = caching == "auto"
        self._models: dict[str, _Learned] = {}
        self._sightings = Sightings()
        self._keys = KeySpread()

    def __repr__(self) -> str:
        return f"<CachePlanner for {self._vendor}, {len(self._models)} models>"

    # ---------------------------------------------------------------- plans

    def why_not(self, request: Request, now: float) -> str:
        """Return why nothing can be planned for a request; "" if something can.

        Args:
            request: the request of the call.
            now: the time in seconds.
        """
        found = self._checked(request, now)
        return found if isinstance(found, str) else ""

    def plan(self, request: Request, lane: str, now: float) -> CachePlan | None:
        """Return the plan of a call that comes now; None if its prompt cannot be cached.

        Nothing is noted: see `note`.

        Args:
            request: the request of the call.
            lane: the lane of the call.
            now: the time in seconds.
        """
        checked = self._checked(request, now)
        if isinstance(checked, str):
            return None
        known, terms, prices = checked
        try:
            prompt = read_places(request, self._scope, terms.minimum)
        except (TypeError, ValueError):
            return None  # the last stage refuses it in words
        tokens = [known.tokens(place.size) for place in prompt.places]
        if tokens[-1] < known.minimum:
            return None
        first = bisect_left(tokens, known.minimum)
        usable, is_users = prompt.places[first:], is_marked(request)
        adds = self._is_auto and not is_users and not known.refuses
        keyed = [place.key for place in usable] if adds and terms.takes_key else []
        number = self._keys.next_number(
            prompt.origin,
            terms.key_per_minute,
            now,
            keyed,
            sizes=tokens[first:],
            least=_LEAST_TOKENS,
        )
        key = f"{prompt.origin.hex()[:16]}-{number}" if keyed else ""
        marks: Sequence[HashedPlace] = ()
        if adds and terms.mark is not None:
            needed = max(1, prices.sightings)
            least = _LEAST_TOKENS * known.bytes_per_token
            marks = self._marks(request, terms, prompt, usable, needed=needed, least=least, now=now)
        written = marks or _written(request, terms, usable, has_key=bool(key))
        if any((place.mark_s or 0.0) >= _HOUR_S for place in written):
            prices = attrs.evolve(prices, write=prices.long_write)
        readable = usable if terms.step is not None and written else _compared(usable, written)
        if number and not key:
            readable = ()  # the call goes to another machine than those before it
        suffix, beginnings = key.encode(), dict[HashedPlace, Beginning]()
        for place, size in zip(usable, tokens[first:], strict=True):
            beginnings[place] = Beginning(place.key + suffix, size)
            if place.is_cut and place in marks:
                suffix += place.key
        return CachePlan(
            wish=CacheWish(
                readable=tuple([beginnings[place] for place in readable]),
                written=tuple([beginnings[place] for place in written]),
                life_s=max([terms.life_s, *[place.mark_s or 0.0 for place in written]]) - _SPARE_S,
                lane=lane,
                least=_LEAST_TOKENS,
            ),
            model=request.model,
            terms=terms,
            prices=prices,
            prompt=prompt,
            marks=tuple([place.where for place in marks]),
            key=key,
            number=number,
            has_marks=bool(marks) or prompt.is_marked,
        )

    def note(self, plan: CachePlan, now: float) -> None:
        """Note that a call of this plan has come.

        Args:
            plan: the plan of the call.
            now: the time in seconds.
        """
        places = plan.prompt.places
        if plan.terms.key_per_minute is not None:
            keyed = [one.key for one in places] if plan.key else []
            self._keys.use(plan.prompt.origin, plan.number, now, keyed)
        if self._is_auto and plan.terms.mark is not None:
            keys = (one.key for one in places)
            cuts = frozenset([one.key for one in places if one.is_cut and one.where in plan.marks])
            self._sightings.add(keys, places[-1].key, now, plan.wish.life_s, cuts)

    def _marks(
        self,
        request: Request,
        terms: CacheTerms,
        prompt: PromptPlaces,
        usable: Sequence[HashedPlace],
        *,
        needed: int,
        least: float,
        now: float,
    ) -> list[HashedPlace]:
        """Return the places at which marks are added.

        That is the longest beginning that has come before, often enough for a write to pay; and,
        before it, those that come more often, which are read meanwhile. One that comes more often
        and is shorter by less than `least` bytes takes its place, unless the longer one comes
        often, too: the difference is not worth a write. The prompt that continues an earlier one is
        marked at its end as well: the next one will continue it. Where an unmarked prompt is
        written as a whole, the instructions are marked from the first call on, which costs less.

        A mark within a text cuts it into two blocks, and what comes after it is another beginning
        than with the whole text. So a prompt that continues an earlier one is cut where that was.
        """
        end, found, seen, floor = prompt.places[-1], list[HashedPlace](), needed - 1, math.inf
        earlier, cuts = self._earlier(prompt)
        for place in reversed(usable):
            times = self._sightings.times(place.key, now)
            if times <= seen or with_mark(request, place.where, terms) is request:
                continue
            if place.is_cut and (place.size < earlier or _cuts(cuts) + _cuts(found) == _MOST_CUTS):
                continue
            is_close = place.size > floor and seen < _OFTEN
            if is_close and (found[0] is end or not self._sightings.was_whole(found[0].key)):
                found[0] = place
            elif is_close and times < _OFTEN:
                continue  # the longer one was the end of an earlier turn, and is in the cache
            elif len(cuts) + len(found) == _MOST_MARKS:
                break
            else:
                found.insert(0, place)
                floor = place.size - least
            seen = times
        if found:
            found = sorted((*cuts, *found), key=lambda place: place.size)
            last = found[-1]
            continues = last is not end and self._sightings.was_whole(last.key)
            if continues and with_mark(request, end.where, terms) is not request:
                found.append(end)
            return found
        if terms.mark != "prompt_cache_breakpoint" or prompt.is_dialogue:
            return []
        leading = [
            one
            for one in prompt.places[: prompt.leading]
            if one in usable and with_mark(request, one.where, terms) is not request
        ]
        return leading[-1:] if leading and leading[-1] is not end else []

    def _earlier(self, prompt: PromptPlaces) -> tuple[int, list[HashedPlace]]:
        """Return how long the prompt is that this one continues, and where that was cut."""
        for place in reversed(prompt.places):
            if self._sightings.was_whole(place.key):
                cuts = self._sightings.cuts_of(place.key)
                return place.size, [one for one in prompt.places if one.key in cuts]
        return 0, []

    # ---------------------------------------------------------------- what usage shows

    def learn(
        self, plan: CachePlan, usage: Usage, now: float, *, is_warm: bool, is_marked: bool
    ) -> None:
        """Learn from the usage of a call: it decides what is cached, whatever is documented.

        Args:
            plan: the plan of the call.
            usage: the tokens that the provider reports.
            now: the time in seconds.
            is_warm: whether the call should have read a beginning.
            is_marked: whether the provider has seen marks.
        """
        known = self._model(plan.model)
        if usage.input_tokens > 0:
            known.calls += 1
            gain = max(_GAIN, 1.0 / known.calls)
            ratio = min(16.0, max(0.25, plan.prompt.places[-1].size / usage.input_tokens))
            known.bytes_per_token += gain * (ratio - known.bytes_per_token)
        if usage.cached_tokens or usage.cache_write_tokens:
            known.misses = 0
            return
        if not usage.input_tokens or not plan.beginning:
            return
        known.misses += is_warm
        reports_all = plan.terms.mark == "cache_control" and is_marked
        if reports_all or known.misses >= _MOST_MISSES:
            known.raise_minimum(plan.beginning, now)

    def refused(self, model: str) -> bool:
        """Note that the provider refuses what was added; return whether that is new.

        Args:
            model: the model as the caller names it.
        """
        known = self._model(model)
        is_new, known.refuses = not known.refuses, True
        return is_new

    def refuses(self, model: str) -> bool:
        """Return whether the provider is known to refuse what is added.

        Args:
            model: the model as the caller names it.
        """
        return self._model(model).refuses

    # ----------------------------------------------------------------

    def _checked(  # noqa: PLR0911  # one for each reason
        self, request: Request, now: float
    ) -> "str | tuple[_Learned, CacheTerms, CachePrices]":
        """Return what a plan of a request is based on, or why there can be none."""
        if request.task != "chat":
            return "only the prompts of chats are cached"
        known = self._model(request.model)
        if known.terms is None:
            return "no prompt cache of this model is known"
        if known.raised_until <= now:
            known.minimum, known.raised_until = known.terms.minimum, math.inf
        if known.tokens(most_bytes(request)) < known.minimum:
            return f"the prompt is shorter than {known.minimum} tokens, the least that is cached"
        if count_parts(request) > _MOST_PARTS:
            return f"the prompt has more than {_MOST_PARTS:,} parts"
        prices = self._prices_of(request.model)
        if prices is None:
            return "no lower price for cached tokens of this model is known"
        if any(name in request.extra_body for name in _STORED):
            return "the request names what is cached itself"
        return known, known.terms, prices

    def _model(self, name: str) -> _Learned:
        known = self._models.get(name)
        if known is None:
            if len(self._models) >= _MAX_MODELS:
                del self._models[next(iter(self._models))]
            terms = cache_terms(self._vendor, name)
            known = self._models[name] = _Learned(terms, 0 if terms is None else terms.minimum)
        return known

    def _prices_of(self, model: str) -> CachePrices | None:
        """Return what cached tokens cost; None unless they cost less than others."""
        price = self._prices.price(model)
        if price is None or price.cached is None or price.cached >= price.input:
            return None
        write = price.input if price.cache_write is None else price.cache_write
        long_write = write if price.cache_write_1h is None else price.cache_write_1h
        read, *writes = (float(one / price.input) for one in (price.cached, write, long_write))
        return CachePrices(price.input / 1_000_000, read, *writes)


def _written(
    request: Request, terms: CacheTerms, usable: Sequence[HashedPlace], *, has_key: bool
) -> Sequence[HashedPlace]:
    """Return the places up to which a request that gets no marks has its prompt written."""
    if terms.step is not None:
        is_cached = not terms.needs_key or has_key or "prompt_cache_key" in request.extra_body
        return usable if is_cached else ()
    written = [place for place in usable if place.mark_s is not None]
    options = request.extra_body.get("prompt_cache_options")
    is_explicit = isinstance(options, dict) and options.get("mode") == "explicit"
    if terms.mark == "prompt_cache_breakpoint" and not is_explicit and usable[-1] not in written:
        written.append(usable[-1])  # OpenAI's newer models write the whole prompt
    return written


def _cuts(places: Sequence[HashedPlace]) -> int:
    return sum([place.is_cut for place in places])


def _compared(usable: Sequence[HashedPlace], written: Sequence[HashedPlace]) -> list[HashedPlace]:
    """Return the places that a provider compares with earlier prompts: those close before marks."""
    blocks = [place.block for place in written]
    return [
        place
        for place in usable
        if (not place.is_cut or place in written)
        and any(0 <= block - place.block < _LOOK_BACK for block in blocks)
    ]
