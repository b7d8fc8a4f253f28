"""Send a planned delivery, and bill the call as its tokens are produced.

Both classes are ASGI apps, as every response of Starlette is one.
"""

from collections.abc import Callable, Mapping
from typing import cast

import attrs
import trio
from starlette.types import Receive, Scope, Send

from .caching import NO_CACHE, CacheUse
from .call import ModelCall, SimulatedVendor
from .delivery import Delivery
from .limits import QuotaCharge
from .stats import RunningStats

RESET = "callsheet.reset"
"""The ASGI extension with a function that drops the connection of the app."""


class ClientGone(Exception):
    """The client closed the connection, so the response cannot be delivered."""


@attrs.define(eq=False)
class PlannedResponse:
    """Sends a delivery, each step at its time.

    Args:
        delivery: what is sent, and when.
        begun: the time of the request, in seconds on Trio's clock.
        headers: the headers of the response that do not depend on the plan.
    """

    delivery: Delivery
    begun: float
    headers: Mapping[str, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, or as much of it as the client waits for."""
        try:
            await self._send(scope, receive, send)
        except ClientGone:
            await self.client_gone()

    def sending(self, output_tokens: int, *, is_last: bool) -> None:
        """Do what is due before some steps are sent.

        Args:
            output_tokens: the tokens produced for these steps.
            is_last: True if no more steps follow.
        """

    def nothing_sent(self) -> None:
        """Do what is due when a delivery without steps ends."""

    async def client_gone(self) -> None:
        """Do what is due after the client disconnected."""

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan, number, i = self.delivery, len(self.delivery.steps), 0
        while i < number:
            await _wait_until(self.begun + plan.steps[i].at, receive)
            passed = trio.current_time() - self.begun
            due = [plan.steps[i]]
            # All steps that are due are sent in one piece, so that a late provider catches up.
            while i + len(due) < number and plan.steps[i + len(due)].at <= passed:
                due.append(plan.steps[i + len(due)])
            is_first, i = i == 0, i + len(due)
            self.sending(sum(step.output_tokens for step in due), is_last=i == number)
            if is_first:
                await send(self._head())
            body = b"".join(step.data for step in due)
            more = i < number or plan.ending != "whole"
            await send({"type": "http.response.body", "body": body, "more_body": more})
        if not plan.steps:
            await _wait_until(self.begun + plan.ends_at, receive)
            self.nothing_sent()
        if plan.ending == "reset":
            _drop_connection(scope)

    def _head(self) -> dict[str, object]:
        headers = {**self.headers, **self.delivery.all_headers}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": pairs}


@attrs.define(eq=False, kw_only=True)
class ModelResponse(PlannedResponse):
    """Sends the response to an admitted call, and bills it.

    A stream stops at once when its client disconnects. A plain call is completed and billed,
    because the provider does not notice.

    Args:
        call: the parsed call.
        vendor: computes what counts against the limits.
        account: the charges of the call.
        stats: the counts of the provider.
        cache: how much of the prompt was read from the prompt cache or written to it.
    """

    call: ModelCall
    vendor: SimulatedVendor
    account: QuotaCharge
    stats: RunningStats
    cache: CacheUse = NO_CACHE
    _output_tokens: int = attrs.field(default=0, init=False)
    _billed_input: bool = attrs.field(default=False, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Work until the response is delivered, or cannot be delivered."""
        if self.delivery.stream and self.delivery.steps:
            self._bill(0)  # the prompt is billed, however the call ends
        await PlannedResponse.__call__(self, scope, receive, send)

    def sending(self, output_tokens: int, *, is_last: bool) -> None:
        """Bill the tokens, and count the response.

        It is counted just before its last byte, so that a client with the response sees it.
        """
        self._bill(output_tokens)
        if is_last:
            self._correct(ended=True)
            if self.delivery.ending == "whole":
                self.stats.answer(200)
            else:
                self.stats.break_off()

    def nothing_sent(self) -> None:
        """Bill work whose response is lost, and count the call."""
        if self.delivery.input_tokens:
            self._bill(self.delivery.unsent_tokens)
            self._correct(ended=True)
        self.stats.break_off()

    async def client_gone(self) -> None:
        """Stop a stream; complete a plain call without its client."""
        self._correct(ended=True)
        plan = self.delivery
        if plan.stream:
            self.stats.cut_stream()
        elif self._billed_input or not plan.steps:
            self.stats.cancel()
        else:
            self.stats.abandon()
            step = plan.steps[0]
            await trio.sleep_until(self.begun + step.at)
            self._bill(step.output_tokens)
            self._correct(ended=True)
            self.stats.finish_abandoned(step.output_tokens)

    def _bill(self, output_tokens: int) -> None:
        input_tokens = 0 if self._billed_input else self.delivery.input_tokens
        self._billed_input = True
        self._output_tokens += output_tokens
        cache = self.cache if input_tokens else NO_CACHE
        self.stats.bill(self.call.model, self.call.tier, input_tokens, output_tokens, cache)
        self._correct(ended=False)

    def _correct(self, *, ended: bool) -> None:
        if self._billed_input:
            totals = self.vendor.totals(
                self.delivery.input_tokens,
                self._output_tokens,
                cached_tokens=self.cache.read,
                ended=ended,
            )
            self.account.charge(totals, trio.current_time())


async def _wait_until(time: float, receive: Receive) -> None:
    """Sleep until `time` on Trio's clock; for ever if it is infinite.

    Raises:
        ClientGone: the client disconnected meanwhile; raised at once.
    """
    # The whole body has been read, so the next event can only be the disconnect.
    with trio.CancelScope(deadline=time):
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientGone


def _drop_connection(scope: Scope) -> None:
    """Drop the connection, if the server can (`RESET`); nothing may be sent after it."""
    extensions = cast("Mapping[str, object]", scope.get("extensions") or {})
    if RESET in extensions:
        cast("Callable[[], None]", extensions[RESET])()
