"""Carry out the delivery of one admitted call, and bill it."""

import attrs
import trio

from .call import ModelCall
from .delivery import Delivery
from .exchange import AsgiExchange, ClientGone
from .limits import QuotaCharge
from .stats import RunningStats
from .vendor import SimulatedVendor


@attrs.define(eq=False)
class DeliveryJob:
    """Carries out a delivery.

    Args:
        exchange: the request, and the channel for its response.
        call: the parsed call.
        delivery: what is sent, and when.
        headers: the headers of the response that do not depend on the plan.
        vendor: computes what counts against the limits.
        account: the charges of the call.
        stats: the counts of the provider.
    """

    exchange: AsgiExchange
    call: ModelCall
    delivery: Delivery
    headers: dict[str, str]
    vendor: SimulatedVendor
    account: QuotaCharge
    stats: RunningStats
    _output_tokens: int = attrs.field(default=0, init=False)
    _billed_input: bool = attrs.field(default=False, init=False)

    async def run(self) -> None:
        """Work until the response is delivered, or cannot be delivered.

        A stream stops at once when its client disconnects. A plain call is completed and billed,
        because the provider does not notice.
        """
        plan = self.delivery
        if plan.stream and plan.steps:
            self._bill(0)  # the prompt is billed, however the call ends
        try:
            await self._hand_over()
        except ClientGone:
            self._correct(ended=True)
            if plan.stream:
                self.stats.cut_stream()
            elif self._billed_input or not plan.steps:
                self.stats.cancel()
            else:
                await self._work_abandoned()

    async def _hand_over(self) -> None:
        exchange, plan = self.exchange, self.delivery
        last = len(plan.steps) - 1
        i = 0
        while i <= last:
            await exchange.wait_until(exchange.arrived + plan.steps[i].at)
            passed = trio.current_time() - exchange.arrived
            begun, data, tokens = i, [plan.steps[i].data], plan.steps[i].output_tokens
            i += 1
            # All steps that are due are sent in one piece, so that a late provider catches up.
            while i <= last and plan.steps[i].at <= passed:
                data.append(plan.steps[i].data)
                tokens += plan.steps[i].output_tokens
                i += 1
            self._bill(tokens)
            if i > last:
                # Counted just before the last byte, so that a client with the response sees it.
                self._correct(ended=True)
                if plan.ending == "whole":
                    self.stats.answer(200)
                else:
                    self.stats.break_off()
            if begun == 0:
                await exchange.start(200, self.headers | plan.all_headers)
            await exchange.part(b"".join(data), more=i <= last or plan.ending != "whole")
        if not plan.steps:
            await exchange.wait_until(exchange.arrived + plan.ends_at)
            if plan.input_tokens:  # the work was done, and its response is lost
                self._bill(plan.unsent_tokens)
                self._correct(ended=True)
            self.stats.break_off()
        if plan.ending == "reset":
            exchange.reset()

    async def _work_abandoned(self) -> None:
        step = self.delivery.steps[0]
        self.stats.abandon()
        await trio.sleep_until(self.exchange.arrived + step.at)
        self._bill(step.output_tokens)
        self._correct(ended=True)
        self.stats.finish_abandoned(step.output_tokens)

    def _bill(self, output_tokens: int) -> None:
        input_tokens = 0 if self._billed_input else self.delivery.input_tokens
        self._billed_input = True
        self._output_tokens += output_tokens
        self.stats.bill(self.call.model, self.call.tier, input_tokens, output_tokens)
        self._correct(ended=False)

    def _correct(self, *, ended: bool) -> None:
        if self._billed_input:
            totals = self.vendor.totals(
                self.delivery.input_tokens, self._output_tokens, ended=ended
            )
            self.account.charge(totals, trio.current_time())
