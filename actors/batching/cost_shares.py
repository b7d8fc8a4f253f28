"""Divides usage and cost of one call among its members, so that the sums are exact. Pure (R14)."""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from ..responses import Response, Usage
from .members import BatchMember
from .strategy import BatchStrategy

_SMALLEST = Decimal("1e-12")  # USD; the first member gets the remainder


def split_count(whole: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights.

    Uses the largest remainder (Hamilton's method): each gets its share rounded down, and the
    rest goes to those that lost most by rounding.

    Args:
        whole: the sum of the result.
        weights: one a share; equal shares if all are 0.
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
    """Divide the tokens of a call among its members.

    Args:
        usage: tokens of the call.
        inputs: characters of each member's prompt.
        outputs: size of each member's response: characters, or vectors of an embedding.
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
    """Divide a cost in USD in proportion to weights; every share of None is None."""
    if cost is None:
        return [None] * len(weights)
    units = int(cost / _SMALLEST)
    shares = [count * _SMALLEST for count in split_count(units, weights)]
    shares[0] += cost - sum(shares)
    return list(shares)


def free_of_charge(response: Response) -> Response:
    """Return the response for a caller that joined a call: the first caller bears the cost."""
    return attrs.evolve(
        response,
        usage=Usage(),
        cost_usd=Decimal(0),
        http_requests=0,
        maybe_billed=0,
        seconds=0.0,
        route="joined",
    )


def share_out(
    strategy: BatchStrategy,
    members: Sequence[BatchMember],
    responses: Sequence[Response | None],
    response: Response,
) -> list[Response]:
    """Return copies of a combined response, each with one member's share of usage and cost.

    Input tokens are divided by the size of the prompts, output tokens by that of the responses.

    Args:
        strategy: combined the call.
        members: the members of the call.
        responses: the response of each member; None for a member without one.
        response: the response of the call.
    """
    sent = [sum(map(len, strategy.texts(member.request))) for member in members]
    received = [0 if own is None else _length(own) for own in responses]
    usages = split_usage(response.usage, sent, received)
    tokens = [usage.total_tokens for usage in usages]
    costs, reported, listed = (
        split_cost(cost, tokens)
        for cost in (response.cost_usd, response.reported_cost_usd, response.listed_cost_usd)
    )
    requests = split_count(response.http_requests, [1] + [0] * (len(members) - 1))
    maybes = split_count(response.maybe_billed, [1] + [0] * (len(members) - 1))
    name = strategy.name
    route = name if response.route == "live" else f"{name}+{response.route}"
    return [
        attrs.evolve(
            response,
            usage=usage,
            cost_usd=cost,
            reported_cost_usd=its_reported,
            listed_cost_usd=its_listed,
            http_requests=http_requests,
            maybe_billed=maybe,
            route=route,
        )
        for usage, cost, its_reported, its_listed, http_requests, maybe in zip(
            usages, costs, reported, listed, requests, maybes, strict=True
        )
    ]


def _length(response: Response) -> int:
    return sum(len(choice.text) for choice in response.choices) + len(response.embeddings)
