"""Respond model calls: key, faults, limits, response, and then a `ModelResponse`."""

from collections.abc import Awaitable, Callable, Mapping

import attrs
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from .anthropic import Anthropic
from .arrivals import Arrival, Arrivals, refusal
from .background import BackgroundResponse, BackgroundResponses
from .body import RequestBody, RequestRefused
from .caching import NO_CACHE, CacheUse, PromptCache
from .call import AnswerContext, ModelAnswer, ModelCall, Piece, SimulatedVendor
from .chance import hex_of, latency_of, random_of
from .delivery import delivered, inject_fault
from .faults import REFUSALS, Fault
from .gemini import Gemini
from .limits import AdmissionControl, AdmissionResult, QuotaCharge
from .openai import OpenAI, no_capacity
from .responses import ResponsesCall
from .sending import ModelResponse
from .settings import ProviderSettings
from .wire import Json, compact

Parse = Callable[[RequestBody, ProviderSettings], ModelCall]
Respond = Callable[[Request], Awaitable[ASGIApp]]
OutsideBody = Callable[[Arrival], Mapping[str, Json]]

TOO_MANY_REQUESTS = 429
_UNREAD = ("reset", "stall")  # faults of requests that the provider never reads


def _nothing(_: Arrival) -> Mapping[str, Json]:
    return {}


@attrs.frozen(eq=False)
class VendorEndpoints:
    """The endpoints of one vendor, with that vendor's limits."""

    vendor: SimulatedVendor
    limiter: AdmissionControl


@attrs.frozen(eq=False)
class ModelEndpoint:
    """One kind of call.

    Args:
        vendor: the vendor whose API it is.
        limiter: the limits of the vendor.
        parse: parses the body of a call.
        outside: returns the members of a call that are in its path instead of its body, and checks
            its headers.
    """

    vendor: SimulatedVendor
    limiter: AdmissionControl
    parse: Parse
    outside: OutsideBody


def route(path: str, endpoint: Respond, *methods: str) -> Route:
    """Return the route of a path that accepts these methods only."""
    found = Route(path, endpoint, methods=methods)
    found.methods = set(methods)  # Starlette adds HEAD to GET
    return found


class ModelService:
    """Responds to model calls.

    Args:
        settings: the provider's settings.
        arrivals: checks and counts requests.
    """

    def __init__(self, settings: ProviderSettings, arrivals: Arrivals) -> None:
        self._settings = settings
        self._arrivals = arrivals
        self.openai = self._counter(OpenAI(settings))
        self.anthropic = self._counter(Anthropic(settings))
        self.gemini = self._counter(Gemini(settings))
        self.background = BackgroundResponses(self.openai.vendor, arrivals.stats)
        self._cache = PromptCache(settings.cache)
        self._fault_chance = random_of("faults", settings.seed)
        self._flex_chance = random_of("flex", settings.seed)

    def refill(self) -> None:
        """Fill every rate-limit bucket."""
        self.openai.limiter.refill()
        self.anthropic.limiter.refill()
        self.gemini.limiter.refill()

    def endpoint(
        self, counter: VendorEndpoints, parse: Parse, outside: OutsideBody = _nothing
    ) -> Respond:
        """Return the endpoint of one kind of call.

        Args:
            counter: the vendor, with its limits.
            parse: parses the body of a call.
            outside: as for `ModelEndpoint`.
        """
        endpoint = ModelEndpoint(counter.vendor, counter.limiter, parse, outside)

        async def serve(request: Request) -> ASGIApp:
            arrival = await self._arrivals.take(request, counter.vendor)
            stats = self._arrivals.stats
            stats.begin()
            headers = dict(arrival.headers)
            try:
                return self._response(arrival, endpoint, headers)
            except RequestRefused as error:
                stats.answer(error.status)
                return refusal(error, arrival, counter.vendor, headers)

        return serve

    def _counter(self, vendor: SimulatedVendor) -> VendorEndpoints:
        return VendorEndpoints(vendor, AdmissionControl(vendor.limits(), self._settings.burst_s))

    def _response(
        self, arrival: Arrival, endpoint: ModelEndpoint, headers: dict[str, str]
    ) -> ModelResponse:
        """Return the response to a call.

        Headers that refusals have, too, are added as they become known.

        Raises:
            RequestRefused: the call is refused.
        """
        settings, vendor = self._settings, endpoint.vendor
        date = arrival.at.date
        key = self._arrivals.check_key(arrival.request, vendor)
        headers |= vendor.account_headers()
        vendor.check(arrival.request, len(arrival.body))
        fault = self._arrivals.fault(arrival.request, self._fault_chance)
        if fault is not None and fault.kind == "401":
            raise vendor.refused("401", None)
        call, admission = self._admitted(arrival, endpoint, key, fault)

        seed, (low, high) = settings.seed, settings.latency_s
        latency = latency_of(seed, call.prompt_key, low, high) * settings.time_scale
        is_early = settings.cache.readable == "begun"
        cache = NO_CACHE
        if fault is None or fault.kind not in _UNREAD:
            readable_s = latency * (settings.first_piece if is_early else 1)
            cache = self._cached(call, vendor, key, arrival.begun + readable_s, arrival.begun)
        context = AnswerContext(
            seed=seed,
            hex=hex_of("answer", seed, arrival.number),
            created=int(date),
            pieces=settings.stream_pieces,
            with_usage=fault is None or fault.kind != "no_usage",
            cache=cache,
        )
        answer, account = call.answer(context), admission.account
        if isinstance(call, ResponsesCall) and call.is_background:
            work = BackgroundResponse(
                call=call,
                answer=answer,
                at=arrival.at,
                latency_s=latency,
                cache=cache,
                account=account,
            )
            if fault is None or fault.kind not in _UNREAD:
                self.background.begin(work)
            answer = ModelAnswer((Piece(compact(work.as_json("queued"))),), 0)
            account, cache, latency = QuotaCharge({}, {}), NO_CACHE, 0.0
        plan = delivered(answer, stream=call.stream, latency_s=latency, first=settings.first_piece)
        if fault is not None:
            plan = inject_fault(
                plan,
                fault,
                settings.faults,
                error_body=vendor.error_body(vendor.refused("500", None), arrival.request_id),
                error_event=answer.error_event or vendor.error_event(),
            )
        headers |= vendor.level_headers(admission.levels, date) | vendor.work_headers(latency)
        return ModelResponse(
            plan,
            arrival.begun,
            headers,
            call=call,
            vendor=vendor,
            account=account,
            stats=self._arrivals.stats,
            cache=cache,
        )

    def _cached(
        self, call: ModelCall, vendor: SimulatedVendor, key: str, readable_at: float, now: float
    ) -> CacheUse:
        """Read the prompt of a call from the cache as far as possible, and write the rest."""
        rules = vendor.cache_rules(call.model)
        if rules is None or not call.to_cache.blocks:
            return NO_CACHE
        scope = f"{type(vendor).__name__}|{key}|{call.model}"
        return self._cache.use(scope, call.to_cache, rules, now=now, readable_at=readable_at)

    def _admitted(
        self, arrival: Arrival, endpoint: ModelEndpoint, key: str, fault: Fault | None
    ) -> tuple[ModelCall, AdmissionResult]:
        """Parse a call and check it against the limits.

        An invalid call counts as a request, too, if its model is known.
        """
        vendor, limiter, date = endpoint.vendor, endpoint.limiter, arrival.at.date
        body = RequestBody({**arrival.json().members, **endpoint.outside(arrival)})
        model = body.model()
        self._arrivals.check_model(model, vendor)
        try:
            call = endpoint.parse(body, self._settings)
        except RequestRefused as error:
            admission = limiter.admit(key, model, {"requests": 1}, arrival.begun)
            raise self._with_levels(error, vendor, admission, date) from None
        admission = limiter.admit(key, model, vendor.costs(call), arrival.begun)
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
