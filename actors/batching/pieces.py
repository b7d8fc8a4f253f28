"""A request that is too large for one call: its pieces, and the response made of theirs."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial

import attrs

from ...runtime import Outcome, ReplySlot
from ..errors import CallFailed
from ..messages import Request
from ..responses import Response, Usage
from ..spent import Spent
from .members import Waiter
from .strategy import BatchStrategy


def waiters_of_pieces(strategy: BatchStrategy, pieces: int, waiter: Waiter) -> list[Waiter]:
    """Return a waiter for each piece of a request; the caller gets one response made of theirs.

    Args:
        strategy: joins the responses of the pieces.
        pieces: the number of pieces.
        waiter: the caller that waits for the whole.
    """
    whole, request = waiter.slot, waiter.message.request
    responses: dict[int, Response] = {}

    def settled(place: int, slot: ReplySlot[Response]) -> None:
        if slot.outcome is Outcome.REPLIED and slot.value is not None:
            responses[place] = slot.value
            if len(responses) == pieces:
                ordered = [responses[at] for at in range(pieces)]
                try:
                    whole.reply(_join(strategy, request, ordered))
                except CallFailed as error:
                    whole.fail(_spent(ordered).on_failure(error))
        elif slot.error is not None:
            whole.fail(_spent(responses.values()).on_failure(slot.error))

    found: list[Waiter] = []
    for place in range(pieces):
        own: ReplySlot[Response] = ReplySlot()
        own.deadline = whole.deadline
        own.trace = whole.trace  # the calls for the pieces continue it (R18)
        own.on_settled(partial(settled, place))
        whole.start(own)
        whole.on_settled(lambda _, own=own: own.cancel())  # type: ignore[misc]  # bound here
        found.append(Waiter(waiter.message, own))
    return found


def _join(strategy: BatchStrategy, request: Request, responses: Sequence[Response]) -> Response:
    """Return the response of a request that was sent in pieces, with the cost of all pieces."""
    joined = attrs.evolve(
        strategy.join(request, responses),
        usage=Usage(),
        cost_usd=Decimal(0),
        http_requests=0,
        maybe_billed=0,
    )
    if any(response.fallback != joined.fallback for response in responses):
        joined = attrs.evolve(joined, fallback=None)
    return _spent(responses).on(joined)


def _spent(responses: Iterable[Response]) -> Spent:
    spent = Spent()
    for response in responses:
        spent = spent.plus(response)
    return spent
