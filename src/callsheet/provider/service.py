"""What a call to a model goes through: key, faults, limits, answer, and then a `Job`."""

from collections.abc import Callable
from email.utils import formatdate

import attrs
import trio

from .anthropic import Anthropic
from .apierror import ApiError
from .body import Body
from .call import Call, Edition
from .chance import hex_of, random_of
from .delivery import JSON_BODY, delivered
from .exchange import Exchange
from .faults import REFUSALS, Fault
from .job import Job
from .latency import latency_of
from .limits import Admission, Limiter
from .openai import OpenAI
from .settings import ProviderSettings
from .spoil import spoiled
from .stats import ProviderStats, Tally
from .vendor import Vendor

__all__ = ["Counter", "ModelService", "Parse"]

Parse = Callable[[Body, ProviderSettings], Call]

TOO_MANY_REQUESTS = 429
_FAULT_HEADER = "x-callsheet-fault"
# The provider's own clock, unless it is given another, starts with the year 2026 (R13).
_EPOCH_S = 1_767_225_600


@attrs.frozen(eq=False)
class Counter:
    """Where the calls to one vendor's endpoints come in, with that vendor's limits."""

    vendor: Vendor
    limiter: Limiter


class ModelService:
    """Answers calls to models.

    Args:
        settings: the provider's.
        calendar: tells the date in seconds since 1970; by default a clock of its own.
    """

    def __init__(
        self, settings: ProviderSettings, calendar: Callable[[], float] | None = None
    ) -> None:
        self._settings = settings
        self.openai = self._counter(OpenAI(settings))
        self.anthropic = self._counter(Anthropic(settings))
        self._calendar = self._own_calendar if calendar is None else calendar
        self._fault_chance = random_of("faults", settings.seed)
        self._tally = Tally()
        self._number = 0
        self._first_arrived: float | None = None

    @property
    def stats(self) -> ProviderStats:
        """The counts since it was made or last reset."""
        return self._tally.freeze()

    def reset(self) -> None:
        """Count anew and fill every bucket."""
        self._tally.renew()
        self.openai.limiter.refill()
        self.anthropic.limiter.refill()

    def check_key(self, exchange: Exchange, vendor: Vendor) -> str:
        """The key a request brings, or nothing where none is needed.

        Raises:
            ApiError: 401, it is not the right one.
        """
        given = vendor.key_in(exchange)
        if self._settings.api_key not in (None, given):
            raise vendor.bad_key(given)
        return given or ""

    def check_model(self, name: str, vendor: Vendor) -> None:
        """Raise `ApiError` 404 when there is no such model."""
        if self._settings.models and name not in self._settings.models:
            raise vendor.no_such_model(name)

    async def serve(self, exchange: Exchange, counter: Counter, parse: Parse) -> None:
        """Answer one call, whatever becomes of it."""
        self._number += 1
        self._tally.begin()
        if self._first_arrived is None:
            self._first_arrived = exchange.arrived
        date = self._calendar()
        request_id = self._request_id()
        headers = counter.vendor.id_headers(request_id)
        headers["date"] = formatdate(date, usegmt=True)
        try:
            job = self._job(exchange, counter, parse, headers=headers, date=date)
        except ApiError as error:
            self._tally.answer(error.status)
            body = counter.vendor.error_body(error, request_id)
            await exchange.answer(error.status, body, headers | JSON_BODY | error.headers)
        else:
            await job.run()

    async def refuse(self, exchange: Exchange, vendor: Vendor, error: ApiError) -> None:
        """Answer what is not a call to a model with an error."""
        self._number += 1
        request_id = self._request_id()
        headers = vendor.id_headers(request_id) | JSON_BODY | error.headers
        await exchange.answer(error.status, vendor.error_body(error, request_id), headers)

    def _request_id(self) -> str:
        return f"req_{hex_of('request', self._settings.seed, self._number)}"

    def _counter(self, vendor: Vendor) -> Counter:
        return Counter(vendor, Limiter(vendor.limits(), self._settings.burst_s))

    def _own_calendar(self) -> float:
        return _EPOCH_S + trio.current_time() - (self._first_arrived or 0.0)

    def _job(
        self,
        exchange: Exchange,
        counter: Counter,
        parse: Parse,
        *,
        headers: dict[str, str],
        date: float,
    ) -> Job:
        """The work to do. Headers that a refusal has too are added as they are known.

        Raises:
            ApiError: the call is refused.
        """
        settings, vendor = self._settings, counter.vendor
        key = self.check_key(exchange, vendor)
        headers |= vendor.account_headers()
        vendor.check(exchange)
        fault = self._fault(exchange)
        if fault is not None and fault.kind == "401":
            raise vendor.refused("401", None)
        call, admission = self._admitted(exchange, counter, parse, key=key, date=date, fault=fault)

        seed, (low, high) = settings.seed, settings.latency_s
        latency = latency_of(seed, call.prompt_key, low, high) * settings.time_scale
        edition = Edition(
            seed=seed,
            hex=hex_of("answer", seed, self._number),
            created=int(date),
            pieces=settings.stream_pieces,
            with_usage=fault is None or fault.kind != "no_usage",
        )
        plan = delivered(
            call.answer(edition), stream=call.stream, latency_s=latency, first=settings.first_piece
        )
        if fault is not None:
            plan = spoiled(
                plan,
                fault,
                settings.faults,
                error_body=vendor.error_body(vendor.refused("500", None), self._request_id()),
                error_event=vendor.error_event(),
            )
        headers |= vendor.level_headers(admission.levels, date) | vendor.work_headers(latency)
        return Job(exchange, plan, headers, vendor, admission.account, self._tally)

    def _admitted(
        self,
        exchange: Exchange,
        counter: Counter,
        parse: Parse,
        *,
        key: str,
        date: float,
        fault: Fault | None,
    ) -> tuple[Call, Admission]:
        """The call, found in order and within the limits.

        A call that is not in order counts as a request too, where its model is known.
        """
        vendor, limiter = counter.vendor, counter.limiter
        body = Body.parse(exchange.body)
        model = body.model()
        self.check_model(model, vendor)
        try:
            call = parse(body, self._settings)
        except ApiError as error:
            admission = limiter.admit(key, model, {"requests": 1}, exchange.arrived)
            raise self._with_levels(error, vendor, admission, date) from None
        admission = limiter.admit(key, model, vendor.costs(call), exchange.arrived)
        if admission.refusal is not None:
            refused = vendor.rate_limited(admission.refusal, model)
        elif fault is not None and fault.kind in REFUSALS:
            refused = vendor.refused(fault.kind, fault.retry_after)
        else:
            return call, admission
        raise self._with_levels(refused, vendor, admission, date)

    def _with_levels(
        self, error: ApiError, vendor: Vendor, admission: Admission, date: float
    ) -> ApiError:
        """The refusal with the limits' headers, where it has them."""
        if error.status == TOO_MANY_REQUESTS and "limits" not in self._settings.headers_on_429:
            return error
        levels = vendor.level_headers(admission.levels, date)
        return attrs.evolve(error, headers=levels | error.headers)

    def _fault(self, exchange: Exchange) -> Fault | None:
        drawn = self._settings.faults.draw(self._fault_chance)
        asked = exchange.headers.get(_FAULT_HEADER)
        if asked is None:
            return drawn
        try:
            return Fault.parse(asked)
        except ValueError as error:
            raise ApiError(400, f"{_FAULT_HEADER}: {error}") from None
