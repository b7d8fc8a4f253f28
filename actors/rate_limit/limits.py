"""The limits of calls: rates of requests, tokens and USD, calls in flight, lanes."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import inf
from typing import Literal, NamedTuple, final

import attrs
from attrs.validators import optional

from ..messages import Request
from ..permit import DIMENSIONS, Dimension
from ..responses import Usage
from ..validation import deep_iterable, deep_mapping, ge, gt, in_, instance_of, listed
from .estimator import Estimate, tokens_besides, tokens_of_tools
from .lane_queue import Lane, Waiting

ENFORCED_IN_PARTS_S = 60.0
"""Seconds; providers may enforce a limit with a period up to this over shorter spans."""

_CHARS_PER_TOKEN = 4
_SPANS = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}


class Cost(NamedTuple):
    """What one call takes of each dimension, in the order of `DIMENSIONS`.

    Args:
        requests: number of requests.
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the response.
        tokens: tokens that the provider counts for prompt and response together.
        usd: cost in USD.
    """

    requests: float = 1.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    tokens: float = 0.0
    usd: float = 0.0


@attrs.frozen
class PermitRequest:
    """A request for a permit.

    Args:
        model: the model of the call.
        cost: what the call takes of each dimension, by estimate.
        lane: the lane that it waits in.
        deadline: time after which it must not be admitted, in seconds of the limiter's clock.
        came: when an earlier copy of the call came, whose place it takes; None without one.
    """

    model: str
    cost: Cost
    lane: str = ""
    deadline: float = inf
    came: float | None = None

    def came_at(self, now: float) -> float:
        """Return the time that decides its place in its lane.

        Args:
            now: the current time.
        """
        return now if self.came is None else min(self.came, now)


@final
@attrs.define(eq=False)
class QueuedCall:
    """A call or renewal that waits.

    Args:
        waiting: what the caller of the limiter has pushed.
        request: what it needs.
    """

    waiting: Waiting
    request: PermitRequest

    @property
    def done(self) -> bool:
        """Whether it was given up."""
        return self.waiting.done


class Impossible(ValueError):
    """A call takes more than a whole limit; the text names the limit."""


class TooLate(ValueError):
    """A call cannot be admitted before its deadline.

    Args:
        message: the text, which names the limit.
        wait_s: how long the call would wait at least, in seconds.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


_MINUTE_S = 60.0


@attrs.frozen
class Rate:
    """One limit: an amount in a period, refilled continuously.

    Args:
        dimension: what it limits: "requests", "input_tokens", "output_tokens", "tokens" (of prompt
            and response together) or "usd".
        amount: requests, tokens or USD in a period; above 0.
        per_s: the period, in seconds; 60 is a minute.
        burst_s: how much may be used at once, in seconds of the rate. None takes `Limits.burst_s`
            for a period of up to a minute, and the whole amount for a longer one: the limit of a
            day may be used up in the morning.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    dimension: Dimension = attrs.field(validator=in_(DIMENSIONS))
    amount: float = attrs.field(validator=gt(0))
    per_s: float = attrs.field(default=60.0, validator=gt(0))
    burst_s: float | None = attrs.field(default=None, validator=optional(ge(0)), kw_only=True)

    @property
    def index(self) -> int:
        """The index of the dimension in `Cost`."""
        return DIMENSIONS.index(self.dimension)

    def __str__(self) -> str:
        name = self.dimension.replace("_", " ").replace("usd", "USD")
        return f"{self.amount:g} {name} {_SPANS.get(self.per_s, f'in {self.per_s:g} s')}"


def _requests(rpm: float) -> Rate:
    """Return a limit of requests; below one a minute it is one in a longer period."""
    if rpm >= 1:
        return Rate("requests", rpm)
    return Rate("requests", 1.0, _MINUTE_S / rpm, burst_s=0.0)


def _rates(value: Iterable[Rate]) -> tuple[Rate, ...]:
    return listed(value, "rates")


def _only_rates(_: object, __: object, limits: object) -> None:
    if not isinstance(limits, Limits):
        raise TypeError(f"models must map names to Limits, not to {limits!r:.60}")
    if limits.models or limits.lanes:
        raise ValueError("the limits in models can have neither models nor lanes of their own")


@attrs.frozen(kw_only=True)
class Limits:
    """The limits that the provider sets, or the part of them that may be used.

    All limits apply together: a call is admitted when every limit that applies to it allows it,
    and then all of them are debited.

    Args:
        rpm: requests a minute; None for no limit.
        tpm: tokens a minute; None for no limit.
        in_flight: the most calls in flight at a time.
        rates: further limits, of any dimension and period.
        models: additional limits of one model, or of all models together whose names match a
            pattern such as "gpt-4o*". The first pattern that matches applies.
        burst_s: how much of a limit may be used at once, in seconds of its rate. Providers may
            enforce 60 requests a minute as 1 a second, so that 60 at once would be refused.
        token_charge: what the provider counts as "tokens": when the call is admitted, the "max" of
            prompt and `max_tokens` (OpenAI's documented rule) or their "sum"; or, when it has
            ended, the tokens that were "used".
        learn: apply the limits that the provider's responses report.
        find: where no limit is known, begin slowly and speed up until the provider refuses a call.
            Without it, calls are sent without delay until the first refusal.
        lanes: weight and priority of lanes, by name. Other lanes have weight 1 and priority 0.
        ageing_s: head start of one step of priority, in seconds.

    Raises:
        ValueError: a value is out of its range; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    rpm: float | None = attrs.field(default=None, validator=optional(gt(0)))
    tpm: float | None = attrs.field(default=None, validator=optional(gt(0)))
    in_flight: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    rates: tuple[Rate, ...] = attrs.field(
        default=(), converter=_rates, validator=deep_iterable(instance_of(Rate))
    )
    models: Mapping[str, "Limits"] = attrs.field(
        factory=dict[str, "Limits"], validator=deep_mapping(instance_of(str), _only_rates)
    )
    burst_s: float = attrs.field(default=1.0, validator=ge(0))
    token_charge: Literal["max", "sum", "used"] = attrs.field(
        default="max", validator=in_(("max", "sum", "used"))
    )
    learn: bool = attrs.field(default=True, validator=instance_of(bool))
    find: bool = attrs.field(default=False, validator=instance_of(bool))
    lanes: Mapping[str, Lane] = attrs.field(
        factory=dict[str, Lane],
        validator=deep_mapping(instance_of(str), instance_of(Lane)),
    )
    ageing_s: float = attrs.field(default=30.0, validator=gt(0))

    @property
    def all_rates(self) -> tuple[Rate, ...]:
        """`rpm`, `tpm` and `rates` as rates, each with a burst."""
        found: list[Rate] = []
        if self.rpm is not None:
            found.append(_requests(self.rpm))
        if self.tpm is not None:
            found.append(Rate("tokens", self.tpm))
        return tuple(map(self._with_burst, (*found, *self.rates)))

    def _with_burst(self, rate: Rate) -> Rate:
        if rate.burst_s is not None:
            return rate
        is_short = rate.per_s <= ENFORCED_IN_PARTS_S
        return attrs.evolve(rate, burst_s=self.burst_s if is_short else rate.per_s)

    @property
    def counts_usd(self) -> bool:
        """Whether any limit is in USD."""
        every = (self, *self.models.values())
        return any(rate.dimension == "usd" for limits in every for rate in limits.rates)

    def group_of(self, model: str) -> tuple[str, "Limits | None"]:
        """Return the first pattern in `models` that matches a model, and its limits.

        Args:
            model: the provider's name of the model.

        Returns:
            The pattern and its limits; the model itself and None if none matches.
        """
        for pattern, limits in self.models.items():
            if fnmatchcase(model, pattern):
                return pattern, limits
        return model, None

    def differs_by_lanes(self, other: "Limits") -> bool:
        """Return whether nothing but lanes and their head start differs.

        Args:
            other: the limits that it is compared with.
        """
        return all(
            getattr(self, field.name) == getattr(other, field.name)
            for field in attrs.fields(Limits)
            if field.name not in ("lanes", "ageing_s")
        )

    def lane(self, name: str) -> Lane:
        """Return weight and priority of a lane.

        Args:
            name: name of the lane.
        """
        return self.lanes.get(name) or _USUAL_LANE

    def cost(self, request: Request, estimate: Estimate, usd: float = 0.0) -> Cost:
        """Return what a call takes of each dimension, by estimate.

        Args:
            request: the request of the call.
            estimate: its estimated tokens.
            usd: its estimated cost in USD.
        """
        limit = _allowed_output(request)
        if self.token_charge == "used":  # noqa: S105  # no password
            tokens = estimate.input_tokens + estimate.output_tokens
        else:
            # The provider's rule does not use learned values: four characters a token.
            prompt = max(_counted_prompt(request), 0)
            tokens = prompt + limit if self.token_charge == "sum" else max(prompt, limit)  # noqa: S105
        return Cost(1.0, estimate.input_tokens, estimate.output_tokens, tokens, usd)

    def used(self, cost: Cost, usage: Usage, usd: float | None, uncounted: int) -> Cost:
        """Return what a call has taken of each dimension, as far as it is known.

        Args:
            cost: what it has reserved.
            usage: the tokens that the provider reports.
            usd: its cost in USD; None if it is not known.
            uncounted: tokens of the prompt that do not count, such as those from a prompt cache.
        """
        prompt = max(0.0, float(usage.input_tokens - uncounted))
        tokens = cost.tokens
        if self.token_charge == "used":  # noqa: S105  # no password
            tokens = prompt + usage.output_tokens
        elif uncounted:
            tokens = max(0.0, tokens - uncounted)
        output = float(usage.output_tokens)
        return Cost(cost.requests, prompt, output, tokens, cost.usd if usd is None else usd)


_USUAL_LANE = Lane()
# Members of `extra_body` that limit a response.
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def _counted_prompt(request: Request) -> int:
    """Return the tokens of a prompt by the rule that providers apply at admission."""
    tokens = tokens_of_tools(request)
    for message in request.messages:
        tokens += -(-len(message.content) // _CHARS_PER_TOKEN) + tokens_besides(message)
    for text in request.inputs:
        tokens += -(-len(text) // _CHARS_PER_TOKEN)
    return tokens


def _allowed_output(request: Request) -> int:
    """Return the most output tokens that a request allows; 0 if it sets no limit."""
    most = request.max_tokens
    extra = request.extra_body
    if most is None:
        value = next((extra[name] for name in _LIMITS if name in extra), None)
        most = value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
    n = extra.get("n")
    choices = n if isinstance(n, int) and n > 1 else request.n
    return most * choices * max(1, len(request.inputs))
