"""One attempt: one HTTP request, from the circuit breaker's ticket to the provider's response."""

from functools import partial
from typing import Protocol, final

from ..calls import CallAccount
from ..errors import CallFailed, SendTimedOut
from ..vendors import Timeouts
from .breaker import EndpointBreaker, Ticket, is_outage
from .context import CallProgress
from .exchange import Exchange, Exchanged, Prepared
from .failures import AttemptFailed
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
    """

    def __init__(
        self, exchange: Exchange, breaker: EndpointBreaker, timeouts: Timeouts | None = None
    ) -> None:
        self._exchange = exchange
        self._breaker = breaker
        self._timeouts = timeouts or Timeouts()

    async def send(self, call: CallProgress, prepared: Prepared, ticket: Ticket) -> Exchanged:
        """See `AttemptLayer`."""
        breaker, account, permit = self._breaker, call.message.account, call.message.permit
        try:
            headers = self._exchange.headers()
            if account is not None:
                await _reserve(account)
        except BaseException:  # nothing was sent, so the breaker learns nothing
            breaker.abandon(ticket)
            raise
        call.sent += 1
        if permit is not None:
            permit.use()
        call.report("sent")
        has_ended = False
        # A ticket that is no probe is settled at the end: a response may still break off.
        on_head = partial(breaker.confirm, ticket) if ticket.is_probe else None
        watch, attempt = SendWatch(self._timeouts, on_head), call.sent
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
                )
                has_ended = True
                return exchanged
            raise watch.error(self._exchange.host, attempt)
        except AttemptFailed as failure:
            has_ended = True
            call.maybe_billed += failure.error.billed == "maybe"
            if account is not None and failure.error.billed == "no":
                account.refund()
            is_silent = isinstance(failure.error, SendTimedOut) and not watch.has_head
            if is_silent or is_outage(type(failure.error)):
                breaker.fail(ticket)
            raise
        finally:
            if has_ended:
                breaker.succeed(ticket)  # a no-op after `fail`
            else:  # cancelled: the provider may have worked on it (L3), and may be in good health
                call.maybe_billed += 1
                breaker.abandon(ticket)


async def _reserve(account: CallAccount) -> None:
    """Reserve the cost of one attempt before it is sent (L3).

    Raises:
        AttemptFailed: the budgets do not allow it.
    """
    try:
        await account.take()
    except CallFailed as error:
        raise AttemptFailed(error, is_final=True) from None
