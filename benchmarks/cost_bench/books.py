"""The ledger beside the provider's own count, in a run where much goes wrong."""

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
    """Both counts.

    Args:
        bill: the provider's.
        spent: what the ledger says was spent.
        spent_usd: the same in USD.
        maybe: tokens that the ledger says may have been billed besides, at most.
        maybe_calls: calls of which that is said.
        answered: calls that were answered.
    """

    bill: Bill
    spent: Usage
    spent_usd: Decimal
    maybe: Usage
    maybe_calls: int
    answered: int

    @property
    def surplus(self) -> Usage:
        """What the provider billed more than the ledger says was spent."""
        billed = self.bill.usage
        return Usage(
            billed.input_tokens - self.spent.input_tokens,
            billed.output_tokens - self.spent.output_tokens,
        )


class _Bug(Exception):
    """On purpose."""


class _Saboteur:
    """An observer with a bug: the stage that sends crashes with all that it has in hand."""

    def __init__(self, at: Collection[int]) -> None:
        self._at = at
        self._sent = 0

    def __call__(self, event: CallEvent) -> None:
        if event.stage == "sent":
            self._sent += 1
            if self._sent in self._at:
                raise _Bug


async def books(*, everything: bool) -> BookFigures:
    """Many calls; refusals alone, or also broken answers, impatient askers and crashes.

    Args:
        everything: whether there is more than refusals.
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
            await trio.sleep(3 * _SCALE + 1.0)  # what is worked on unheard is billed as well
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
