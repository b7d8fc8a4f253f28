"""What a provider's prompt cache saves of calls that are not sent yet. Pure (R14)."""

from decimal import Decimal
from typing import final

import attrs

from ..messages import Request
from ..responses import Usage
from ..vendors import Endpoint, PriceBook
from .marks import is_marked
from .planning import CachePlan, CachePlanner, PromptCaching
from .terms import cache_terms, has_prompt_cache

_MAX_WRITTEN = 20_000  # beginnings; then the one that was written first is forgotten


def beginning_share(
    request: Request[object], tokens: int, *, vendor: str, prices: PriceBook, adds_marks: bool
) -> float:
    """Return what the tokens of a shared beginning cost, as a share of the price of input.

    It is 1 where the beginning is not cached, or where nothing is known of its price. The calls
    that write a beginning count where a key leads only so many calls a minute to one cache; a
    single one before a thousand others does not.

    Args:
        request: one of the requests.
        tokens: the tokens of the beginning.
        vendor: name of the vendor.
        prices: the prices there.
        adds_marks: whether marks and keys are added to requests that have none.
    """
    terms = cache_terms(vendor, request.model)
    price = prices.price(request.model)
    if terms is None or tokens < terms.minimum or price is None:
        return 1.0
    if price.cached is None or not price.input:
        return 1.0
    if not (terms.shares_unmarked or adds_marks or is_marked(request)):
        return 1.0
    read = float(price.cached / price.input)
    if terms.key_per_minute is None:
        return min(1.0, read)
    write = 1.0 if price.cache_write is None else float(price.cache_write / price.input)
    return min(1.0, read + (write - read) / terms.key_per_minute)


@attrs.frozen
class ExpectedRead:
    """What the prompt cache is expected to do for a call that is sent live.

    Args:
        plan: what the call does with it.
        tokens: the tokens that it reads.
        saved_usd: what that saves in USD, less what writing costs in addition.
    """

    plan: CachePlan
    tokens: int
    saved_usd: Decimal


@final
class ExpectedReads:
    """Expects what the prompt cache saves of calls, as if those before them had been sent live.

    Where no caching is planned, nothing is expected to be read; some models write nevertheless.

    So a call need not find its beginning in the cache for its route to be chosen: it would be there
    if the calls that share it took the same route.

    Args:
        endpoint: where the calls would be sent.
        prices: prices of models.
        caching: how far prompt caching would be planned.
    """

    def __init__(self, endpoint: Endpoint, prices: PriceBook, caching: PromptCaching) -> None:
        self._written: dict[bytes, float] = {}  # {beginning: until when it can be read}
        self._planner: CachePlanner | None = None
        self._is_off = caching == "off"
        if not endpoint.members and has_prompt_cache(endpoint.vendor.name):
            there = prices.at_vendor(endpoint.vendor.price_list)
            self._planner = CachePlanner(endpoint, there, caching)

    def __repr__(self) -> str:
        return f"<ExpectedReads of {len(self._written)} beginnings>"

    def of(self, request: Request[object], now: float) -> ExpectedRead | None:
        """Return what is expected of a call that comes now; None if nothing of it is cached.

        Args:
            request: the request of the call.
            now: the time in seconds.
        """
        plan = None if self._planner is None else self._planner.plan(request, "", now)
        if plan is None or (self._is_off and plan.prompt.is_marked):
            return None
        wish, prices = plan.wish, plan.prices
        known = [one.tokens for one in wish.readable if self._written.get(one.key, now) > now]
        read = 0 if self._is_off else max(known, default=0)
        to_write = max((one.tokens for one in wish.written), default=0)
        saved = read * (1 - prices.read) - max(0, to_write - read) * max(0.0, prices.write - 1)
        return ExpectedRead(plan, read, prices.usd * Decimal(str(round(saved, 3))))

    def note(self, read: ExpectedRead, now: float) -> None:
        """Note that the call has come.

        Args:
            read: what was expected of it.
            now: the time in seconds.
        """
        if self._planner is None:
            return
        self._planner.note(read.plan, now)
        until = now + read.plan.wish.life_s
        for one in (*read.plan.wish.readable, *read.plan.wish.written):
            if one in read.plan.wish.written or self._written.get(one.key, now) > now:
                self._written.pop(one.key, None)
                self._written[one.key] = until
        while len(self._written) > _MAX_WRITTEN:
            del self._written[next(iter(self._written))]

    def learn(self, read: ExpectedRead, usage: Usage, now: float) -> None:
        """Learn from the usage of a call that was sent live whether anything is cached.

        Args:
            read: what was expected of it.
            usage: the tokens that the provider reports.
            now: the time in seconds.
        """
        if self._planner is not None:
            is_warm = read.tokens > 0
            self._planner.learn(read.plan, usage, now, is_warm=is_warm, is_marked=False)


@final
class CacheForecast:
    """Adds up what the prompt cache would save of calls that are sent one after another at once.

    Args:
        endpoint: where the calls would be sent.
        prices: prices of models.
        caching: how far prompt caching would be planned.

    Attributes:
        saved_usd: what is saved in USD, less what writing costs in addition.
        calls: the number of calls that read a beginning.
    """

    def __init__(self, endpoint: Endpoint, prices: PriceBook, caching: PromptCaching) -> None:
        self.saved_usd, self.calls = Decimal(0), 0
        self._reads = ExpectedReads(endpoint, prices, caching)

    def __repr__(self) -> str:
        return f"<CacheForecast {self.calls} calls, {self.saved_usd} USD saved>"

    def add(self, request: Request[object]) -> None:
        """Add a call.

        Args:
            request: the request of the call.
        """
        read = self._reads.of(request, 0.0)
        if read is not None:
            self._reads.note(read, 0.0)
            self.saved_usd += read.saved_usd
            self.calls += read.tokens > 0
