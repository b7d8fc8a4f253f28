"""One target: retries in the call's budget, the pauses between them, and an open breaker."""

from collections.abc import Collection
from math import inf
from typing import final

import attrs
import trio

from callsheet.runtime import get_logger

from ...runtime import ActorCrashed, AskFailed, AskTimedOut
from ..errors import CallFailed, MalformedResponse, ProviderUnavailable
from ..messages import Request
from ..vendors import ApiError, loads
from .attempt import AttemptLayer
from .breaker import Ticket
from .context import CallProgress, RequestContext, TargetContext
from .exchange import Exchanged, Prepared
from .failures import AttemptFailed
from .fallback import Target
from .retry import RetryDecision
from .spelling import AS_WRITTEN, Spelling

_SHORT_TOKENS = 256  # some seconds
_log = get_logger("callsheet.requests")


@final
class RetryingTarget:
    """Make attempts at one target until one succeeds or no further one is allowed.

    Args:
        target: what calls to this target share.
        shared: what all calls of the actor share.
        attempt: makes each attempt.
    """

    def __init__(
        self, target: TargetContext, shared: RequestContext, attempt: AttemptLayer
    ) -> None:
        self._target = target
        self._shared = shared
        self._attempt = attempt

    def is_out(self) -> bool:
        """Whether a call would wait for the circuit breaker."""
        return self._target.breaker.would_wait

    async def send(self, call: CallProgress) -> Exchanged:
        """Send the call to this target. While the circuit breaker is open, it waits.

        Args:
            call: the call and its state.

        Raises:
            AttemptFailed: there is no response from here. The error is that of the last attempt.
        """
        request, use = self._target.request_there(call.message.request), call.message.cache_use
        if use is not None:
            request = use.request_at(self._target.exchange.label, request)
        spellings = self._target.spellings
        prepared = self._prepare(call, request, spellings.of(request.model))
        ticket = await self._wait_to_enter(call)
        refused: AttemptFailed | None = None  # the first refusal of a spelling
        while True:
            try:
                exchanged = await self._attempt.send(call, prepared, ticket)
            except AttemptFailed as failure:
                respelled = self._respelled(call, prepared, failure)
                if respelled is not None:
                    refused = refused or failure
                    if use is not None and respelled.request is not prepared.request:
                        use.refused(str(failure.error))
                    prepared = respelled
                    call.report("retrying", failure.error)
                    await renew(call, failure, trio.current_time())
                elif failure.refusal and prepared.spelling.caused(failure.refusal):
                    spellings.learn(request.model, AS_WRITTEN)
                    raise (refused or failure) from None  # what was written is what was wrong
                elif self._target.member is not None:
                    raise  # the pool decides which member is next
                else:
                    self._move_on_if_open(call, failure)
                    await pause(call, failure, self._target.target, self._shared)
                    self._move_on_if_open(call, failure)  # it may have opened meanwhile
                ticket = await self._wait_to_enter(call, failure.error)
            else:
                if refused is not None:
                    self._learn(request.model, prepared.spelling, refused)
                return exchanged

    def _prepare(self, call: CallProgress, request: Request, spelling: Spelling) -> Prepared:
        use = call.message.cache_use
        is_waited_for = use is not None and use.wants_stream
        wants_stream = self._shared.streams and (is_waited_for or not is_short(request))
        streams = call.deliver is not None or wants_stream
        try:
            return self._target.exchange.prepare(request, stream=streams, spelling=spelling)
        except CallFailed as error:
            raise AttemptFailed(error, is_final=True) from None

    def _respelled(
        self, call: CallProgress, prepared: Prepared, failure: AttemptFailed
    ) -> Prepared | None:
        """Return a refused request without the parameter that the provider names (L15).

        Marks and keys for the prompt cache that were added are left out if it names a cache. None
        if it names nothing that can be avoided, or if the budget allows no more.
        """
        refusal = failure.refusal
        if refusal is None or call.has_delivered:
            return None
        plain = self._target.request_there(call.message.request)
        if _is_about_caching(refusal) and prepared.request != plain:
            may_repeat = call.budget.take("retry", trio.current_time())
            return self._prepare(call, plain, prepared.spelling) if may_repeat else None
        sent, written = loads(prepared.body), prepared.request.extra_body
        if not isinstance(sent, dict):
            return None
        is_typed = prepared.request.returns is not None
        spelling = prepared.spelling.avoiding(
            refusal, failure.error.status, sent, written, is_typed=is_typed
        )
        if spelling is None:
            return None
        if not call.budget.take("retry", trio.current_time()):
            self._learn(prepared.request.model, spelling, failure)  # for later calls
            return None
        return self._prepare(call, prepared.request, spelling)

    def _learn(self, model: str, spelling: Spelling, refused: AttemptFailed) -> None:
        """Use a spelling for a model from now on, and log it if it is new."""
        if self._target.spellings.learn(model, spelling):
            _log.warning(
                "request_respelled",
                endpoint=self._target.exchange.label,
                model=model,
                renamed=dict(spelling.renamed),
                left_out=sorted(spelling.left_out),
                streams=not spelling.is_whole,
                whole_with=sorted(spelling.whole_with),
                schema=spelling.schema,
                reason=str(refused.error),
            )

    def _move_on_if_open(self, call: CallProgress, failure: AttemptFailed) -> None:
        """Do not wait for an open breaker while another target can serve the call.

        Raises:
            AttemptFailed: `failure`, for the layer above to move on.
        """
        following = self._shared.next_target(self._target.target, failure.error, call)
        if self.is_out() and following is not None:
            raise failure

    async def _wait_to_enter(self, call: CallProgress, error: CallFailed | None = None) -> Ticket:
        """Wait for the circuit breaker to let the call through, as long as its patience (R10).

        Args:
            call: the call and its state.
            error: why the last attempt failed, if there was one.

        Raises:
            AttemptFailed: the breaker stays open beyond the deadline, or the patience of the call.
        """
        breaker, began_at = self._target.breaker, trio.current_time()
        ticket = await breaker.wait(lambda: call.enter_by(began_at))
        if ticket is not None:
            return ticket
        bound = "deadline" if call.deadline() <= call.enter_by(began_at) else "patience of the call"
        why = f"its circuit breaker stays open beyond the {bound}"
        if error is None:
            host = self._target.exchange.label
            text = f"nothing was sent to {host}, because it keeps failing"
            refused: CallFailed = ProviderUnavailable(f"{text}: {why}")
        else:
            refused = error.but(why)
        if (left_s := breaker.next_at() - trio.current_time()) < inf:  # else a probe decides
            refused.back_in_s = left_s
        raise AttemptFailed(refused, is_final=True)


def _is_about_caching(refusal: ApiError) -> bool:
    """Whether a provider may refuse a request for its marks or its key for the prompt cache."""
    words = (refusal.message, refusal.code, refusal.details, *refusal.parameters)
    return any("cache" in text.lower() for text in words)


def is_short(request: Request) -> bool:
    """Return whether a response is so short that a stream does not pay.

    Little is saved if it is cancelled, it comes long before any timeout, and reading events takes a
    fifth of the CPU time of a call.

    Args:
        request: the request; without a limit on its tokens, the response may be long.
    """
    return request.max_tokens is not None and request.max_tokens <= _SHORT_TOKENS


async def pause(
    call: CallProgress,
    failure: AttemptFailed,
    target: Target,
    shared: RequestContext,
    moves: Collection[str] | None = None,
) -> None:
    """Return when the next attempt may be sent.

    Args:
        call: the call and its state.
        failure: how the last attempt failed.
        target: where it failed.
        shared: what all calls of the actor share.
        moves: the members of a pool that need no pause; see `Permit.renew`.

    Raises:
        AttemptFailed: no attempt may follow; the error is that of `failure`, with the reason.
    """
    try:
        if failure.is_final or not call.may_repeat(failure.error):
            raise failure
        # What cannot be read is asked for once more, from the next target if there is one (L11).
        if (
            isinstance(failure.error, MalformedResponse)
            and shared.next_target(target, failure.error, call) is not None
        ):
            raise failure
        now = trio.current_time()
        decision = call.budget.retry(
            now,
            shared.random,
            server_s=failure.server_s,
            left_s=call.left_s,
            reserve=shared.fallback.behind(target),  # one request for each later target
        )
        if decision.gives_up is not None:
            permit = call.message.permit
            if permit is not None and failure.throttled is not None and decision.pause_s > 0:
                pause_s = min(decision.pause_s, shared.retry.max_server_s)
                permit.park(delay=pause_s, throttled=failure.throttled)
            raise _with_reason(failure, decision)
        call.report("retrying", failure.error, decision.pause_s)
        await renew(call, failure, now + decision.pause_s, moves)
    finally:
        del failure  # else the failure, its traceback and this frame are a reference cycle


async def renew(
    call: CallProgress,
    failure: AttemptFailed,
    until: float,
    moves: Collection[str] | None = None,
) -> None:
    """Wait until the next attempt may be sent, and until the limiter permits it.

    Args:
        call: the call and its state.
        failure: how the last attempt failed.
        until: the earliest instant of the next attempt, on Trio's clock.
        moves: the members of a pool that need no pause; see `Permit.renew`.

    Raises:
        AttemptFailed: no attempt may follow; the error is that of `failure`, with the reason.
    """
    permit, use = call.message.permit, call.message.cache_use
    if use is not None and failure.throttled is not None:
        use.held_back()
    if permit is None:
        await trio.sleep_until(trio.current_time() if moves else until)
        return
    while True:
        delay = max(0.0, until - trio.current_time())
        try:
            await permit.renew(delay=delay, throttled=failure.throttled, moves=moves)
        except AskTimedOut:
            if call.left_s <= 0:  # otherwise the deadline was postponed (R4)
                error = failure.error.but("the deadline has passed")
                raise AttemptFailed(error) from None
        except ActorCrashed:
            pass  # the limiter had not started it; its next incarnation takes it up
        except AskFailed as stopped:
            error = failure.error.but(f"there is no other attempt, because {stopped}")
            raise AttemptFailed(error) from None
        else:
            return


def _with_reason(failure: AttemptFailed, decision: RetryDecision) -> AttemptFailed:
    """Add to the error why it is not retried, unless the error shows that itself."""
    if decision.gives_up == "deadline":
        reason = f"the deadline leaves no time for another attempt in {decision.pause_s:.1f} s"
    elif decision.gives_up == "throttle":
        reason = "the throttle allows no more retries now"
    else:
        return failure
    return attrs.evolve(failure, error=failure.error.but(reason))
