"""What a combined call costs, compared with a call for each of its requests. Pure (R14)."""

import json
from collections.abc import Callable, Sequence
from typing import final

import attrs

from ..messages import Request
from ..rate_limit import TokenEstimator
from ..responses import Usage
from ..vendors import PriceBook
from .agreement import CheckPlan
from .strategy import BatchStrategy

_AROUND = 6  # output tokens around all answers of a combined response
_USUAL_RATIO = 8.0  # an output token costs 4 to 8 times as much as one of input at most vendors
_SAMPLE = 11  # items; enough that rounding their tokens does not matter
_MANY = 1000  # members of a call without a limit of its own


@final
class CombinedCost:
    """Compares the cost of one call for several requests of a group with that of a call each.

    All costs are in prompt tokens: an output token counts as many as it costs.

    Args:
        strategy: combines the requests of the group.
        checks: the plan of the checks, whose cost is part of that of a combined call.
        estimator: estimates the tokens of requests.
        prices: prices of models; None if they are not known.
        beginning_share: returns what so many tokens cost at the beginning of prompts to a model, as
            a share of the price of input, where the provider caches them; None for all of it.
    """

    def __init__(
        self,
        strategy: BatchStrategy,
        checks: CheckPlan,
        estimator: TokenEstimator,
        prices: PriceBook | None = None,
        beginning_share: Callable[[Request, int], float] | None = None,
    ) -> None:
        self._strategy = strategy
        self._checks = checks
        self._estimator = estimator
        self._prices = prices
        self._beginning_share = beginning_share
        self._overhead: _Overhead | None = None

    def learn(self, combined: Request, members: int, usage: Usage) -> None:
        """Learn how long a prompt and the response to one member are.

        Args:
            combined: the request of a combined call.
            members: the number of its members.
            usage: the tokens that the call took.
        """
        if not combined.inputs:  # of these the estimator knows the number of responses
            usage = attrs.evolve(usage, output_tokens=usage.output_tokens // members)
        self._estimator.learn(combined, self._estimator.estimate(combined), usage)
        self._overhead = None  # measured again at the next request

    def share(self, requests: Sequence[Request]) -> float:
        """Return the cost of a combined call with its checks, divided by that of a call each.

        Below 1 the combined call is cheaper. It is 0 if the form of a response costs nothing.

        Args:
            requests: at least one; all have the same key.
        """
        return self._share(requests[0], len(requests), sum(map(self._texts, requests)))

    def prompt_share(self, requests: Sequence[Request]) -> float:
        """Return the prompt tokens of a combined call, divided by those of a call each.

        Args:
            requests: at least one; all have the same key.
        """
        combined = self._prompt(self._strategy.combine(requests))
        return combined / max(1, sum(map(self._prompt, requests)))

    def full_share(self, request: Request) -> float:
        """Return `share` of a full call whose requests are all as long as this one.

        Args:
            request: one of its requests.
        """
        texts, most = self._texts(request), self._strategy.bounds_for(request)
        members = most.max_size or _MANY
        if most.max_tokens is not None:
            members = min(members, most.max_tokens // max(1, texts))
        members = max(1, members)
        return self._share(request, members, members * texts)

    def _share(self, request: Request, members: int, texts: int) -> float:
        form = self._strategy.form_tokens(request)
        if form is None:
            return 0.0
        if self._overhead is None:
            self._overhead = self._measure(request)
        over, price = self._overhead, self._output_price(request.model)
        answers = price * members * self._estimator.estimate(request).output_tokens
        alone = members * self._beginning(request, over.alone) + texts + answers
        combined = self._beginning(request, over.fixed) + members * over.member + texts + answers
        combined += price * (_AROUND + members * form)
        return combined / max(1.0, alone) + self._checks.share_of(members)

    def _beginning(self, request: Request, tokens: float) -> float:
        """Return what the tokens cost that the prompts of calls share, once they are cached."""
        if self._beginning_share is None:
            return tokens
        return tokens * self._beginning_share(request, int(tokens))

    def _measure(self, request: Request) -> "_Overhead":
        combine, texts = self._strategy.combine, self._texts(request)
        one, many = (self._prompt(combine([request] * count)) for count in (1, _SAMPLE))
        each = (many - one) / (_SAMPLE - 1)
        return _Overhead(self._prompt(request) - texts, one - each, each - texts)

    def _texts(self, request: Request) -> int:
        tokens = self._estimator.tokens
        return sum(tokens(request.model, text) for text in self._strategy.texts(request))

    def _prompt(self, request: Request) -> int:
        """Return the tokens of a prompt. The schema is part of it: vendors bill it as input."""
        tokens = self._estimator.estimate(request).input_tokens
        if (output := request.output_schema) is not None:
            tokens += self._estimator.tokens(request.model, json.dumps(dict(output.schema)))
        return tokens

    def _output_price(self, model: str) -> float:
        """Return the price of an output token in prompt tokens; the usual one of free models."""
        price = None if self._prices is None else self._prices.price(model)
        usual = None if price is None else price.at()
        if usual is None or not usual.input:
            return _USUAL_RATIO
        return float(usual.output / usual.input)


@attrs.frozen
class _Overhead:
    """Prompt tokens besides the texts of requests.

    Args:
        alone: tokens of a single call.
        fixed: tokens of a combined call, however many requests it has.
        member: tokens of a combined call for each request.
    """

    alone: float
    fixed: float
    member: float
