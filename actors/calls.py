"""The messages that carry a call from stage to stage, with the call's context and account.

Every stage takes the same two messages, so that stages can be stacked, left out or replaced:

    PostComposerActor -> BatcherActor -> RateLimiterActor -> RequestActor -> provider
"""

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Literal, Protocol, final

import attrs
import trio

from ..runtime import Message, StreamOf
from .call_lanes import CallLanes
from .errors import CallFailed
from .json_value import kind_of
from .messages import Request
from .permit import Permit
from .prompt_cache_use import PromptCacheUse
from .responses import Response, StreamPiece


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {kind_of(value)}")


def _check_number(name: str, value: object, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {wanted}, not {kind_of(value)}")


Shared = Literal["cache", "join", "lists", "prompt_cache"]
"""What can serve a call beside a request of its own; see `CallContext.allowed`."""


@attrs.frozen
class CallContext:
    """The ids of a call, which events and logs carry through every actor (L9).

    Args:
        call: the id of the call.
        post: the id of the post that the call belongs to; None if it belongs to none.
        step: the name of the post's step.
        lane: the lane in which the call waits, such as a tenant or a purpose; see `Limits.lanes`.
        shared_by: the contexts of the calls that share this one and, in equal parts, its cost;
            empty if it is not shared.
        shared_as: how they share it, "list" or "pack"; "" if it is not shared.
        allowed: what may serve the call beside a request of its own, as far as the settings and
            the request have it: "cache" (a stored response), "join" (the call of an identical
            request), "lists" (lists and packs) and "prompt_cache" (waiting for, and marking, what
            prompts share); None for all of them.
        tenant: who pays for the call, by name, for budgets and costs; the lane if empty.
        patience_s: seconds from `asked_at` within which the turn of the call must come at the
            limits. It fails with `TurnTooLate` at once if its turn cannot come in time, and when
            they have passed if it does not. They also bound the wait for an open circuit breaker,
            which ends with `ProviderUnavailable`, and nothing else; `Request.deadline` bounds the
            whole call.
        came: when an earlier copy of the call began to wait, in seconds on Trio's clock: the call
            takes the place in its lane that the earlier one had. None for a place of its own.
        asked_at: when the caller made the call, in seconds on Trio's clock; None for when the
            limiter receives it.

    Raises:
        TypeError: `call`, `lane` or `tenant` is no string, or a number is none.
        ValueError: `patience_s` is negative.
    """

    call: str
    post: str | None = None
    step: str | None = None
    lane: str = ""
    shared_by: tuple["CallContext", ...] = ()
    shared_as: str = ""
    allowed: frozenset[Shared] | None = attrs.field(default=None, kw_only=True)
    tenant: str = attrs.field(default="", kw_only=True)
    patience_s: float = attrs.field(default=inf, kw_only=True)
    came: float | None = attrs.field(default=None, kw_only=True)
    asked_at: float | None = attrs.field(default=None, kw_only=True, eq=False)

    def __attrs_post_init__(self) -> None:
        # Each call makes a context: one look at the usual values, and checks of the others.
        if not (
            type(self.call) is type(self.lane) is type(self.tenant) is str
            and self.patience_s is inf
            and self.came is None
            and (self.asked_at is None or type(self.asked_at) is float)
        ):
            self._check()

    def _check(self) -> None:
        for name in ("call", "lane", "tenant"):
            _check_text(name, getattr(self, name))
        _check_number("patience_s", self.patience_s, "a number of seconds")
        if not self.patience_s >= 0:
            raise ValueError(f"patience_s must be at least 0 s, not {self.patience_s}")
        for name in ("came", "asked_at"):
            if (value := getattr(self, name)) is not None:
                _check_number(name, value, "a time on Trio's clock")

    def allows(self, use: Shared) -> bool:
        """Return whether something may serve the call beside a request of its own.

        Args:
            use: what may serve it; see `allowed`.
        """
        return self.allowed is None or use in self.allowed

    @property
    def payer(self) -> str:
        """Who pays for the call: its tenant, or else its lane."""
        return self.tenant or self.lane

    def turn_by(self, since: float) -> float:
        """Return when the patience of the call ends, in seconds on Trio's clock.

        Args:
            since: from when it counts if it is not known when the caller made the call.
        """
        return (since if self.asked_at is None else self.asked_at) + self.patience_s

    def route_of(self, route: str) -> str:
        """Return the name of a route of this call, such as "pack+batch"; see `Response.route`.

        Args:
            route: the route that the call takes, such as "live".
        """
        if not self.shared_as:
            return route
        return self.shared_as if route == "live" else f"{self.shared_as}+{route}"


@attrs.frozen
class Complete(Message[Response]):
    """Ask a stage for a complete response. A stage forwards it with its reply slot (R4).

    Args:
        request: the request to send.
        context: the ids of the call.
        permit: set by the limiter; without it, attempts are not limited.
        account: set by the ledger; without it, attempts reserve nothing.
        may_ask_again: whether a response that cannot be read may be requested once more (L11);
            False if this is the second request, or if the sender makes it in another form.
        lanes: set by the batcher, if several callers may wait: the lanes of all of them. Without
            it, the call waits in the lane of its context.
        cache_use: set by the stage of the prompt cache; without it, nothing is planned.
    """

    request: Request
    context: CallContext
    permit: Permit | None = None
    account: "CallAccount | None" = None
    may_ask_again: bool = True
    lanes: CallLanes | None = None
    cache_use: PromptCacheUse | None = None

    def permitted(self, permit: Permit) -> "Complete":
        """Return the same message with a permit, three times as fast as `attrs.evolve`."""
        return Complete(
            self.request,
            self.context,
            permit,
            self.account,
            self.may_ask_again,
            None,  # it waits in no lane any more
            self.cache_use,
        )

    def planned(self, cache_use: PromptCacheUse) -> "Complete":
        """Return the same message with what is planned for the prompt cache."""
        return attrs.evolve(self, cache_use=cache_use)


@attrs.frozen
class Stream(StreamOf[StreamPiece | Response]):
    """Ask a stage for a response piece by piece. The last item is the complete `Response`.

    Args:
        request: the request to send.
        context: the ids of the call.
        permit: set by the limiter; without it, attempts are not limited.
        account: set by the ledger; without it, attempts reserve nothing.
        may_ask_again: whether a response that cannot be read may be requested once more (L11);
            False if this is the second request, or if the sender makes it in another form.
        cache_use: set by the stage of the prompt cache; without it, nothing is planned.
        events: whether the pieces are the provider's own events, where there are any; otherwise
            each is a `Delta`.
    """

    request: Request
    context: CallContext
    permit: Permit | None = None
    account: "CallAccount | None" = None
    may_ask_again: bool = True
    cache_use: PromptCacheUse | None = None
    events: bool = False

    def permitted(self, permit: Permit) -> "Stream":
        """Return the same message with a permit; see `Complete`."""
        return Stream(
            self.request,
            self.context,
            permit,
            self.account,
            self.may_ask_again,
            self.cache_use,
            self.events,
        )

    def planned(self, cache_use: PromptCacheUse) -> "Stream":
        """Return the same message with what is planned for the prompt cache."""
        return attrs.evolve(self, cache_use=cache_use)


class LineNotes(Protocol):
    """What a ledger does for calls that wait, and for those that are lines of a batch."""

    def hold(self, key: str) -> None:
        """Note that nothing of a call was sent yet; see `CallAccount.hold`.

        Args:
            key: the key of the reservation.
        """
        ...

    async def unhold(self, key: str) -> None:
        """Note, on disk, that an attempt is sent now.

        Args:
            key: the key of the reservation.

        Raises:
            LedgerUnavailable: the ledger cannot be written. Do not send the attempt.
        """
        ...

    def note_line(self, key: str, line: str, *, is_resumed: bool, unrun: Sequence[str]) -> None:
        """Note that the reservation of a call is for a line of a batch.

        Args:
            key: the key of the reservation.
            line: the custom id of the line.
            is_resumed: whether an earlier call may have reserved for the same line.
            unrun: custom ids of lines that certainly cost nothing.
        """
        ...

    async def written(self) -> None:
        """Wait until what was noted is on disk."""
        ...


@final
class CallAccount:
    """The attempts of one call that were reserved and sent.

    The ledger puts it on the message. A stage that sends an attempt takes one first, and refunds it
    when the provider certainly charged nothing. An attempt that was taken, not refunded and not
    answered may have been billed, even if no stage reports it any more (L3). The account belongs to
    no incarnation of an actor and survives their crashes.

    Args:
        key: the key of the call's reservation.
        extend: reserves the cost of one more attempt for a key.
        lines: notes the lines of batches; None if nothing does.
        is_held: whether the reservation begins as after `hold`.

    Attributes:
        taken: attempts that were sent and not refunded.
        endpoint: where the latest one was sent, with the name of the key in a pool; "" for nowhere.
        response: the response of the call; None until it is known.
        is_held: whether the ledger notes that nothing of the call was sent.
    """

    __slots__ = (
        "_extend",
        "_is_closed",
        "_lines",
        "_paid",
        "endpoint",
        "is_held",
        "key",
        "response",
        "taken",
    )

    def __init__(
        self,
        key: str,
        extend: Callable[[str], Awaitable[None]],
        lines: LineNotes | None = None,
        *,
        is_held: bool = False,
    ) -> None:
        self.key = key
        self._lines = lines
        self.taken = 0
        self.endpoint = ""
        self.response: Response | None = None
        self._paid = 1  # attempts that are reserved
        self._extend = extend
        self._is_closed = False
        self.is_held = is_held and lines is not None

    def __repr__(self) -> str:
        return f"<CallAccount {self.key}: {self.taken} of {self._paid} attempts taken>"

    async def take(self) -> None:
        """Take one attempt before it is sent. Checkpoints only if the ledger is written first.

        Raises:
            BudgetExceeded: a budget has too little left. Do not send the attempt.
            LedgerUnavailable: the ledger cannot be written. Do not send the attempt.
            CallFailed: the call has ended. Do not send the attempt.
        """
        if self.is_held and self._lines is not None and not self._is_closed:
            await self._lines.unhold(self.key)
            self.is_held = False
        if self.taken >= self._paid and not self._is_closed:
            await self._extend(self.key)
            self._paid += 1
        if self._is_closed:
            await trio.lowlevel.checkpoint()  # raises Cancelled in a task that was cancelled
            raise CallFailed("the attempt was not sent, because the call has ended")
        self.taken += 1

    def refund(self) -> None:
        """Return an attempt that certainly cost nothing, so that the next one can take it."""
        self.taken -= 1

    def hold(self) -> None:
        """Note that the call waits, and that nothing of it was sent.

        If the process dies before the next `take` or `note_line`, the call has cost nothing. This
        is for long waits: the end of one is on disk before an attempt is sent.
        """
        if self._lines is not None and not self.taken and not self.is_held:
            self.is_held = True
            self._lines.hold(self.key)

    def note_line(self, line: str, *, is_resumed: bool = False, unrun: Sequence[str] = ()) -> None:
        """Note that an attempt is a line of a batch, which outlives the process.

        A later call that gets the result of the line takes the reservation over: what was booked
        as possibly billed for the earlier call is released, because the later one pays for it.

        Args:
            line: the custom id of the line.
            is_resumed: whether an earlier call has waited for the line.
            unrun: custom ids of lines of earlier calls, of any request, that certainly cost
                nothing; what was booked for them is released when the same call is sent again.
        """
        if self._lines is not None:
            self.is_held = False
            self._lines.note_line(self.key, line, is_resumed=is_resumed, unrun=unrun)

    async def written(self) -> None:
        """Wait until the lines that were noted are on disk."""
        if self._lines is not None:
            await self._lines.written()

    def close(self) -> None:
        """Mark the call as ended, so that no attempt can follow. Only the ledger calls it."""
        self._is_closed = True
