"""Serve model calls: key, faults, limits, response, and then a `DeliveryJob`."""

from collections.abc import Callable

import attrs
import trio

from .anthropic import Anthropic
from .body import RequestBody, RequestRefused
from .call import AnswerContext, ModelCall
from .chance import hex_of, latency_of, random_of
from .delivery import JSON_BODY, Delivery, delivered, inject_fault
from .exchange import AsgiExchange, ClientGone
from .faults import REFUSALS, Fault
from .limits import AdmissionControl, AdmissionResult, QuotaCharge
from .middleware import Arrival, FaultMiddleware
from .openai import OpenAI, no_capacity
from .settings import ProviderSettings
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


Parse = Callable[[RequestBody, ProviderSettings], ModelCall]

TOO_MANY_REQUESTS = 429


@attrs.frozen(eq=False)
class VendorEndpoints:
    """The endpoints of one vendor, with that vendor's limits."""

    vendor: SimulatedVendor
    limiter: AdmissionControl


class ModelService:
    """Responds to model calls.

    Args:
        settings: the provider's settings.
        middleware: checks and counts requests.
    """

    def __init__(self, settings: ProviderSettings, middleware: FaultMiddleware) -> None:
        self._settings = settings
        self._middleware = middleware
        self.openai = self._counter(OpenAI(settings))
        self.anthropic = self._counter(Anthropic(settings))
        self._fault_chance = random_of("faults", settings.seed)
        self._flex_chance = random_of("flex", settings.seed)

    def refill(self) -> None:
        """Fill every rate-limit bucket."""
        self.openai.limiter.refill()
        self.anthropic.limiter.refill()

    async def serve(self, exchange: AsgiExchange, counter: VendorEndpoints, parse: Parse) -> None:
        """Serve one call."""
        stats = self._middleware.stats
        stats.begin()
        arrival = self._middleware.take(exchange, counter.vendor)
        headers = dict(arrival.headers)
        try:
            job = self._job(exchange, counter, parse, headers=headers, arrival=arrival)
        except RequestRefused as error:
            stats.answer(error.status)
            body = counter.vendor.error_body(error, arrival.request_id)
            await exchange.answer(error.status, body, headers | JSON_BODY | error.headers)
        else:
            await job.run()

    def _counter(self, vendor: SimulatedVendor) -> VendorEndpoints:
        return VendorEndpoints(vendor, AdmissionControl(vendor.limits(), self._settings.burst_s))

    def _job(
        self,
        exchange: AsgiExchange,
        counter: VendorEndpoints,
        parse: Parse,
        *,
        headers: dict[str, str],
        arrival: Arrival,
    ) -> DeliveryJob:
        """Return the delivery job of a call.

        Headers that refusals have, too, are added as they become known.

        Raises:
            RequestRefused: the call is refused.
        """
        settings, vendor, middleware = self._settings, counter.vendor, self._middleware
        date = arrival.at.date
        key = middleware.check_key(exchange, vendor)
        headers |= vendor.account_headers()
        vendor.check(exchange)
        fault = middleware.fault(exchange, self._fault_chance)
        if fault is not None and fault.kind == "401":
            raise vendor.refused("401", None)
        call, admission = self._admitted(exchange, counter, parse, key=key, date=date, fault=fault)

        seed, (low, high) = settings.seed, settings.latency_s
        latency = latency_of(seed, call.prompt_key, low, high) * settings.time_scale
        context = AnswerContext(
            seed=seed,
            hex=hex_of("answer", seed, arrival.number),
            created=int(date),
            pieces=settings.stream_pieces,
            with_usage=fault is None or fault.kind != "no_usage",
        )
        plan = delivered(
            call.answer(context), stream=call.stream, latency_s=latency, first=settings.first_piece
        )
        if fault is not None:
            plan = inject_fault(
                plan,
                fault,
                settings.faults,
                error_body=vendor.error_body(vendor.refused("500", None), arrival.request_id),
                error_event=vendor.error_event(),
            )
        headers |= vendor.level_headers(admission.levels, date) | vendor.work_headers(latency)
        return DeliveryJob(
            exchange, call, plan, headers, vendor, admission.account, middleware.stats
        )

    def _admitted(
        self,
        exchange: AsgiExchange,
        counter: VendorEndpoints,
        parse: Parse,
        *,
        key: str,
        date: float,
        fault: Fault | None,
    ) -> tuple[ModelCall, AdmissionResult]:
        """Parse a call and check it against the limits.

        An invalid call counts as a request, too, if its model is known.
        """
        vendor, limiter = counter.vendor, counter.limiter
        body = RequestBody.parse(exchange.body)
        model = body.model()
        self._middleware.check_model(model, vendor)
        try:
            call = parse(body, self._settings)
        except RequestRefused as error:
            admission = limiter.admit(key, model, {"requests": 1}, exchange.arrived)
            raise self._with_levels(error, vendor, admission, date) from None
        admission = limiter.admit(key, model, vendor.costs(call), exchange.arrived)
        if admission.refusal is not None:
            refused = vendor.rate_limited(admission.refusal, model)
        elif fault is not None and fault.kind in REFUSALS:
            refused = vendor.refused(fault.kind, fault.retry_after)
        elif call.tier == "flex" and self._flex_chance.random() < self._settings.flex_refused:
            refused = no_capacity()
        else:
            return call, admission
        raise self._with_levels(refused, vendor, admission, date)

    def _with_levels(
        self,
        error: RequestRefused,
        vendor: SimulatedVendor,
        admission: AdmissionResult,
        date: float,
    ) -> RequestRefused:
        """Return the refusal with the limits' headers, if the settings include them."""
        if error.status == TOO_MANY_REQUESTS and "limits" not in self._settings.headers_on_429:
            return error
        levels = vendor.level_headers(admission.levels, date)
        return attrs.evolve(error, headers=levels | error.headers)
