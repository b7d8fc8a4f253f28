"""Route and serve the calls that answer at once: about files, batches and background responses."""

from collections.abc import Callable, Iterator

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from .arrivals import Arrival, Arrivals, refusal
from .background import BackgroundResponses
from .batch_api import Files, MessageBatches, OpenAIBatches
from .body import RequestBody, RequestRefused
from .call import ModelAnswer, Piece, SimulatedVendor
from .chance import random_of
from .completions import MAX_TOKENS
from .delivery import delivered, inject_fault
from .faults import REFUSALS, Fault
from .generate_content import MODEL_PATHS, GenerateContentCall
from .messages import MessagesCall
from .responses import ResponsesCall
from .sending import PlannedResponse
from .service import Respond, route
from .settings import ProviderSettings
from .wire import JsonResponse

ControlHandler = Callable[[Arrival], Response]


class ControlEndpoints:
    """The endpoints of files, batches, background responses and counts of tokens, without latency.

    Args:
        settings: the provider's settings.
        arrivals: checks and counts requests.
        openai: the simulated API of OpenAI.
        anthropic: the simulated API of Anthropic.
        gemini: the simulated API of Gemini.
        background: the background responses.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        arrivals: Arrivals,
        openai: SimulatedVendor,
        anthropic: SimulatedVendor,
        gemini: SimulatedVendor,
        *,
        background: BackgroundResponses,
    ) -> None:
        self._settings = settings
        self._arrivals = arrivals
        self._openai = openai
        self._anthropic = anthropic
        self._gemini = gemini
        self._background = background
        self._files = Files(settings, arrivals.stats)
        self._batches = OpenAIBatches(settings, openai, arrivals, self._files)
        self._messages = MessageBatches(settings, anthropic, arrivals)
        self._fault_chance = random_of("control faults", settings.seed)

    def routes(self) -> list[BaseRoute]:
        """Return the routes of all endpoints."""
        files, batches, messages = self._files, self._batches, self._messages
        background = self._background
        found = [
            self._openai_route("/files", GET=files.listed, POST=files.upload),
            self._openai_route("/files/{id}", GET=files.show, DELETE=files.delete),
            self._openai_route("/files/{id}/content", GET=files.content),
            self._openai_route("/batches", GET=batches.listed, POST=batches.create),
            self._openai_route("/batches/{id}", GET=batches.show),
            self._openai_route("/batches/{id}/cancel", POST=batches.cancel),
            self._anthropic_route("/batches", GET=messages.listed, POST=messages.create),
            self._anthropic_route("/batches/{id}", GET=messages.show, DELETE=messages.delete),
            self._anthropic_route("/batches/{id}/cancel", POST=messages.cancel),
            self._anthropic_route("/batches/{id}/results", GET=messages.results),
            self._openai_route("/responses/input_tokens", POST=self._count_response),
            self._openai_route("/responses/{id}", GET=background.show),
            self._openai_route("/responses/{id}/cancel", POST=background.cancel),
            self._anthropic_route("/count_tokens", POST=self._count_message),
            *(
                route(
                    f"{path}:countTokens",
                    self._endpoint(self._gemini, {"POST": self._count_contents}),
                    "POST",
                )
                for path in MODEL_PATHS
            ),
        ]
        if self._settings.batches.dialect == "together":
            found.insert(0, self._openai_route("/files/upload", POST=files.upload))
        return found

    def catch_up(self, clock: float) -> Iterator[None]:
        """Process all lines that are due, and yield after each few of them."""
        yield from self._background.catch_up(clock)
        yield from self._batches.catch_up(clock)
        yield from self._messages.catch_up(clock)

    def _count_message(self, arrival: Arrival) -> Response:
        """Count the tokens of a message: POST /v1/messages/count_tokens."""
        body = arrival.json()
        self._arrivals.check_model(body.model(), self._anthropic)
        if "max_tokens" in body.members:
            raise RequestRefused(400, "Extra inputs are not permitted", param="max_tokens")
        whole = RequestBody({**body.members, "max_tokens": MAX_TOKENS})
        call = MessagesCall.parse(whole, self._settings)
        return JsonResponse({"input_tokens": call.conversation.tokens})

    def _count_response(self, arrival: Arrival) -> Response:
        """Count the tokens of a response: POST /v1/responses/input_tokens."""
        body = arrival.json()
        self._arrivals.check_model(body.model(), self._openai)
        tokens = ResponsesCall.parse(body, self._settings).conversation.tokens
        return JsonResponse({"object": "response.input_tokens", "input_tokens": tokens})

    def _count_contents(self, arrival: Arrival) -> Response:
        """Count the tokens of contents: POST .../models/{model}:countTokens."""
        model, body = arrival.request.path_params["model"], arrival.json()
        self._arrivals.check_model(model, self._gemini)
        whole = body.object("generateContentRequest").members or body.members
        call = GenerateContentCall.parse(
            RequestBody({**whole, "model": model, "stream": "whole"}), self._settings
        )
        return JsonResponse({"totalTokens": call.conversation.tokens})

    def _openai_route(self, path: str, **handlers: ControlHandler) -> BaseRoute:
        return route(f"/v1{path}", self._endpoint(self._openai, handlers), *handlers)

    def _anthropic_route(self, path: str, **handlers: ControlHandler) -> BaseRoute:
        endpoint = self._endpoint(self._anthropic, handlers)
        return route(f"/v1/messages{path}", endpoint, *handlers)

    def _endpoint(self, vendor: SimulatedVendor, handlers: dict[str, ControlHandler]) -> Respond:
        async def serve(request: Request) -> ASGIApp:
            self._arrivals.stats.control_requests += 1
            arrival = await self._arrivals.take(request, vendor)
            # A large batch has much to do at once; live calls must not wait for it.
            for _ in self.catch_up(arrival.at.clock):
                await trio.lowlevel.checkpoint()
            try:
                return self._response(arrival, vendor, handlers[request.method])
            except RequestRefused as error:
                return refusal(error, arrival, vendor)

        return serve

    def _response(
        self, arrival: Arrival, vendor: SimulatedVendor, handler: ControlHandler
    ) -> PlannedResponse:
        """Return the response to a call.

        Raises:
            RequestRefused: the call is refused.
        """
        self._arrivals.check_key(arrival.request, vendor)
        vendor.check(arrival.request, len(arrival.body))
        fault = self._arrivals.fault(arrival.request, self._fault_chance)
        reply = _work(arrival, vendor, handler, fault)
        answer = ModelAnswer((Piece(bytes(reply.body)),), 0)
        plan = delivered(answer, stream=False, latency_s=0.0, first=0.0)
        plan = attrs.evolve(plan, headers=dict(reply.headers))
        if fault is not None:
            plan = inject_fault(
                plan,
                fault,
                self._settings.faults,
                error_body=vendor.error_body(vendor.refused("500", None), arrival.request_id),
                error_event=vendor.error_event(),
            )
        headers = {**arrival.headers, **vendor.account_headers()}
        return PlannedResponse(plan, arrival.begun, headers)


def _work(
    arrival: Arrival, vendor: SimulatedVendor, handler: ControlHandler, fault: Fault | None
) -> Response:
    """Do the work of a call, unless a fault prevents it.

    Raises:
        RequestRefused: the call is invalid, or its fault is a refusal.
    """
    refused = None
    if fault is not None:
        if fault.kind in REFUSALS:
            refused = vendor.refused(fault.kind, fault.retry_after)
            if not fault.after:
                raise refused
        elif fault.kind == "reset":
            return Response(b"{}")
    reply = handler(arrival)
    if refused is not None:
        raise refused
    return reply
