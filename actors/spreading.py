"""What one call took, spread over those it was made for. Pure (R14)."""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from .batching.shares import split_cost, split_count, split_usage
from .batching.strategy import Strategy
from .messages import Request, Response, Usage
from .parts import Part, Spent

__all__ = ["free_of_charge", "join_pieces", "share_out"]


def free_of_charge(response: Response) -> Response:
    """The answer for one who joined: whoever was first bears what it took."""
    return attrs.evolve(
        response,
        usage=Usage(),
        cost_usd=Decimal(0),
        http_requests=0,
        maybe_billed=0,
        seconds=0.0,
        route="joined",
    )


def join_pieces(strategy: Strategy, request: Request, answers: Sequence[Response]) -> Response:
    """The answer of a request that was sent in pieces, and what all of them took."""
    spent = Spent()
    for answer in answers:
        spent = spent.plus(answer)
    joined = attrs.evolve(
        strategy.join(request, answers),
        usage=Usage(),
        cost_usd=Decimal(0),
        http_requests=0,
        maybe_billed=0,
    )
    return spent.on(joined)


def share_out(
    strategy: Strategy,
    parts: Sequence[Part],
    answers: Sequence[Response | None],
    response: Response,
) -> list[Response]:
    """What each part bears of a call: tokens by what it has sent and was answered."""
    sent = [sum(map(len, strategy.texts(part.request))) for part in parts]
    got = [0 if answer is None else _length(answer) for answer in answers]
    usages = split_usage(response.usage, sent, got)
    costs = split_cost(response.cost_usd, [usage.total_tokens for usage in usages])
    requests = split_count(response.http_requests, [1] + [0] * (len(parts) - 1))
    maybes = split_count(response.maybe_billed, [1] + [0] * (len(parts) - 1))
    name = strategy.name
    route = name if response.route == "live" else f"{name}+{response.route}"
    return [
        attrs.evolve(
            response,
            usage=usage,
            cost_usd=cost,
            http_requests=http_requests,
            maybe_billed=maybe,
            route=route,
        )
        for usage, cost, http_requests, maybe in zip(usages, costs, requests, maybes, strict=True)
    ]


def _length(answer: Response) -> int:
    return sum(len(choice.text) for choice in answer.choices) + len(answer.embeddings)
