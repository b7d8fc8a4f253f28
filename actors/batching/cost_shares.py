"""What one call took, spread over those it was made for. Pure (R14).

Splitting what one call took among those it was made for, exactly. Pure (R14).
"""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from ..messages import Request, Response, Usage
from .members import BatchMember, Spent
from .strategy import BatchStrategy

__all__ = [
    "free_of_charge",
    "join_pieces",
    "share_out",
    "split_cost",
    "split_count",
    "split_usage",
]


_SMALLEST = Decimal("1e-12")  # USD; whatever is left over is the first one's


def split_count(whole: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights, whose sum is `whole`.

    By the largest remainder (Hamilton's method): each gets its share rounded down, and what is
    left goes to those that lost most by rounding.
    """
    if not any(weights):
        weights = [1] * len(weights)
    total = sum(weights)
    found = [whole * weight // total for weight in weights]
    left = whole - sum(found)
    by_loss = sorted(range(len(found)), key=lambda at: -(whole * weights[at] % total))
    for at in by_loss[:left]:
        found[at] += 1
    return found


def split_usage(usage: Usage, inputs: Sequence[int], outputs: Sequence[int]) -> list[Usage]:
    """The tokens of each.

    Args:
        usage: of the call.
        inputs: how much each has sent.
        outputs: how much each was answered.
    """
    by_field = {
        name: split_count(getattr(usage, name), outputs if name in _OUTPUTS else inputs)
        for name in attrs.fields_dict(Usage)
    }
    return [
        Usage(**{name: counts[at] for name, counts in by_field.items()})
        for at in range(len(inputs))
    ]


_OUTPUTS = ("output_tokens", "reasoning_tokens")


def split_cost(cost: Decimal | None, weights: Sequence[int]) -> list[Decimal | None]:
    """USD in proportion to the weights; the sum is exact. Unknown stays unknown."""
    if cost is None:
        return [None] * len(weights)
    units = int(cost / _SMALLEST)
    shares = [count * _SMALLEST for count in split_count(units, weights)]
    shares[0] += cost - sum(shares)
    return list(shares)


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


def join_pieces(strategy: BatchStrategy, request: Request, answers: Sequence[Response]) -> Response:
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
    strategy: BatchStrategy,
    parts: Sequence[BatchMember],
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
