"""Serve the calls that control files and batches: key, fault, work, delivery."""

import attrs
import trio

from .batch_api.context import BatchRequestContext, HttpRoute, JsonReply
from .batch_api.routes import BatchEndpoints
from .body import RequestRefused
from .call import ModelAnswer, Piece
from .chance import random_of
from .delivery import Delivery, delivered, inject_fault
from .exchange import AsgiExchange, ClientGone
from .faults import REFUSALS, Fault
from .middleware import Arrival, FaultMiddleware
from .settings import ProviderSettings


class ControlService:
    """Responds to calls that control files and batches, without latency.

    Args:
        settings: the provider's settings.
        middleware: checks and counts requests.
        batching: the endpoints of files and batches.
    """

    def __init__(
        self, settings: ProviderSettings, middleware: FaultMiddleware, batching: BatchEndpoints
    ) -> None:
        self._settings = settings
        self._middleware = middleware
        self._batching = batching
        self._fault_chance = random_of("control faults", settings.seed)

    async def serve(self, exchange: AsgiExchange, route: HttpRoute) -> None:
        """Serve one call."""
        middleware = self._middleware
        middleware.stats.control_requests += 1
        arrival = middleware.take(exchange, route.vendor)
        # A large batch has much to do at once; live calls must not wait for it.
        for _ in self._batching.catch_up(arrival.at.clock):
            await trio.lowlevel.checkpoint()
        try:
            fault = self._let_in(exchange, route)
            reply = self._work(exchange, route, arrival, fault)
        except RequestRefused as error:
            await middleware.refuse(exchange, route.vendor, error, arrival)
            return
        answer = ModelAnswer((Piece(reply.body),), 0)
        plan = delivered(answer, stream=False, latency_s=0.0, first=0.0)
        plan = attrs.evolve(plan, headers=dict(reply.headers))
        if fault is not None:
            plan = inject_fault(
                plan,
                fault,
                self._settings.faults,
                error_body=route.vendor.error_body(
                    route.vendor.refused("500", None), arrival.request_id
                ),
                error_event=route.vendor.error_event(),
            )
        headers = {**arrival.headers, **route.vendor.account_headers()}
        try:
            await _hand_over(exchange, plan, headers)
        except ClientGone:
            return

    def _let_in(self, exchange: AsgiExchange, route: HttpRoute) -> Fault | None:
        """Admit a call; return the fault that it is to have, if any.

        Raises:
            RequestRefused: the call is not admitted.
        """
        self._middleware.check_key(exchange, route.vendor)
        route.vendor.check(exchange)
        route.handler(exchange.method)
        return self._middleware.fault(exchange, self._fault_chance)

    def _work(
        self, exchange: AsgiExchange, route: HttpRoute, arrival: Arrival, fault: Fault | None
    ) -> JsonReply:
        """Do the work of a call, unless a fault prevents it.

        Raises:
            RequestRefused: the call is invalid, or its fault is a refusal.
        """
        refusal = None
        if fault is not None:
            if fault.kind in REFUSALS:
                refusal = route.vendor.refused(fault.kind, fault.retry_after)
                if not fault.after:
                    raise refusal
            elif fault.kind == "reset":
                return JsonReply(b"{}")
        reply = route.handler(exchange.method)(BatchRequestContext(exchange, arrival.at))
        if refusal is not None:
            raise refusal
        return reply


async def _hand_over(exchange: AsgiExchange, plan: Delivery, headers: dict[str, str]) -> None:
    last = len(plan.steps) - 1
    for i, step in enumerate(plan.steps):
        await exchange.wait_until(exchange.arrived + step.at)
        if i == 0:
            await exchange.start(200, headers | plan.all_headers)
        await exchange.part(step.data, more=i < last or plan.ending != "whole")
    if not plan.steps:
        await exchange.wait_until(exchange.arrived + plan.ends_at)
    if plan.ending == "reset":
        exchange.reset()
