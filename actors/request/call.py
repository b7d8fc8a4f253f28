"""One whole call: fallback over targets, delivery to the caller, and the response with its cost."""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Protocol, final

import attrs
import trio

from ..calls import Complete, Stream
from ..errors import BadRequest, CallFailed, ProviderUnavailable
from ..events import stages_of
from ..ledger import MOST_USD, asked_tier, judge_usage, listed_usd
from ..responses import Delta, Response, StreamPiece, Usage
from ..vendors import tier_named
from .context import CallProgress, RequestContext
from .exchange import Exchanged
from .failures import AttemptFailed
from .fallback import Target
from .retry import RetryBudget

_FAR = 4  # times the listed cost, or a part of it: the hosts of one model differ less


class TargetLayer(Protocol):
    """Sends a call to one target, with as many attempts as that takes. `RetryingTarget` does."""

    def is_out(self) -> bool:
        """Whether a call would wait for the target's circuit breaker."""
        ...

    async def send(self, call: CallProgress) -> Exchanged:
        """Send the call to this target. While its circuit breaker is open, it waits.

        Args:
            call: the call and its state.

        Raises:
            AttemptFailed: there is no response from this target.
        """
        ...


@final
class CallRunner:
    """Make calls: each tries one target after another within its own retry budget (L2).

    Args:
        shared: what all calls of the actor share.
        targets: sends a call to each target of `shared.fallback`.
    """

    def __init__(self, shared: RequestContext, targets: Mapping[Target, TargetLayer]) -> None:
        self._shared = shared
        self._targets = targets
        self._observed = stages_of(shared.observer)

    async def run(
        self,
        message: Complete | Stream,
        *,
        deadline: Callable[[], float],
        deliver: Callable[[StreamPiece], Awaitable[None]] | None = None,
        deliver_now: Callable[[StreamPiece], bool] | None = None,
        wants_events: bool = False,
    ) -> Response:
        """Make one call.

        Args:
            message: the request, and whom it is for.
            deadline: returns the deadline on Trio's clock, in seconds; it can move meanwhile (R4).
            deliver: receives each piece of the response; None if the caller wants only the whole.
            deliver_now: receives a piece without waiting; see `CallProgress`.
            wants_events: whether the pieces are the provider's own events, where there are any.

        Raises:
            CallFailed: there is no response; the subclass states why.
        """
        shared = self._shared
        call = CallProgress(
            message=message,
            deadline=deadline,
            budget=RetryBudget(shared.retry, trio.current_time(), shared.throttle),
            idempotency_key=message.request.idempotency_key
            or f"{shared.random.getrandbits(128):032x}",
            observer=shared.observer,
            observed=self._observed,
            deliver=deliver,
            deliver_now=deliver_now,
            wants_events=wants_events,
        )
        try:
            exchanged, target = await self._over_targets(call)
        except AttemptFailed as failure:
            error, cause = failure.error, failure.__cause__
            may_repeat = not failure.is_final and call.may_repeat(error)
        else:
            if deliver is not None and not call.has_delivered:  # the response was not streamed
                for index, choice in enumerate(exchanged.response.choices):
                    await call.deliver_piece(Delta.whole(choice, index))
            return self._response(call, exchanged, self._shared.fallback.number(target))
        error.attempts, error.maybe_billed = call.sent, call.maybe_billed
        if message.permit is not None:
            error.queued_s = message.permit.queued_s
        error.is_transient = may_repeat and error.billed == "no"
        if call.maybe_billed:  # one attempt is enough (L3)
            error.billed = "maybe"
        try:
            raise error from cause  # outside the handler: its context may quote the key (L8)
        finally:
            del error, cause  # else they, their tracebacks and this frame are a reference cycle

    async def _over_targets(self, call: CallProgress) -> tuple[Exchanged, Target]:
        """Try one target after another; return the response, and which target it is from.

        Raises:
            AttemptFailed: no target has a response. The error is that of the last one that can
                express the request.
        """
        fallback = self._shared.fallback
        target, passed = fallback.first, None  # passed: why the target before did not serve it
        while True:
            layer = self._targets[target]
            if layer.is_out():
                following = fallback.after(target, "breaker_open", left_s=call.left_s)
                if following is not None:
                    passed = passed or _passed_by(target)
                    target = following
                    continue
            try:
                return await layer.send(call), target
            except AttemptFailed as failure:
                if passed is not None and _has_no_words(failure.error):
                    following = fallback.after(target, "breaker_open", left_s=call.left_s)
                    if following is None:
                        why = f"its fallback cannot serve the call: {failure.error}"
                        raise attrs.evolve(passed, error=passed.error.but(why)) from None
                    target = following
                    continue
                following = self._shared.next_target(target, failure.error, call)
                if following is None or not call.budget.take("fallback", trio.current_time()):
                    raise
                call.report("retrying", failure.error)
                target, passed = following, failure

    def _response(self, call: CallProgress, exchanged: Exchanged, fallback: int) -> Response:
        """Put the response together; its cost settles the permit and the account."""
        decoded, request = exchanged.response, exchanged.request
        asked = request.model
        if asked == exchanged.deployment:  # another name for the model that the caller names
            asked = call.message.request.model
        model = decoded.model or asked
        if model == exchanged.deployment:
            model = asked
        judged = judge_usage(decoded.usage, request, decoded.usage_doubt, decoded.choices)
        usage = judged.usage or Usage()
        tier = tier_named(asked_tier(request) if decoded.tier is None else decoded.tier)
        listed = None  # unknown without the tokens (L13)
        if judged.usage is not None:
            prices = self._shared.prices.at_vendor(exchanged.vendor.price_list)
            listed = listed_usd(prices, request, usage, tier, model=model, asked=asked)
            listed = None if listed is None else listed + decoded.beside_usd
        reported = decoded.reported_cost_usd
        is_believed = (
            reported is not None
            and exchanged.vendor.reports_cost
            and judged.is_plausible
            and reported < MOST_USD
        )
        cost = reported if is_believed else listed
        doubts = [judged.doubt]
        if exchanged.vendor.reports_cost and reported is not None:
            doubts.append(_doubt_of_cost(reported, listed, is_believed=is_believed))
        permit, account = call.message.permit, call.message.account
        known = judged.usage if judged.is_plausible else None  # else the estimate stays
        if (use := call.message.cache_use) is not None:
            use.ended(exchanged.label, request.model, known)
        if permit is not None:
            usd = None if cost is None else float(cost)
            is_free = known is not None and not exchanged.vendor.counts_cached_tokens
            uncounted = usage.cached_tokens if is_free else 0
            permit.settle(known, usd, exchanged.first_byte_s, uncounted_tokens=uncounted)
        first = decoded.choices[0] if decoded.choices else None
        response = Response(
            text="" if first is None else first.text,
            model=model,
            finish_reason=None if first is None else first.finish_reason,
            usage=usage,
            usage_doubt="; ".join(filter(None, doubts)),
            cost_usd=cost,
            reported_cost_usd=reported,
            listed_cost_usd=listed,
            http_requests=call.sent,
            seconds=exchanged.seconds,
            choices=decoded.choices,
            embeddings=decoded.embeddings,
            first_byte_s=exchanged.first_byte_s,
            maybe_billed=call.maybe_billed,
            queued_s=0.0 if permit is None else permit.queued_s,
            host=exchanged.host,
            key_name=exchanged.key_name,
            fallback=fallback,
            tier=tier,
            body=decoded.body,
            is_assembled=decoded.is_assembled,
            request_id=exchanged.request_id,
        )
        if account is not None:
            account.response = response
        return response


def _passed_by(target: Target) -> AttemptFailed:
    """Return why a target with an open circuit breaker does not serve a call."""
    text = f"nothing was sent to {target.endpoint.label}, because it keeps failing"
    return AttemptFailed(ProviderUnavailable(text))


def _has_no_words(error: CallFailed) -> bool:
    """Whether the format of a target cannot express the request, so that nothing was sent."""
    return isinstance(error, BadRequest) and error.status is None


def _doubt_of_cost(reported: Decimal, listed: Decimal | None, *, is_believed: bool) -> str:
    """Return what is wrong with a cost that a provider reports; "" for nothing."""
    if not is_believed:
        return f"the reported cost of ${reported} is not believed"
    if listed is not None and not listed / _FAR <= reported <= listed * _FAR:
        return f"the reported cost of ${reported} is far from the listed ${listed}"
    return ""
