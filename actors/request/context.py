"""What the layers of a call share: the data of one call, of one target, and of one actor."""

from collections.abc import Awaitable, Callable
from random import Random

import attrs
import trio

from ..calls import Complete, Stream
from ..errors import CallFailed, ConnectionFailed, MalformedResponse
from ..events import CallEvent, CallStage, Destination, Observer, ignore, stages_of
from ..messages import Request
from ..responses import Delta, StreamPiece
from ..vendors import Endpoint, PriceBook
from .breaker import EndpointBreaker
from .exchange import Exchange, Exchanged
from .fallback import Fallback, Target
from .retry import RetryBudget, RetryPolicy, RetryThrottle
from .spelling import Spellings

_MOST_UNREADABLE = 2  # responses of one call (L11)
# Members of a body that make the provider keep the response.
_STORED_BY = ("store", "background", "conversation")


@attrs.define(eq=False, kw_only=True)
class CallProgress:
    """The state of one call, which its layers share. Each count has one writer.

    Args:
        message: the request, and whom it is for.
        deadline: returns the deadline on Trio's clock, in seconds; it can move meanwhile (R4).
        budget: pays for retries, hedges and fallbacks (L2).
        idempotency_key: the same for every attempt.
        observer: receives an event for every attempt.
        observed: the stages whose events the observer wants.
        deliver: receives each piece of the response; None if the caller wants only the whole.
        deliver_now: receives a piece unless the caller is behind, and returns whether it did; it
            does not wait. None if pieces are only given to `deliver`.
        wants_events: whether the pieces are the provider's own events; see `Stream`.
        sent: HTTP requests sent so far. The attempt layer counts them.
        maybe_billed: attempts that may have been billed without a response (L3). The attempt layer
            counts them.
        unreadable: attempts whose response could not be read. The attempt layer counts them.
        has_delivered: whether the caller has received a piece; then the call cannot be repeated.
        piece_times: when each piece was passed on, on Trio's clock, if an observer wants to know.
    """

    message: Complete | Stream
    deadline: Callable[[], float]
    budget: RetryBudget
    idempotency_key: str
    observer: Observer = ignore
    observed: frozenset[CallStage] = attrs.field(
        default=attrs.Factory(lambda self: stages_of(self.observer), takes_self=True)
    )
    deliver: Callable[[StreamPiece], Awaitable[None]] | None = None
    deliver_now: Callable[[StreamPiece], bool] | None = None
    wants_events: bool = False
    sent: int = 0
    maybe_billed: int = 0
    unreadable: int = 0
    has_delivered: bool = False
    piece_times: list[float] | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline() - trio.current_time()

    def enter_by(self, now: float) -> float:
        """Return until when the call may wait for an open breaker, in seconds on Trio's clock.

        Args:
            now: from when its patience counts if it is not known when the caller made the call.
        """
        return min(self.deadline(), self.message.context.turn_by(now))

    @property
    def keeps_state(self) -> bool:
        """Whether the provider stores the response, or works on it in the background."""
        extra_body = self.message.request.extra_body
        return any(extra_body.get(name) for name in _STORED_BY)

    def may_repeat(self, error: CallFailed) -> bool:
        """Return whether another attempt can do no harm beyond its cost.

        A delivered piece cannot be taken back. A response that the provider stores, or works on in
        the background, would exist twice. What could not be read is asked for once more at most
        (L11).

        Args:
            error: why the last attempt failed.
        """
        is_last = isinstance(error, MalformedResponse) and not self.message.may_ask_again
        if self.has_delivered or is_last or self.unreadable >= _MOST_UNREADABLE:
            return False
        return not (self.keeps_state and error.billed == "maybe")

    async def deliver_piece(self, piece: StreamPiece) -> None:
        """Pass a piece of the response to the caller; it must want pieces.

        Args:
            piece: the piece to pass on.
        """
        self._note_piece(piece)
        if self.deliver is not None:
            await self.deliver(piece)

    def deliver_piece_now(self, piece: StreamPiece) -> bool:
        """Pass a piece to the caller without waiting; return whether the caller has it.

        Args:
            piece: the piece to pass on.
        """
        if self.deliver_now is None or not self.deliver_now(piece):
            return False
        self._note_piece(piece)
        return True

    def _note_piece(self, piece: StreamPiece) -> None:
        self.has_delivered = True
        if "ended" in self.observed and (isinstance(piece, Delta) or piece.deltas):
            if self.piece_times is None:
                self.piece_times = []
            self.piece_times.append(trio.current_time())

    def report(
        self,
        stage: CallStage,
        error: CallFailed | None = None,
        delay: float = 0.0,
        to: Destination | None = None,
    ) -> None:
        """Report an event to the observer.

        Args:
            stage: the stage that the call has reached.
            error: why the last attempt failed, if it did.
            delay: seconds until the next attempt.
            to: where a request is being sent; None if none is.
        """
        if stage not in self.observed:
            return
        self.observer(
            CallEvent(
                stage=stage,
                at=trio.current_time(),
                context=self.message.context,
                model=self.message.request.model,
                attempt=self.sent,
                error=None if error is None else str(error),
                delay=None if error is None else delay,
                is_unreachable=isinstance(error, ConnectionFailed) and error.billed == "no",
                is_billed=error is not None and error.billed == "maybe",
                destination=to,
                request=None if to is None else self.message.request,
                failure=error,
            )
        )

    def report_ended(self, attempt: int, ending: Exchanged | CallFailed | None) -> None:
        """Report the end of an attempt to the observer.

        Args:
            attempt: the number of the attempt; another one may be in flight (hedging).
            ending: the response or the error; None if the attempt was cancelled.
        """
        if "ended" not in self.observed:
            return
        failure = ending if isinstance(ending, CallFailed) else None
        exchanged = ending if isinstance(ending, Exchanged) else None
        self.observer(
            CallEvent(
                stage="ended",
                at=trio.current_time(),
                context=self.message.context,
                model=self.message.request.model,
                attempt=attempt,
                error=None if failure is None else str(failure),
                failure=failure,
                is_cancelled=ending is None,
                first_byte_s=None if exchanged is None else exchanged.first_byte_s,
                status=None if ending is None else ending.status,
                choices=() if exchanged is None else exchanged.response.choices,
                piece_times=tuple(self.piece_times or ()),
            )
        )


@attrs.define(eq=False)
class TargetContext:
    """What all calls to one target share.

    Args:
        target: the endpoint and the model.
        exchange: sends HTTP requests to the endpoint.
        breaker: the circuit breaker of the endpoint, which other targets there share.
        spellings: how the endpoint wants the bodies for each model, by its own words.
        member: the member of the target's pool that this is; None if the target is no pool.
    """

    target: Target
    exchange: Exchange
    breaker: EndpointBreaker
    spellings: Spellings = attrs.field(factory=Spellings)
    member: Endpoint | None = None

    def request_there(self, request: Request) -> Request:
        """Return the request with the model that is used there.

        Args:
            request: the request, with the model that the caller names.
        """
        if self.target.model is not None:
            return attrs.evolve(request, model=self.target.model)
        return (self.member or self.target.endpoint).request_there(request)


@attrs.frozen(kw_only=True)
class RequestContext:
    """What all calls of one actor share.

    Args:
        fallback: the targets, in the order in which a call tries them.
        retry: how often and how late a call is retried.
        prices: what models cost.
        random: the source of all jitter and of idempotency keys (R13).
        throttle: bounds the extra requests of all calls together; None for no bound.
        observer: receives an event for every attempt.
        streams: whether responses are streamed where endpoint and format allow it.
    """

    fallback: Fallback[Target]
    retry: RetryPolicy
    prices: PriceBook
    random: Random
    throttle: RetryThrottle | None = None
    observer: Observer = ignore
    streams: bool = True

    def next_target(self, current: Target, error: CallFailed, call: CallProgress) -> Target | None:
        """Return the target that the call can move on to; None if it ends here. Spends nothing.

        Args:
            current: the target that failed.
            error: what the call failed with there.
            call: the call that failed here.
        """
        if not call.may_repeat(error):
            return None
        return self.fallback.after(
            current, type(error), attempts_left=call.budget.left, left_s=call.left_s
        )
