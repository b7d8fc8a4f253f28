"""What one may use: so much of what, in which time."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

import attrs
from attrs.validators import deep_iterable, deep_mapping, ge, gt, in_, instance_of, optional

from ..messages import Request
from ..permit import DIMENSIONS, Dimension
from .estimator import Estimate, tokens_besides
from .lanes import Lane

__all__ = [
    "ENFORCED_IN_PARTS_S",
    "Cost",
    "Impossible",
    "Limits",
    "Rate",
    "TooLate",
]


ENFORCED_IN_PARTS_S = 60.0
"""Limits of as many seconds or less may be enforced over shorter spans than they say."""

_CHARS_PER_TOKEN = 4
_SPANS = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}


class Cost(NamedTuple):
    """What one call takes of each dimension, in their order."""

    requests: float = 1.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    tokens: float = 0.0
    usd: float = 0.0


class Impossible(ValueError):
    """The call takes more than all of a limit; the text names the dimension."""


class TooLate(ValueError):
    """The limits leave no room for the call before its deadline; the text says what is in the way.

    Args:
        message: the same.
        wait_s: the least seconds that it would wait.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


_MINUTE_S = 60.0


@attrs.frozen
class Rate:
    """So much in so many seconds, refilled continuously.

    Args:
        dimension: of what.
        amount: how much; USD for "usd".
        per_s: in how many seconds; 60 is a minute.
        burst_s: how many seconds' worth may go at once; None for that of the `Limits`, or for all
            of it if it is for more than a minute: what is for a day may be used in the morning.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    dimension: Dimension = attrs.field(validator=in_(DIMENSIONS))
    amount: float = attrs.field(validator=gt(0))
    per_s: float = attrs.field(default=60.0, validator=gt(0))
    burst_s: float | None = attrs.field(default=None, validator=optional(ge(0)), kw_only=True)

    @property
    def index(self) -> int:
        """Where a `Cost` has it."""
        return DIMENSIONS.index(self.dimension)

    def __str__(self) -> str:
        name = self.dimension.replace("_", " ").replace("usd", "USD")
        return f"{self.amount:g} {name} {_SPANS.get(self.per_s, f'in {self.per_s:g} s')}"


def _requests(rpm: float) -> Rate:
    """Less than one a minute is one in more than a minute: half a request cannot be sent."""
    if rpm >= 1:
        return Rate("requests", rpm)
    return Rate("requests", 1.0, _MINUTE_S / rpm, burst_s=0.0)


def _only_rates(_: object, __: object, limits: object) -> None:
    if not isinstance(limits, Limits):
        raise TypeError(f"models must map names to Limits, not to {limits!r:.60}")
    if limits.models or limits.lanes:
        raise ValueError("the limits in models can have neither models nor lanes of their own")


@attrs.frozen(kw_only=True)
class Limits:
    """What the provider allows, or what one wants to use of it.

    All of it counts at once: a call goes when every limit that concerns it allows it, and then all
    are debited together.

    Args:
        rpm: requests a minute; None for no limit.
        tpm: tokens a minute; None for no limit.
        in_flight: requests under way at a time.
        rates: further limits, of any dimension and time.
        models: further limits of a model, or of all models whose names fit a pattern ("gpt-4o*")
            together; the first that fits counts.
        burst_s: how many seconds' worth of a limit may go at once. Providers may enforce 60 a
            minute as 1 a second, so a minute's worth at once can be refused.
        token_charge: what the provider counts as "tokens": at admission the "max" of prompt and
            `max_tokens` (OpenAI's documented rule) or their "sum", or in the end what was "used".
        learn: take up the limits that the provider's answers tell.
        find: begin slowly and go faster until the provider refuses, where no limit is known;
            without it calls go as fast as they come until the first refusal.
        lanes: weight and priority of lanes, by name; those that are not named have weight 1.
        ageing_s: seconds that one step of priority is worth.

    Raises:
        ValueError, TypeError: a value is out of its range; the message names it.
    """

    rpm: float | None = attrs.field(default=None, validator=optional(gt(0)))
    tpm: float | None = attrs.field(default=None, validator=optional(gt(0)))
    in_flight: int = attrs.field(default=100, validator=[instance_of(int), ge(1)])
    rates: tuple[Rate, ...] = attrs.field(
        default=(), converter=tuple[Rate, ...], validator=deep_iterable(instance_of(Rate))
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
        """`rpm`, `tpm` and `rates`, each with a burst."""
        usual: list[Rate] = []
        if self.rpm is not None:
            usual.append(_requests(self.rpm))
        if self.tpm is not None:
            usual.append(Rate("tokens", self.tpm))
        return tuple(map(self._with_burst, (*usual, *self.rates)))

    def _with_burst(self, rate: Rate) -> Rate:
        if rate.burst_s is not None:
            return rate
        is_short = rate.per_s <= ENFORCED_IN_PARTS_S
        return attrs.evolve(rate, burst_s=self.burst_s if is_short else rate.per_s)

    @property
    def counts_usd(self) -> bool:
        """Whether any limit is one of USD."""
        every = (self, *self.models.values())
        return any(rate.dimension == "usd" for limits in every for rate in limits.rates)

    def group_of(self, model: str) -> tuple[str, "Limits | None"]:
        """The name of the limits that a model has for itself, or with others, and these limits."""
        for pattern, limits in self.models.items():
            if fnmatchcase(model, pattern):
                return pattern, limits
        return model, None

    def lane(self, name: str) -> Lane:
        """The settings of a lane."""
        return self.lanes.get(name) or _USUAL

    def cost(self, request: Request, estimate: Estimate, usd: float = 0.0) -> Cost:
        """What a call takes, as far as one can say beforehand.

        Args:
            request: the call.
            estimate: its tokens.
            usd: what it will cost.
        """
        limit = _allowed_output(request)
        if self.token_charge == "used":  # noqa: S105  # no password
            tokens = estimate.input_tokens + estimate.output_tokens
        else:
            # The provider's own rule has nothing of what was learned: four characters a token.
            prompt = max(_counted_prompt(request), 0)
            tokens = prompt + limit if self.token_charge == "sum" else max(prompt, limit)  # noqa: S105
        return Cost(1.0, estimate.input_tokens, estimate.output_tokens, tokens, usd)


_USUAL = Lane()


def _counted_prompt(request: Request) -> int:
    """A prompt's tokens as providers reckon before they have counted them."""
    turns = sum(
        -(-len(turn.content) // _CHARS_PER_TOKEN) + tokens_besides(turn)
        for turn in request.messages
    )
    return turns + sum(-(-len(text) // _CHARS_PER_TOKEN) for text in request.inputs)


def _allowed_output(request: Request) -> int:
    """The most tokens that the answers may have, as the request says; 0 if it does not."""
    most = request.max_tokens
    if most is None:
        said = request.extra_body.get("max_completion_tokens", request.extra_body.get("max_tokens"))
        most = said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else 0
    answers = request.extra_body.get("n")
    several = answers if isinstance(answers, int) and answers > 1 else request.n
    return most * several * max(1, len(request.inputs))
