"""Compare the ledger with the provider's own count, in a run with many faults."""

import random
from collections.abc import Collection
from decimal import Decimal
from math import inf

import attrs
import trio

from callsheet import CallFailed, Endpoint, Limits, Request, TroupeSettings, open_troupe
from callsheet.actors import CallEvent, LedgerPolicy, Usage
from callsheet.runtime import AskFailed
from cost_bench.provider import Bill, read_bill, running_provider

__all__ = ["BookFigures", "books"]

_CALLS = 600
_SCALE = 0.05
_REFUSALS = "429=0.05,500=0.05,503=0.05"
_ALL = f"{_REFUSALS},reset=0.03,cut=0.03,lost=0.03"
_CRASHES_AT = (150, 320)  # attempts
_PATIENCE = (0.03, 0.1, 30.0)  # seconds


@attrs.frozen
class BookFigures:
    """The counts of the provider and of the ledger.

    Args:
        bill: the provider's count.
        spent: the tokens that the ledger has as spent.
        spent_usd: the USD that the ledger has as spent.
        maybe: the upper bound of the tokens that the ledger has as possibly billed.
        maybe_calls: the number of calls with possibly billed tokens.
        answered: the number of calls that got a response.
    """

    bill: Bill
    spent: Usage
    spent_usd: Decimal
    maybe: Usage
    maybe_calls: int
    answered: int

    @property
    def surplus(self) -> Usage:
        """The tokens that the provider billed and that the ledger does not have as spent."""
        billed = self.bill.usage
        return Usage(
            billed.input_tokens - self.spent.input_tokens,
            billed.output_tokens - self.spent.output_tokens,
        )


class _Bug(Exception):
    """The intended crash."""


class _Saboteur:
    """An observer with a bug, which crashes the request actor with all its calls in flight."""

    def __init__(self, at: Collection[int]) -> None:
        self._at = at
        self._sent = 0

    def __call__(self, event: CallEvent) -> None:
        if event.stage == "sent":
            self._sent += 1
            if self._sent in self._at:
                raise _Bug


async def books(*, everything: bool) -> BookFigures:
    """Run many calls against a provider with faults, and return the counts.

    Args:
        everything: whether there are broken responses, cancelled calls and crashes, rather than
            only rejections.
    """
    options = ("--faults", _ALL if everything else _REFUSALS)
    chance = random.Random(0)  # noqa: S311  # no secrets
    async with running_provider(_SCALE, *options) as base_url:
        settings = TroupeSettings(
            endpoint=Endpoint(base_url),
            limits=Limits(in_flight=50),
            breaker=None,
            ledger=LedgerPolicy(),
            observer=_Saboteur(_CRASHES_AT if everything else ()),
        )
        answered = 0
        async with open_troupe(settings) as troupe:

            async def ask(number: int, seconds: float) -> None:
                nonlocal answered
                request = Request.of(
                    f"Describe the number {number}.", model="gpt-4o-mini", max_tokens=100
                )
                with trio.move_on_after(seconds):
                    try:
                        await troupe.complete(request)
                    except (CallFailed, AskFailed):
                        return
                    answered += 1

            async with trio.open_nursery() as nursery:
                for number in range(_CALLS):
                    seconds = chance.choice(_PATIENCE) if everything else inf
                    nursery.start_soon(ask, number, seconds)
                    await trio.sleep(0.005)
            # The provider also bills calls whose client has left.
            await trio.sleep(3 * _SCALE + 1.0)
            totals = (await troupe.costs()).totals
        bill = await read_bill(base_url)
    return BookFigures(
        bill,
        Usage(totals.spent.input_tokens, totals.spent.output_tokens),
        totals.spent.usd,
        Usage(totals.maybe_billed.input_tokens, totals.maybe_billed.output_tokens),
        totals.maybe_billed.calls,
        answered,
    )
