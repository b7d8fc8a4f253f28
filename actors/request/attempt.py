"""One attempt: one HTTP request, from the circuit breaker's ticket to the provider's response."""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol, final

import attrs
import trio

from ..calls import CallAccount
from ..errors import CallFailed, MalformedResponse, SendTimedOut, UnreadableEndpoint
from ..prompt_cache_use import PromptCacheUse
from ..vendors import Timeouts
from .breaker import EndpointBreaker, Ticket, is_outage
from .context import CallProgress
from .exchange import Exchange, Exchanged, Prepared
from .failures import AttemptFailed
from .unreadable import UnreadableStreaks
from .watch import SendWatch


class AttemptLayer(Protocol):
    """Makes one attempt at a target. `SingleAttempt` does, and so does what wraps it."""

    async def send(self, call: CallProgress, prepared: Prepared, ticket: Ticket) -> Exchanged:
        """Make one attempt.

        Args:
            call: the call that it belongs to.
            prepared: the request as it goes over the wire.
            ticket: admits one request to the endpoint. The layer settles it, whatever happens.

        Raises:
            AttemptFailed: there is no response.
        """
        ...


@final
class SingleAttempt:
    """Send one request, and account for it with breaker, budget, permit and call.

    Args:
        exchange: sends the HTTP request.
        breaker: issued the tickets, and learns how each attempt ends.
        timeouts: the bounds on one send; by default those of `Timeouts`.
        streaks: stop work when responses cannot be read (L11); by default of this layer alone.
    """

    def __init__(
        self,
        exchange: Exchange,
        breaker: EndpointBreaker,
        timeouts: Timeouts | None = None,
        streaks: UnreadableStreaks | None = None,
    ) -> None:
        self._exchange = exchange
        self._breaker = breaker
        self._timeouts = timeouts or Timeouts()
        self._streaks = streaks or UnreadableStreaks(breaker.name)

    async def send(self, call: CallProgress, prepared: Prepared, ticket: Ticket) -> Exchanged:
        """See `AttemptLayer`."""
        breaker, account, permit = self._breaker, call.message.account, call.message.permit
        model = prepared.request.model
        try:
            self._check_readable(model)
            headers = self._exchange.headers(prepared.request)
            if account is not None:
                await _reserve(account)
                account.endpoint = self._exchange.label
        except BaseException:  # nothing was sent, so the breaker learns nothing
            breaker.abandon(ticket)
            raise
        call.sent += 1
        if permit is not None:
            permit.use()
        call.report("sent", to=self._exchange.destination)
        ending: Exchanged | CallFailed | None = None  # cancelled
        # A ticket that is no probe is settled at the end: a response may still break off.
        on_head = partial(breaker.confirm, ticket) if ticket.is_probe else None
        on_begin = self._report_to(call.message.cache_use, prepared)
        watch, attempt = SendWatch(self._timeouts, on_head, on_begin), call.sent
        try:
            with watch.scope:
                exchanged = await self._exchange.send(
                    prepared,
                    headers=headers,
                    idempotency_key=call.idempotency_key,
                    attempt=attempt,
                    watch=watch,
                    permit=permit,
                    deliver=None if call.deliver is None else call.deliver_piece,
                    deliver_now=call.deliver_piece_now,
                    wants_events=call.wants_events,
                )
                ending = exchanged
                self._streaks.clear(model)
                if on_begin is not None:  # the response may not have been a stream
                    on_begin()
                return exchanged
            raise watch.error(self._exchange.label, attempt)
        except AttemptFailed as failure:
            ending = failure.error
            call.maybe_billed += failure.error.billed == "maybe"
            if account is not None and failure.error.billed == "no":
                account.refund()
            is_silent = isinstance(failure.error, SendTimedOut) and not watch.has_head
            if is_silent or is_outage(type(failure.error)):
                breaker.fail(ticket)
            if failure.unreadable is not None:
                call.unreadable += 1
                ending = self._counted(model, failure, watch.began_at)
                is_final = failure.is_final or ending is not failure.error
                raise attrs.evolve(failure, error=ending, is_final=is_final) from None
            raise
        finally:
            call.report_ended(attempt, ending)
            if ending is not None:
                breaker.succeed(ticket)  # a no-op after `fail`
            else:  # cancelled: the provider may have worked on it (L3), and may be in good health
                call.maybe_billed += 1
                breaker.abandon(ticket)

    def _report_to(
        self, use: PromptCacheUse | None, prepared: Prepared
    ) -> Callable[[], None] | None:
        """Report that a request is being sent; return what reports that its response begins."""
        if use is None:
            return None
        label, model = self._exchange.label, prepared.request.model
        use.sent(label, model)
        return partial(use.began, label, model)

    def _check_readable(self, model: str) -> None:
        """Check that the responses for a model can be read.

        Raises:
            AttemptFailed: too many in a row could not.
        """
        if not self._streaks.has(model):  # nearly always
            return
        try:
            self._streaks.check(model, trio.current_time())
        except UnreadableEndpoint as error:
            raise AttemptFailed(error, is_final=True) from None

    def _counted(self, model: str, failure: AttemptFailed, began_at: float) -> CallFailed:
        """Count a response that could not be read; return the error, which may end all work."""
        error = failure.error
        why = f"{error}; it begins with: {failure.unreadable}"
        if isinstance(error, MalformedResponse):
            began_at = inf
        stopped = self._streaks.add(model, why, trio.current_time(), began_at=began_at)
        if stopped is None:
            return error
        stopped.attempts, stopped.billed = error.attempts, error.billed
        return stopped


async def _reserve(account: CallAccount) -> None:
    """Reserve the cost of one attempt before it is sent (L3).

    Raises:
        AttemptFailed: the budgets do not allow it.
    """
    try:
        await account.take()
    except CallFailed as error:
        raise AttemptFailed(error, is_final=True) from None
