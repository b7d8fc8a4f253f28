"""What an admitted call has taken of the limits. Pure (R14)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, final

import attrs

from ..permit import DIMENSIONS
from ..responses import Usage
from .limits import Cost

if TYPE_CHECKING:
    from .scope import LimitScope

_, _INPUT, _OUTPUT, _TOKENS, _USD = range(len(DIMENSIONS))


@final
@attrs.define(eq=False)
class Reservation:
    """What an admitted call has taken of the limits. Only the limiter reads it.

    Args:
        scope: the scope of the call.
        cost: how much it has taken of each dimension, corrections included.
        since: when it was admitted.
        mark: the totals of its scope at that time, this call included.
        is_first: whether it belongs to the first attempt, and not to a renewal.
        member: the member of a pool that it is for; "" without a pool.
        model: the model of its call, in a pool.
    """

    scope: "LimitScope"
    cost: Cost
    since: float
    mark: Sequence[float]
    is_first: bool = True
    member: str = ""
    model: str = ""

    def used(
        self,
        usage: Usage,
        usd: float | None,
        uncounted: int,
        *,
        charge: Literal["max", "sum", "used"],
    ) -> Mapping[int, float]:
        """Return the actual amount of each dimension that is known, by its index in `Cost`.

        Args:
            usage: the tokens that the provider reports.
            usd: the cost in USD; None if it is not known.
            uncounted: tokens of the prompt that do not count, such as those from a prompt cache.
            charge: what the provider counts as tokens; see `Limits.token_charge`.
        """
        prompt = max(0.0, float(usage.input_tokens - uncounted))
        actual = {_INPUT: prompt, _OUTPUT: float(usage.output_tokens)}
        if charge == "used":
            actual[_TOKENS] = prompt + usage.output_tokens
        elif uncounted:
            actual[_TOKENS] = max(0.0, self.cost.tokens - uncounted)
        if usd is not None:
            actual[_USD] = usd
        return actual
